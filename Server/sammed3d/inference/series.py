"""A series in time: what was clicked in one frame, carried on from frame to frame.

Each further frame is asked about the same clicks, with the mask of the frame before as the one to start from, so the
object may move and change its size from frame to frame by about what a click still meets. Nothing is hidden: of every
frame it is told how far its mask agrees with the one before, and by how much its volume differs. Clicks on a frame
correct it; the frames after it go on from there, with those clicks too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click
from sammed3d.errors import PromptError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.prompt_checks import check_click
from sammed3d.inference.session import inferer_for

LEAST_OVERLAP = 0.5
"""Dice with the frame before, below which a frame is to be looked at."""
LARGEST_JUMP = 0.5
"""Share of the volume of the frame before, by which it may differ unsaid."""


@dataclass(frozen=True, eq=False)
class FrameMask:
    """The mask of one frame.

    Attributes:
        frame: its number, from 0.
        mask: None where it is empty.
        millilitres: its volume.
        overlap: Dice with the mask of the frame that it went on from, 0..1; None for the frame of the first clicks.
        jump: by how much the volume differs from that, as a share of it, with its sign; None where that was empty.
        seconds: that it took.
        doubted: number of the newest frame with a remark of its own that it goes on from, no correction in between;
            None for none.
    """

    frame: int
    mask: BoxedMask | None
    millilitres: float
    overlap: float | None
    jump: float | None
    seconds: float
    doubted: int | None = None

    @property
    def remark(self) -> str:
        """Why the frame should be looked at; "" where nothing is remarkable."""
        parts = self._own_remarks()
        if self.doubted is not None:
            parts.append(f"goes on from frame {self.doubted + 1}")
        return ", ".join(parts)

    def _own_remarks(self) -> list[str]:
        if self.mask is None:
            return ["empty"]
        parts = []
        if self.overlap is not None and self.overlap < LEAST_OVERLAP:
            parts.append(f"overlap {self.overlap:.2f}")
        if self.jump is not None and abs(self.jump) > LARGEST_JUMP:
            parts.append(f"volume {self.jump:+.0%}")
        return parts

    @property
    def doubt(self) -> int | None:
        """What a frame that goes on from this one, uncorrected, has as `doubted`."""
        return self.frame if self._own_remarks() else self.doubted


def propagate(
    frame: Callable[[int], Volume],
    predictor: Predictor,
    clicks: Mapping[int, Sequence[Click]],
    first: int,
    frames: range,
    cancellation: Cancellation | None = None,
) -> Iterator[FrameMask]:
    """Segment the frames of a series: the one that was clicked in, those after it, then those before it, backwards.

    Args:
        frame: returns the volume of a frame; asked once for each, when it is its turn.
        predictor: the network.
        clicks: by number of the frame (from 0); those of `first`, and corrections of others.
        first: the frame of the first clicks.
        frames: which frames to segment, in steps of 1.
        cancellation: stops it; the masks that were yielded stay good.

    Raises:
        PromptError: there is no positive click in `first`, that or a correction lies outside `frames`, or a click lies
            outside the volume.
        VolumeError: a frame is on another grid than the first.
        PredictionCancelled: `cancellation` was used.
    """
    if not any(click.positive for click in clicks.get(first, ())):
        raise PromptError(f"Frame {first + 1} needs a positive click: the others go on from it.")
    if outside := sorted(set(clicks) - set(frames)):
        raise PromptError(
            f"Frame {outside[0] + 1} is clicked in, but frames {frames.start + 1} to {frames.stop} are asked for."
        )
    cancellation = cancellation or Cancellation()
    way = _Way(frame, predictor, clicks, cancellation)
    begin = way.segment(first, (), None)
    yield begin
    for numbers in (range(first + 1, frames.stop), range(first - 1, frames.start - 1, -1)):
        before, places = begin, tuple(clicks[first])
        for number in numbers:
            before = way.segment(number, places, before)
            places = (*places, *clicks.get(number, ()))
            yield before


class _Way:
    """One frame after the other; all of them on the grid of the first."""

    def __init__(
        self,
        frame: Callable[[int], Volume],
        predictor: Predictor,
        clicks: Mapping[int, Sequence[Click]],
        cancellation: Cancellation,
    ) -> None:
        self._frame, self._predictor = frame, predictor
        self._clicks, self._cancellation = clicks, cancellation
        self._grid: Grid | None = None

    def segment(self, number: int, places: Sequence[Click], before: FrameMask | None) -> FrameMask:
        """Segment a frame with the clicks of frames before and its own, going on from a mask."""
        begin = time.monotonic()
        self._cancellation.check()
        volume = self._frame(number)
        self._grid = self._grid or volume.grid
        if not volume.grid.matches(self._grid):
            raise VolumeError(f"{volume.name}: this frame is on another grid than the first. Resample it to that grid.")
        all_clicks = (*places, *self._clicks.get(number, ()))
        for click in all_clicks:
            check_click(click, volume.grid, volume.name)
        base = None if before is None else before.mask
        state = PromptState(tuple(replace(click, follow=0) for click in all_clicks), base, model=self._predictor.name)
        mask, _ = inferer_for(volume, self._predictor).mask_of(state, self._cancellation)
        mask = None if mask is None else mask.cropped()
        size = _size(mask) * volume.grid.voxel_volume / 1000
        overlap = None if before is None else _dice(mask, before.mask)
        jump = None if before is None or not before.millilitres else size / before.millilitres - 1
        doubted = None if before is None or number in self._clicks else before.doubt
        return FrameMask(number, mask, size, overlap, jump, time.monotonic() - begin, doubted)


def _size(mask: BoxedMask | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask.voxels))


def _dice(one: BoxedMask | None, other: BoxedMask | None) -> float:
    """Dice of two masks on the same grid; 1 where both are empty."""
    if one is None or other is None:
        return float(one is other)
    both = int(np.count_nonzero(other.cut(one.box) & one.voxels))
    return 2 * both / max(_size(one) + _size(other), 1)
