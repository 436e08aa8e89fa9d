"""A series in time: what was said about an object in one frame, carried on from frame to frame.

Each further frame is asked about the same clicks, with the mask of the frame before as the one to start from. Where the
image shows that the object moved, by 30 mm at most, mask and clicks go with it (`motion.py`), but never a frame's own
clicks. Where the object is found again, moved or not, its mask is right but for what is clicked, as one that somebody
made; where it is not, the model may find it anew. Nothing is hidden: of every frame it is told how far its mask agrees
with the one before, by how much its volume differs, and whether the image at the edge of a mask that was carried along
says that the object has another shape by now. Prompts of a frame correct it; the frames after it go on from there, with
those prompts too. A frame without an image, such as the first of a scanner that warms up, stays empty, and the frames
after it go on from the one before it.

Scribbles, lassos and boxes hold in the frame in which they were drawn. In others they are the clicks inside that they
became there, since what was drawn round an object need not fit it any more; a model that knows boxes is shown the box
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Grid, Point3
from sammed3d.core.interpolation import Float64
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts, Translation
from sammed3d.errors import EmptyVolumeError, PromptError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.constraints import honoured
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.motion import Neighbourhood, moved
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.prompt_checks import check_prompts
from sammed3d.inference.session import inferer_for

LEAST_OVERLAP = 0.5
"""Dice with the frame before, below which a frame is to be looked at."""
LARGEST_JUMP = 0.5
"""Share of the volume of the frame before, by which it may differ unsaid."""
MOST_CHANGED = 0.25
"""Of the edge of an object that is found again, above which a mask is expected to change; see `motion.Sighting`."""
UNCHANGED = 0.93
"""Dice of two masks from which on they are of one shape."""


@dataclass(frozen=True, eq=False)
class FrameMask:
    """The mask of one frame.

    Attributes:
        frame: its number, from 0.
        mask: None where it is empty.
        millilitres: its volume.
        overlap: Dice with the mask of the frame that it went on from, at the place to which that was moved, 0..1; None
            for the frame of the first clicks.
        jump: by how much the volume differs from that, as a share of it, with its sign; None where that was empty.
        seconds: that it took.
        doubted: number of the newest frame with a remark of its own that it goes on from, no correction in between;
            None for none.
        kept: whether its mask was given.
        blank: whether its image holds nothing, so that it was left out.
        moved: how far mask and prompts of the frame that it went on from were moved, mm.
        changed: how far the image at the object's edge is other than in the frame in which it came to its place, though
            its mask is as it was there; see `motion.Sighting`. None where the mask changed, too, where it is not found
            again, or where somebody said something in this frame.
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
    moved: float = 0.0
    changed: float | None = None

    @property
    def change(self) -> str:
        """`jump` in words, "+9%"; "" for None."""
        return "" if self.jump is None else f"{round(self.jump, 2) + 0.0:+.0%}"  # never -0%

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
            parts.append(f"volume {self.change}")
        if self.changed is not None and self.changed > MOST_CHANGED:
            parts.append(f"edge changed ({min(self.changed, 1):.0%}), mask not")
        return parts

    @property
    def doubt(self) -> int | None:
        """What a frame that goes on from this one, uncorrected, has as `doubted`."""
        return self.frame if self._own_remarks() else self.doubted


