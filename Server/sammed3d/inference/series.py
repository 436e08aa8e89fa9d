"""A series in time: what was said about an object in one frame, carried on from frame to frame.

Each further frame is asked about the same clicks, with the mask of the frame before as the one to start from, so the
object may move and change its size from frame to frame by about what a click still meets. Nothing is hidden: of every
frame it is told how far its mask agrees with the one before, and by how much its volume differs. Prompts of a frame
correct it; the frames after it go on from there, with those prompts too. A frame without an image, such as the first of
a scanner that warms up, stays empty, and the frames after it go on from the one before it.

Scribbles, lassos and boxes hold in the frame in which they were drawn. In others they are the clicks inside that they
became there, since what was drawn round an object need not fit it any more; a model that knows boxes is shown the box
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click, ObjectPrompts, Translation
from sammed3d.errors import EmptyVolumeError, PromptError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.constraints import honoured
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.prompt_checks import check_prompts
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
        kept: whether its mask was given.
        blank: whether its image holds nothing, so that it was left out.
    """

    frame: int
    mask: BoxedMask | None
    millilitres: float
    overlap: float | None
    jump: float | None
    seconds: float
    doubted: int | None = None
    kept: bool = False
    blank: bool = False

    @property
    def remark(self) -> str:
        """Why the frame should be looked at; "" where nothing is remarkable."""
        parts = self._own_remarks()
        if self.doubted is not None:
            parts.append(f"goes on from frame {self.doubted + 1}")
        return ", ".join(parts)

    def _own_remarks(self) -> list[str]:
        if self.kept:  # somebody has looked at it
            return []
        if self.blank:
            return ["no image, nothing in it to segment"]
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
    prompts: Mapping[int, ObjectPrompts],
    first: int,
    frames: range,
    cancellation: Cancellation | None = None,
    kept: Mapping[int, BoxedMask] | None = None,
) -> Iterator[FrameMask]:
    """Segment the frames of a series: the one that was clicked in, those after it, then those before it, backwards.

    Args:
        frame: returns the volume of a frame; asked once for each, when it is its turn.
        predictor: the network.
        prompts: by number of the frame (from 0); those of `first`, and corrections of others.
        first: the frame of the first prompts.
        frames: which frames to segment, in steps of 1.
        cancellation: stops it; the masks that were yielded stay good.
        kept: masks of frames that are to stay as they are, on the grid of the first; the frames after go on from them.

    Raises:
        PromptError: `first` has no prompt that says where the object is, that frame or a correction lies outside
            `frames`, or a prompt lies outside the volume.
        VolumeError: a frame is on another grid than the first, or one with prompts holds nothing.
        PredictionCancelled: `cancellation` was used.
    """
    given = prompts.get(first)
    if given is None or not (given.box or any(each.positive for each in (*given.clicks, *given.drawings))):
        raise PromptError(f"Frame {first + 1} needs a positive click: the others go on from it.")
    if outside := sorted({first, *prompts} - set(frames)):
        raise PromptError(
            f"Frame {outside[0] + 1} is clicked in, but frames {frames.start + 1} to {frames.stop} are asked for."
        )
    way = _Way(frame, predictor, prompts, kept or {}, cancellation or Cancellation())
    begin, told = way.segment(first, PromptState(), None)
    yield begin
    for numbers in (range(first + 1, frames.stop), range(first - 1, frames.start - 1, -1)):
        before, places = begin, told
        for number in numbers:
            done, places = way.segment(number, places, before)
            before = before if done.blank else done
            yield done


