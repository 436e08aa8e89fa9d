"""`sammed3d find`: all objects of a volume, without a click."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import sammed3d
from sammed3d.cli.signals import interruptible
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    SeriesOption,
    VolumeArgument,
    explained,
    screen,
)
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.mask import BoxedMask
from sammed3d.files.outputs import check_output
from sammed3d.files.segmentation import PALETTE, Segment, check_place, read_mask, write_segments
from sammed3d.files.volume import Volume, check_writable
from sammed3d.inference.automatic import AutomaticMaskGenerator, AutomaticSettings, Instance

DEFAULTS = AutomaticSettings()
STOPPED = 130
"""Exit code of a search that was stopped, as shells have it."""


def find(
    volume: VolumeArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Segments: .seg.nrrd, .nii.gz, .nrrd or .mha.")],
    region: Annotated[Path | None, typer.Option(help="Mask of where to look, for example the lungs.")] = None,
    model: Annotated[str, typer.Option(help="An installed 3-D model, or a checkpoint file.")] = "default",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    distance: Annotated[float, typer.Option(help="Between the points of the grid, mm.")] = DEFAULTS.distance,
    smallest: Annotated[float, typer.Option(help="Smallest volume, ml.")] = DEFAULTS.smallest,
    largest: Annotated[float, typer.Option(help="Largest volume, ml.")] = math.inf,
    stability: Annotated[float, typer.Option(help="How stable a mask has to be, 0..1.")] = DEFAULTS.stability,
    offset: Annotated[float, typer.Option(help="By how much its threshold is moved, logits.")] = DEFAULTS.offset,
    contrast: Annotated[
        float, typer.Option(help="How much it has to stand out from its surroundings, in deviations of both.")
    ] = DEFAULTS.contrast,
    most: Annotated[int, typer.Option(help="Keep that many, the most stable ones.")] = 100,
    base: BaseOption = None,
    series: SeriesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find all objects of a volume or region, without a click, and write one segment for each.

    Ctrl-C stops the search and writes what was found so far.
    """
    cancellation = Cancellation()
    with explained(debug):
        check_place(output)
        check_output(output, (volume, region), force)
        settings = AutomaticSettings(distance, stability, offset, smallest, largest, contrast=contrast)
        image = Volume.read(volume, series)
        check_writable(image.grid)
        where = None if region is None else read_mask(region, image.grid)
        predictor = sammed3d.load_predictor(model, device, family=family, base=base)
        generator = AutomaticMaskGenerator(predictor, settings)
        with (
            interruptible(cancellation),
            Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress,
        ):
            task = progress.add_task("Looking", total=None)
            found = generator.generate(
                image,
                where,
                lambda done, total: progress.update(task, completed=done, total=total),
                cancellation,
                keep=True,
            )
        kept = found[:most]
        named = [
            Segment(f"Object {n}", each.mask, PALETTE[(n - 1) % len(PALETTE)]) for n, each in enumerate(kept, start=1)
        ]
        if not output.name.lower().endswith(".seg.nrrd"):
            named = _apart(named)
        write_segments(output, named, image.grid)
        _print(kept, len(found), as_json)
        if cancellation.is_cancelled:
            screen.print(f"Stopped: {output} holds what was found so far.", style="yellow", highlight=False)
    if cancellation.is_cancelled:
        raise typer.Exit(STOPPED)


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


def _print(kept: list[Instance], found: int, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": f"Object {n}", "click": each.click.world, "volume_ml": each.volume_ml, "stability": each.stability}
            for n, each in enumerate(kept, start=1)
        ]
        print(json.dumps({"found": found, "objects": rows}))
        return
    table = Table("Object", "R, A, S (mm)", "Volume (ml)", "Stability")
    for n, each in enumerate(kept, start=1):
        place = ", ".join(f"{v:.1f}" for v in each.click.world)
        table.add_row(str(n), place, f"{each.volume_ml:.2f}", f"{each.stability:.2f}")
    Console().print(table)
    if found > len(kept):
        print(f"{found} were found; the {len(kept)} most stable ones were kept (--most).")
