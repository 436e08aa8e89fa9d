"""From an object's prompts to its mask with a 2-D model, slice by slice.

- A slice with prompts of its own is decided by them: all its clicks (and the box, where it is the box's middle slice),
  starting from what had reached the slice before.
  The inside of a loop that was drawn on a slice is shown with its first click, in place of what had reached it.
- From there the object is followed to the neighbours. Each is shown the mask of the slice before it and the box round
  that mask, until nothing is left of the object, or what is left has no pixel in common with the slice before.
  An object is followed over `FOLLOWED` slices to either side at most, unless a box says how far it reaches; a click in
  the last of them goes on from there.
- Every other slice follows the nearest one that has prompts of its own. A box bounds the slices that are followed;
  clicks beyond it move that bound.
- An object that started from a mask keeps it: there, clicks change their own slices only.

Answers are kept by what was asked, so replaying known prompts asks the network nothing.

Source of the prompts of a slice: SAM-Med2D `test.py` (all points so far with the previous mask, the best of three).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from sammed3d.core.cache import LRUCache
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box
from sammed3d.core.interpolation import Float32
from sammed3d.core.mask import BoxedMask, Mask
from sammed3d.core.prompts import BoxPrompt
from sammed3d.files.volume import Volume
from sammed3d.inference.compositing import MASK_LOGIT
from sammed3d.inference.inferer import PromptState, in_effect, positive_first, timed
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchBox, PatchClick, PatchPrompts, Predictor
from sammed3d.inference.slices import Slices

MIB = 2**20
FOLLOWED = 64
"""Slices to either side of one with prompts over which an object is followed; a model that floods would not end."""
ANSWERS = 256 * MIB
"""Bytes of answers that are kept: some 16,000 slices."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model said of a slice.

    Attributes:
        low_res: logits, shape preset.low_res_shape.
    """

    low_res: Float32

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the logits."""
        return hashlib.sha256(np.ascontiguousarray(self.low_res).data).hexdigest()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is inside."""
        return not (self.low_res > 0).any()

    def meets(self, other: Answer) -> bool:
        """Whether both have a pixel in common."""
        return bool(((self.low_res > 0) & (other.low_res > 0)).any())


@dataclass
class _Own:
    """The prompts of a slice: what had reached it before, then a box, then clicks."""

    start: Answer | None
    box: PatchBox | None
    clicks: tuple[PatchClick, ...]


Question = tuple[int, tuple[PatchClick, ...], PatchBox | None, str | None]
"""Slice, clicks, box, digest of the answer that is the mask prompt."""


class SliceInferer:
    """Evaluate prompts slice by slice; see `inferer.Inferer`.

    Args:
        volume: the image.
        predictor: a 2-D model.
        slices: how its slices are shown; those of the volume if not given.

    Answers (16 KiB each), slices and masks are kept in bounded caches; what was dropped is made again when needed.

    Attributes:
        slices: the volume's slices as inputs of the predictor's network.
    """

    def __init__(self, volume: Volume, predictor: Predictor, slices: Slices | None = None) -> None:
        self._volume = volume
        self._predictor = predictor
        self.slices = slices or Slices(volume.grid, predictor.preset)
        self._answers: LRUCache[Answer] = LRUCache(ANSWERS, lambda answer: answer.low_res.nbytes)
        self._patches: LRUCache[Patch] = LRUCache(64 * MIB, lambda patch: patch.voxels.nbytes)
        self._painted: LRUCache[Mask] = LRUCache(64 * MIB, lambda mask: mask.nbytes)

    def goes_on(self, _state: PromptState, _cancellation: Cancellation | None = None) -> bool:
        """Whether there is a further patch to follow the object into: never, it is followed through all slices."""
        return False

    def mask_of(
        self, state: PromptState, cancellation: Cancellation | None = None
    ) -> tuple[BoxedMask | None, dict[str, float]]:
        """Return the mask of prompts, and the seconds spent by stage ("cut", "encode", "decode", "paint")."""
        asking = _Asking(self._ask, cancellation or Cancellation(), {})
        keys, _ = self._answer_prompts(state, asking)
        slices = (
            keys
            if state.base is not None
            else self._followed(keys, self._bounds(state, keys), asking, state.box is not None)
        )
        asking.cancellation.enter("paint")
        with timed(asking.seconds, "paint"):
            mask = self._assembled(slices, state.base)
        return mask, asking.seconds

    def questions(
        self, state: PromptState, cancellation: Cancellation | None = None
    ) -> dict[int, tuple[Patch, PatchPrompts]]:
        """Return what the model is asked of the slices that have prompts of their own; errors as `mask_of`."""
        _, own = self._answer_prompts(state, _Asking(self._ask, cancellation or Cancellation(), {}))
        asked = {number: self._prompts(prompts) for number, prompts in own.items()}
        return {number: (self._patch(number), prompts) for number, prompts in asked.items() if prompts.in_order}

    def _answer_prompts(self, state: PromptState, asking: _Asking) -> tuple[dict[int, Answer], dict[int, _Own]]:
        """Return the answers for the slices that have prompts of their own, and these prompts."""
        keys: dict[int, Answer] = {}
        own: dict[int, _Own] = {}
        if state.box is not None:
            number, box = self._place_box(state.box)
            own[number] = _Own(self._of_base(state.base, number), box, ())
            keys[number] = asking(number, own[number])
        for click in in_effect(state):
            number, (column, row) = self.slices.place(click.world)
            if number not in own:
                start = self._of_base(state.base, number) or self._of_area(state.areas, number)
                start = start or self._reached(number, state, keys, asking)
                own[number] = _Own(start, None, ())
            own[number].clicks += (PatchClick((column, row, 0.0), click.positive),)
            keys[number] = asking(number, own[number])
        return keys, own

    def _place_box(self, box: BoxPrompt) -> tuple[int, PatchBox]:
        """Return the middle slice of a box, and the box in its image."""
        number, _ = self.slices.place(box.middle)
        places = np.array([self.slices.place(corner)[1] for corner in box.corners])
        (left, top), (right, bottom) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
        return number, PatchBox((left, top, 0.0), (right, bottom, 0.0))

    def _bounds(self, state: PromptState, keys: Mapping[int, Answer]) -> range:
        """Return the slices to which an object may be followed."""
        if state.box is None:
            return range(self.slices.count)
        numbers = [*keys, *(self.slices.place(corner)[0] for corner in state.box.corners)]
        return range(min(numbers), max(numbers) + 1)

    def _reached(self, number: int, state: PromptState, keys: Mapping[int, Answer], asking: _Asking) -> Answer | None:
        """Return what the nearest slice with prompts makes of another one; None if nothing gets there."""
        if not keys or state.base is not None:
            return None
        nearest = min(keys, key=lambda key: (abs(key - number), key))
        if abs(number - nearest) > FOLLOWED and state.box is None:
            return None
        way = range(nearest + 1, number + 1) if number > nearest else range(nearest - 1, number - 1, -1)
        followed = dict(self._follow(keys[nearest], way, asking))
        return followed.get(number)

    def _followed(self, keys: Mapping[int, Answer], bounds: range, asking: _Asking, boxed: bool) -> dict[int, Answer]:
        """Return the answers for all slices that the object is followed to, and those of `keys`."""
        result = dict(keys)
        ordered = sorted(keys)
        parts: list[tuple[int, range, range]] = []
        for key, before, after in zip(ordered, [None, *ordered], [*ordered[1:], None], strict=False):
            first = bounds.start if before is None else (before + key) // 2 + 1
            last = bounds.stop - 1 if after is None else (key + after) // 2
            if not boxed:
                first, last = max(first, key - FOLLOWED), min(last, key + FOLLOWED)
            parts.append((key, range(key + 1, last + 1), range(key - 1, first - 1, -1)))
        asking.expected = asking.asked + sum(len(up) + len(down) for _, up, down in parts)
        for key, *ways in parts:
            for way in ways:
                result.update(self._follow(keys[key], way, asking))
        return result

    def _follow(self, start: Answer, way: range, asking: _Asking) -> Iterator[tuple[int, Answer]]:
        """Follow an object from slice to slice until it vanishes."""
        before = start
        for number in way:
            box = self.slices.bounds(before.low_res)
            if box is None:
                return
            answer = asking(number, _Own(before, box, ()))
            if answer.is_empty or not answer.meets(before):
                return
            yield number, answer
            before = answer

    def _of_base(self, base: BoxedMask | None, number: int) -> Answer | None:
        """Return the mask that the object started from, in a slice; None where there is nothing of it."""
        if base is None or base.box.intersection(self.slices.box(number)) is None:
            return None
        mask = np.squeeze(base.cut(self.slices.box(number)), axis=self.slices.axis)
        return Answer(self.slices.prompt_of(mask, MASK_LOGIT)) if mask.any() else None

    def _of_area(self, areas: Sequence[BoxedMask], number: int) -> Answer | None:
        """Return the newest area that was drawn on a slice; None where there is none."""
        axis = self.slices.axis
        here = [a for a in areas if a.box.shape[axis] == 1 and self.slices.box(number).intersection(a.box) is not None]
        return self._of_base(here[-1], number) if here else None

    def _ask(self, number: int, own: _Own, cancellation: Cancellation, seconds: dict[str, float]) -> Answer:
        prompts = self._prompts(own)
        if not prompts.in_order:  # nothing is there that could be taken away
            return Answer(np.full(self._predictor.preset.low_res_shape, -MASK_LOGIT, np.float32))
        question = number, tuple(prompts.clicks), own.box, None if own.start is None else own.start.digest
        answer = self._answers.get(question)
        if answer is None:
            cancellation.enter("cut")
            with timed(seconds, "cut"):
                patch = self._patch(number)
            said = self._predictor.predict(patch, prompts, cancellation)
            for name, value in said.seconds.items():
                seconds[name] = seconds.get(name, 0.0) + value
            answer = Answer(said.low_res)
            self._answers.put(question, answer)
        return answer

    def _prompts(self, own: _Own) -> PatchPrompts:
        clicks = positive_first(own.clicks) if own.start is None and own.box is None else own.clicks
        return PatchPrompts(clicks, own.box, None if own.start is None else own.start.low_res)

    def _patch(self, number: int) -> Patch:
        patch = self._patches.get(number)
        if patch is None:
            patch = self.slices.cut(self._volume, number)
            self._patches.put(number, patch)
        return patch

    def _assembled(self, slices: Mapping[int, Answer], base: BoxedMask | None) -> BoxedMask | None:
        """Put the masks of slices together, laid over the mask that the object started from."""
        painted = {number: self._paint(number, answer) for number, answer in slices.items()}
        boxes = [self.slices.box(number) for number, mask in painted.items() if mask.any()]
        if base is not None:
            boxes.append(base.box)
        if not boxes:
            return None
        whole = reduce(Box.union, boxes)
        voxels = np.zeros(whole.shape, np.uint8, order="F") if base is None else base.cut(whole)
        for number, mask in painted.items():
            here = self.slices.box(number)
            common = here.intersection(whole)
            if common is not None:
                across = np.expand_dims(mask, self.slices.axis)
                voxels[common.within(whole)] = across[common.within(here)]
        return BoxedMask(whole, voxels).cropped()

    def _paint(self, number: int, answer: Answer) -> Mask:
        mask = self._painted.get((number, answer.digest))
        if mask is None:
            mask = self.slices.paint(answer.low_res)
            self._painted.put((number, answer.digest), mask)
        return mask


@dataclass
class _Asking:
    """Ask the model about slices, on behalf of one evaluation."""

    ask: Callable[[int, _Own, Cancellation, dict[str, float]], Answer]
    cancellation: Cancellation
    seconds: dict[str, float]
    expected: int = 0
    asked: int = 0

    def __call__(self, number: int, own: _Own) -> Answer:
        self.asked += 1
        self.cancellation.slices = self.asked, max(self.expected, self.asked)
        return self.ask(number, own, self.cancellation, self.seconds)