class _Way:
    """One frame after the other; all of them on the grid of the first."""

    def __init__(
        self,
        frame: Callable[[int], Volume],
        predictor: Predictor,
        prompts: Mapping[int, ObjectPrompts],
        kept: Mapping[int, BoxedMask],
        cancellation: Cancellation,
    ) -> None:
        self._frame, self._predictor = frame, predictor
        self._prompts, self._kept, self._cancellation = prompts, kept, cancellation
        self._grid: Grid | None = None

    def segment(self, number: int, places: PromptState, before: FrameMask | None) -> tuple[FrameMask, PromptState]:
        """Segment a frame with what was told of those before and its own prompts, going on from a mask.

        Returns the frame, and what the frames after it are told, in prompts that the model knows.
        """
        begin = time.monotonic()
        self._cancellation.check()
        try:
            volume = self._frame(number)
        except EmptyVolumeError:
            if before is None or number in {*self._prompts, *self._kept}:
                raise
            return FrameMask(number, None, 0.0, None, None, time.monotonic() - begin, blank=True), places
        self._grid = self._grid or volume.grid
        if not volume.grid.matches(self._grid):
            raise VolumeError(f"{volume.name}: this frame is on another grid than the first. Resample it to that grid.")
        own = check_prompts(self._prompts.get(number) or ObjectPrompts("", ()), volume.grid, volume.name)
        base = self._kept.get(number, None if before is None else before.mask)
        state = replace(_joined(places, own), base=base, model=self._predictor.name, carried=True)
        inferer = inferer_for(volume, self._predictor)
        if number in self._kept:
            mask: BoxedMask | None = self._kept[number]
        else:
            mask, _ = inferer.mask_of(state, self._cancellation)
            if own.honour and not state.honour:  # a box of another frame is shown, and does not hold
                mask = honoured(mask, replace(state, box=None), volume.grid)
        inferer.known_prompts(state, self._cancellation)  # asked for where a mask was given; can be stopped
        told = _carried(state, list(inferer.translations(state)), self._predictor.preset.boxes)
        mask = None if mask is None else mask.cropped()
        size = _size(mask) * volume.grid.voxel_volume / 1000
        overlap = None if before is None else _dice(mask, before.mask)
        jump = None if before is None or not before.millilitres else size / before.millilitres - 1
        doubted = None if before is None or number in {*self._prompts, *self._kept} else before.doubt
        seconds = time.monotonic() - begin
        done = FrameMask(number, mask, size, overlap, jump, seconds, doubted, number in self._kept)
        return done, told


def _joined(places: PromptState, own: ObjectPrompts) -> PromptState:
    """Return the prompts of a frame: what those before were told, then its own."""
    clicks = tuple(replace(click, follow=0) for click in (*places.clicks, *own.clicks))
    drawings = tuple(replace(drawing, after=len(places.clicks) + drawing.after) for drawing in own.drawings)
    borrowed = own.box is None and places.box is not None
    box = places.box if borrowed else own.box
    return PromptState(clicks, box=box, drawings=drawings, honour=own.honour and not borrowed)


def _carried(state: PromptState, translations: list[Translation], boxes: bool) -> PromptState:
    """Return what further frames are told: clicks, and drawings as the clicks that they became.

    Clicks round a lasso or a box, which keep an answer in, are left out: the object may be there by then.
    """
    clicks: tuple[Click, ...] = ()
    if state.box is not None and not boxes:
        clicks = tuple(click for click in translations.pop(0).clicks if click.positive)
    position = 0
    for drawing, became in zip(state.drawings, translations, strict=True):
        same = tuple(click for click in became.clicks if click.positive == drawing.positive)
        clicks = (*clicks, *state.clicks[position : drawing.after], *same)
        position = max(position, drawing.after)
    return PromptState((*clicks, *state.clicks[position:]), box=state.box if boxes else None)


def _size(mask: BoxedMask | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask.voxels))


def _dice(one: BoxedMask | None, other: BoxedMask | None) -> float:
    """Dice of two masks on the same grid; 1 where both are empty."""
    if one is None or other is None:
        return float(one is other)
    both = int(np.count_nonzero(other.cut(one.box) & one.voxels))
    return 2 * both / max(_size(one) + _size(other), 1)