def check_frames(prompts: Mapping[int, ObjectPrompts], first: int, frames: range) -> None:
    """Find out whether prompts can be carried through frames; takes no image and no network.

    Args:
        prompts: by number of the frame (from 0); those of `first`, and corrections of others.
        first: the frame of the first prompts.
        frames: which frames to segment.

    Raises:
        PromptError: `first` has no prompt that says where the object is, or prompts lie outside `frames`.
    """
    given = prompts.get(first)
    if given is None or not (given.box or any(each.positive for each in (*given.clicks, *given.drawings))):
        raise PromptError(f"Frame {first + 1} needs a positive click: the others go on from it.")
    if outside := sorted({first, *prompts} - set(frames)):
        raise PromptError(
            f"Frame {outside[0] + 1} is clicked in, but frames {frames.start + 1} to {frames.stop} are asked for."
        )


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
        PromptError: a reason of `check_frames`, or a prompt lies outside the volume.
        VolumeError: a frame is on another grid than the first, or one with prompts holds nothing.
        PredictionCancelled: `cancellation` was used.
    """
    check_frames(prompts, first, frames)
    way = _Way(frame, predictor, prompts, kept or {}, cancellation or Cancellation())
    begin, known = way.segment(first, _Known())
    yield begin
    for numbers in (range(first + 1, frames.stop), range(first - 1, frames.start - 1, -1)):
        so_far = known
        for number in numbers:
            done, so_far = way.segment(number, so_far)
            yield done


@dataclass(frozen=True, eq=False)
class _Known:
    """What a frame goes on from.

    Attributes:
        before: the frame before it that has an image; None for the frame of the first clicks.
        told: in prompts that the model knows, at their places in that frame, which may lie outside of it by now.
        neighbourhood: what the object looked like when it came to where it is, so that steps of less than a voxel add
            up; None where nothing was found.
        owed: (3,) voxels by which it moved on from where whole voxels have put it.
        moved: how far its mask and what is told were moved from there, mm.
        changed: how far its edge changed where it is found again, in the frame that goes on from it, so that the mask
            fits; None where it is not.
    """

    before: FrameMask | None = None
    told: PromptState = field(default_factory=PromptState)
    neighbourhood: Neighbourhood | None = None
    owed: Float64 = field(default_factory=lambda: np.zeros(3))
    moved: float = 0.0
    changed: float | None = None

    @property
    def found(self) -> bool:
        """Whether it is found again in the frame that goes on from it."""
        return self.changed is not None

    def moved_to(self, volume: Volume) -> _Known:
        """Return what is known, at the places where the object is in another image."""
        seen = None if self.neighbourhood is None else self.neighbourhood.found_in(volume)
        if self.before is None or seen is None:
            return self
        if not seen.shift.any():
            return replace(self, changed=seen.changed)
        there = seen.shift + self.owed
        i, j, k = (int(n) for n in np.rint(there))
        mask = None if self.before.mask is None else moved(self.before.mask, (i, j, k), volume.grid)
        way = volume.grid.to_world((i, j, k)) - volume.grid.to_world((0, 0, 0))
        clicks = tuple(replace(click, world=_along(click.world, way)) for click in self.told.clicks)
        box = self.told.box and BoxPrompt(_along(self.told.box.begin, way), _along(self.told.box.end, way))
        told = replace(self.told, clicks=clicks, box=box)
        before, owed, far = replace(self.before, mask=mask), there - (i, j, k), float(np.linalg.norm(way))
        return _Known(before, told, None, owed, far, seen.changed)


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

    def segment(self, number: int, known: _Known) -> tuple[FrameMask, _Known]:
        """Segment a frame with what was told of those before and its own prompts, going on from a mask.

        Returns the frame, and what is known for the one after it.
        """
        begin = time.monotonic()
        self._cancellation.check()
        try:
            volume = self._volume(number)
        except EmptyVolumeError:
            if known.before is None or self._is_corrected(number):
                raise
            return FrameMask(number, None, 0.0, None, None, time.monotonic() - begin, blank=True), known
        here = known.moved_to(volume)
        mask, told = self._answer(number, volume, here)
        neighbourhood = here.neighbourhood if here.found and not self._is_corrected(number) else None
        done = self._compared(number, mask, volume, known.before, here, neighbourhood)
        if mask is None or neighbourhood is None:
            neighbourhood = None if mask is None else Neighbourhood.of(volume, mask)
        owed = np.zeros(3) if done.kept else here.owed
        done = replace(done, seconds=time.monotonic() - begin)
        return done, _Known(done, told, neighbourhood, owed)

    def _volume(self, number: int) -> Volume:
        volume = self._frame(number)
        self._grid = self._grid or volume.grid
        if not volume.grid.matches(self._grid):
            raise VolumeError(f"{volume.name}: this frame is on another grid than the first. Resample it to that grid.")
        return volume

    def _is_corrected(self, number: int) -> bool:
        """Tell whether somebody said something in a frame, or made its mask."""
        return number in self._prompts or number in self._kept

    def _answer(self, number: int, volume: Volume, here: _Known) -> tuple[BoxedMask | None, PromptState]:
        """Return the mask of a frame, predicted or given, and what further frames are told."""
        own = check_prompts(self._prompts.get(number) or ObjectPrompts("", ()), volume.grid, volume.name)
        inside = tuple(click for click in here.told.clicks if volume.grid.contains(click.world))
        gone = tuple(click for click in here.told.clicks if click not in inside)
        base = self._kept.get(number, None if here.before is None else here.before.mask)
        joined = _joined(replace(here.told, clicks=inside), own)
        state = replace(joined, base=base, model=self._predictor.name, carried=not here.found)
        inferer = inferer_for(volume, self._predictor)
        if number in self._kept:
            mask: BoxedMask | None = self._kept[number]
        else:
            mask, _ = inferer.mask_of(state, self._cancellation)
            if own.honour and not state.honour:  # a box of another frame is shown, and does not hold
                mask = honoured(mask, replace(state, box=None), volume.grid)
        inferer.known_prompts(state, self._cancellation)  # asked for where a mask was given; can be stopped
        told = _carried(state, list(inferer.translations(state)), self._predictor.preset.boxes)
        return None if mask is None else mask.cropped(), replace(told, clicks=(*gone, *told.clicks))

    def _compared(
        self,
        number: int,
        mask: BoxedMask | None,
        volume: Volume,
        before: FrameMask | None,
        here: _Known,
        neighbourhood: Neighbourhood | None,
    ) -> FrameMask:
        """Return a frame, compared with the one that it goes on from; the seconds that it took are not in it."""
        corrected = self._is_corrected(number)
        size = _size(mask) * volume.grid.voxel_volume / 1000
        overlap = None if here.before is None else _dice(mask, here.before.mask)
        jump = None if before is None or not before.millilitres else size / before.millilitres - 1
        doubted = None if before is None or corrected else before.doubt
        as_it_was = overlap if neighbourhood is None else _dice(mask, neighbourhood.mask)
        changed = here.changed if not corrected and (as_it_was or 0) > UNCHANGED else None
        kept = number in self._kept
        return FrameMask(number, mask, size, overlap, jump, 0.0, doubted, kept, False, here.moved, changed)


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


def _along(world: Point3, way: Float64) -> Point3:
    a, b, c = (place + more for place, more in zip(world, way.tolist(), strict=True))
    return a, b, c


def _size(mask: BoxedMask | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask.voxels))


def _dice(one: BoxedMask | None, other: BoxedMask | None) -> float:
    """Dice of two masks on the same grid; 1 where both are empty."""
    if one is None or other is None:
        return float(one is other)
    both = int(np.count_nonzero(other.cut(one.box) & one.voxels))
    return 2 * both / max(_size(one) + _size(other), 1)
