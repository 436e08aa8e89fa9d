"""What searches for objects share: progress that Ctrl-C stops, names and colours, and label maps of what overlaps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sammed3d.cli.signals import Stop, interruptible
from sammed3d.cli.terminal import screen
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.mask import BoxedMask
from sammed3d.files.segmentation import PALETTE, Segment


@contextlib.contextmanager
def searching(cancellation: Cancellation, stop: Stop) -> Iterator[Callable[[int, int], None]]:
    """Show progress on a terminal while something is looked for; a signal stops it. Yields what to tell of progress."""
    with (
        interruptible(cancellation, stop),
        Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress,
    ):
        task = progress.add_task("Looking", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def named(masks: Iterable[BoxedMask | None], output: Path) -> list[Segment]:
    """Return masks as segments for a file: each with a name and a colour, and apart where the file is a label map."""
    segments = [Segment(f"Object {n}", mask, PALETTE[(n - 1) % len(PALETTE)]) for n, mask in enumerate(masks, start=1)]
    return segments if output.name.lower().endswith(".seg.nrrd") else _apart(segments)


def _apart(segments: list[Segment]) -> list[Segment]:
    """Give voxels that several segments hold to the first of them, since a label map holds one value for each."""
    result: list[Segment] = []
    shared = 0
    for segment in segments:
        if segment.mask is None:
            result.append(segment)
            continue
        voxels = segment.mask.voxels.copy()
        for earlier in result:
            common = None if earlier.mask is None else earlier.mask.box.intersection(segment.mask.box)
            if common is not None and earlier.mask is not None:
                taken = earlier.mask.cut(common) != 0
                inside = voxels[common.within(segment.mask.box)]
                shared += int(np.count_nonzero(inside[taken]))
                inside[taken] = 0
        result.append(replace(segment, mask=BoxedMask(segment.mask.box, voxels)))
    if shared:
        screen.print(
            f"Objects overlap in {shared} voxels: a label map gives them to the more stable one; .seg.nrrd has both.",
            style="yellow",
            highlight=False,
        )
    return result
