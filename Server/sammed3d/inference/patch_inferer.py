"""From an object's prompts to its mask with a 3-D model. The spine of the product, one station after the other.

Which patch a prompt goes to is decided by the prompts alone:

- A box opens a patch round its middle; what of it lies outside of the patch is cut off.
- The first click opens a patch round it. For a new object that is the first positive click; negative ones before it
  are applied right after it. A model that says so (`Capabilities.looks_wide`) answers that click in a wide patch first,
  and is told what it answered.
- A click in the inner part of the current patch goes to it: at least `MARGIN` samples from those of its faces that lie
  inside the volume.
- Any other click goes to an earlier patch that has it in its inner part, or opens a new one round it. The object as it
  stands is carried in as mask prompt, and the new result is laid over the old one as `compositing.py` describes. A
  model that takes all clicks is also told of the earlier ones that lie in this patch.
- After a click that says so (`Click.follow`), the object is followed into that many further patches at most, see
  `following.py`.

Consecutive clicks of one patch are a visit to it. All results are kept by the chain of visits that led to them, so
replaying known prompts asks the network nothing. A predictor that is asked over a wire (`OutlinePredictor`) answers
with an outline; it is asked for the logits that are missing where that does not settle the mask, and for the whole
answer once something else is made of it. The mask prompt of a further patch it makes itself, of answers that it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sammed3d.core.cache import LRUCache
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32, Marked
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume
from sammed3d.inference.answers import Fading, KeptLayer
from sammed3d.inference.compositing import Layer, hint_prompt, mask_prompt, paint, shows
from sammed3d.inference.following import is_believed, keeps
from sammed3d.inference.inferer import PromptState, in_effect, timed
from sammed3d.inference.kept_detail import unchanged_kept
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import Patch, cut_patch
from sammed3d.inference.patch_follower import PatchFollower
from sammed3d.inference.patch_visits import Chain, Visit, VisitAnswers, Walk
from sammed3d.inference.predictor import OutlinePredictor, PatchClick, PatchPrompts, Prediction, Predictor
from sammed3d.inference.settling import paint_within_bounds
from sammed3d.inference.windows import ROUND_FIRST_CLICK, Windows

MIB = 2**20
ANSWERS = 128 * MIB
"""Bytes of answers that are kept beside those of the newest prompts: 128 clicks with the default model, else 1,024."""


class PatchInferer:
    """Evaluate prompts patch by patch; see `inferer.Inferer`.

    Answers (128 KiB each, 1 MiB with the default model), patches and masks are kept in bounded caches; what was dropped
    is made again when needed.

    Attributes:
        predictor: the network.
        lattice: the volume's, at the spacing of the predictor's preset.
    """

    def __init__(self, volume: Volume, predictor: Predictor) -> None:
        self._volume = volume
        self.predictor = predictor
        self.lattice = Lattice(volume.grid, predictor.preset.spacing)
        self._windows = Windows(self.lattice, predictor.preset.patch_shape)
        self._follower = PatchFollower(self._windows)
        self._answers = VisitAnswers(ANSWERS)
        self._believed: dict[Chain, bool] = {}
        self._patches: LRUCache[Patch] = LRUCache(64 * MIB, lambda patch: patch.voxels.nbytes)
        self._masks: LRUCache[BoxedMask] = LRUCache(64 * MIB, lambda mask: mask.voxels.nbytes)
        self._mask_prompts: LRUCache[Float32] = LRUCache(16 * MIB, lambda seen: seen.nbytes)

    def mask_of(
        self, state: PromptState, cancellation: Cancellation | None = None
    ) -> tuple[BoxedMask | None, dict[str, float]]:
        """Return the mask of prompts, and the seconds spent by stage ("cut", "encode", "decode", "paint").

        Raises:
            PredictionCancelled: `cancellation` was used.
            VolumeError: a patch cannot be normalised.
        """
        walk = self.walked(state, cancellation or Cancellation())
        walk.cancellation.enter("paint")
        return self._painted(walk, len(walk.layers)), walk.seconds

    def goes_on(self, state: PromptState, cancellation: Cancellation | None = None) -> bool:
        """Whether there is a further patch to follow the object into; see `Inferer.goes_on`."""
        return self._follower.next_visit(self.walked(state, cancellation or Cancellation()), self._seen) is not None

    def visits(self, state: PromptState) -> list[Visit]:
        """Return the visits to patches that prompts make, in order; asks what it must to know where an object goes."""
        return self.walked(state, Cancellation()).visits

    def walked(self, state: PromptState, cancellation: Cancellation) -> Walk:
        """Answer all visits of some prompts, in order."""
        walk = Walk(state.base, cancellation, state.hint, state.carried)
        self._answers.begin()
        shape = self.predictor.preset.patch_shape
        visit: Visit | None = None
        if state.box is not None:
            window = self.lattice.window_at(state.box.middle, shape)
            visit = Visit(window, (), self._windows.box(window, state.box))
        for click in in_effect(state):
            sample = self.lattice.nearest(click.world)
            if visit is None or not self._windows.is_inner(visit.window, sample):
                if visit is not None:
                    self._answer(walk, visit)
                window = self._windows.known(walk.windows, sample, shape) or self.lattice.window_at(click.world, shape)
                visit = Visit(window, (), None, self._clicks_in(window, walk.clicks), wide=self._wide_at(walk, sample))
            walk.clicks.append((sample, click.positive))
            visit = replace(visit, clicks=(*visit.clicks, self._windows.click(visit.window, sample, click.positive)))
            if click.follow or self._follower.wide_instead(walk, visit) is not None:
                self._answer(walk, visit)
                visit = None
                self._follow(walk, click.follow)
        if visit is not None:
            self._answer(walk, visit)
        return walk

    def _answer(self, walk: Walk, visit: Visit) -> None:
        """Answer a visit; where that would lose what a wide patch had found, answer its clicks in that one instead."""
        wide = self._follower.wide_instead(walk, visit)
        self._ask(walk, visit, wide is not None)
        if wide is not None and not walk.counts:
            self._ask(walk, wide, False)

    def _ask(self, walk: Walk, visit: Visit, keeping: bool) -> None:
        """Ask the network about a visit, unless its answer is known, and lay the answer over what is there.

        Args:
            walk: so far.
            visit: the next one.
            keeping: whether the answer does not count if it loses much of what is there.
        """
        chain = (*walk.chain, visit)
        fading = self._windows.fading(visit.window) if walk.layers or walk.base is not None else None
        answer = self._answers.get(chain)
        if answer is None:
            walk.cancellation.enter("cut")
            if visit.followed or keeping:
                seen = self._seen(walk, visit.window)
                answer = self._asked(walk, visit, seen)
                known = [layer.window for layer in walk.layers]
                self._believed[chain] = (
                    is_believed(
                        self._windows, visit.window, seen, answer.low_res, known, clicked=not walk.newest_followed
                    )
                    if visit.followed
                    else keeps(self._windows, visit.window, seen, answer.low_res, known)
                )
            else:
                outline = self._windows.scale(visit.window) == 1
                answer = self._answered(walk, visit, walk.layers, (fading or Fading.nowhere()) if outline else None)
            self._answers.put(chain, answer)
        counts = self._believed.get(chain, True)
        layer = Layer(visit.window, answer.low_res, fading, answer.bounds, answer.kept)
        walk.add(visit, layer if counts else None)

    def _answered(self, walk: Walk, visit: Visit, layers: Sequence[Layer], fading: Fading | None) -> Prediction:
        """Ask about a visit over some layers; with `fading`, what is needed to paint the answer is enough.

        Who keeps those layers makes the mask prompt of them. Otherwise they have to be known whole first.
        """
        if visit.wide is not None:
            return self._answered_with_wide(walk, visit, visit.wide, fading)
        answer = self._answered_over_kept(walk, visit, layers, fading)
        if answer is not None:
            return answer
        self.complete(walk, len(layers))
        return self._asked(walk, visit, self._shown(walk, visit.window, walk.layers[: len(layers)]), fading)

    def _answered_with_wide(self, walk: Walk, visit: Visit, wide: Box, fading: Fading | None) -> Prediction:
        """Ask about a new object in a wide patch round its first click, then in the click's own, with that answer.

        There it is answered once, as is what begins with a mask prompt, here one that says nothing: a second time it
        would find more that is far away.
        """
        shape = self.predictor.preset.low_res_shape
        first = Visit(wide, self._windows.clicks_in(wide, walk.clicks[:1]))
        nothing = np.zeros(shape, np.float32)
        chain = (None, first)
        seen = self._answers.get(chain)
        if seen is None:
            if isinstance(self.predictor, OutlinePredictor):
                with timed(walk.seconds, "cut"):
                    self.predictor.send_next(self.patch(visit.window))
            seen = self._asked(walk, first, nothing, Fading.nowhere())
            self._answers.put(chain, seen)
        layer = Layer(wide, seen.low_res, None, seen.bounds, seen.kept)
        answer = self._answered_over_kept(walk, visit, [layer], fading)
        if answer is not None:
            return answer
        if not seen.whole:
            seen = self._asked(walk, first, nothing)
            self._answers.put(chain, seen)
        shown = self._mask_prompt(walk, chain, visit.window, [replace(layer, low_res=seen.low_res)], None)
        return self._asked(walk, visit, shown, fading)

    def _answered_over_kept(
        self, walk: Walk, visit: Visit, layers: Sequence[Layer], fading: Fading | None
    ) -> Prediction | None:
        """Ask about a visit over layers that who is asked keeps, and makes the mask prompt of; None where it cannot."""
        kept = None if self._keeps_detail(walk) else self._kept(layers, walk.base, visit.window)
        if kept is None or not isinstance(self.predictor, OutlinePredictor):
            return None
        patch, prompts = self._question(walk, visit, None)
        answer = self.predictor.predict_over(patch, prompts, kept, walk.cancellation, fading)
        if answer is not None:
            walk.spent(answer.seconds)
        return answer

    def _asked(self, walk: Walk, visit: Visit, seen: Float32 | None, fading: Fading | None = None) -> Prediction:
        """Ask about a visit with a mask prompt; with `fading`, what is needed to paint the answer is enough."""
        patch, prompts = self._question(walk, visit, seen)
        if fading is not None and isinstance(self.predictor, OutlinePredictor):
            answer = self.predictor.predict_outline(patch, prompts, walk.cancellation, fading)
        else:
            answer = self.predictor.predict(patch, prompts, walk.cancellation)
        walk.spent(answer.seconds)
        return answer

    def _question(self, walk: Walk, visit: Visit, seen: Float32 | None) -> tuple[Patch, PatchPrompts]:
        with timed(walk.seconds, "cut"):
            patch = self.patch(visit.window)
        return patch, PatchPrompts(
            visit.clicks,
            visit.box,
            seen,
            visit.earlier,
            from_wide=visit.wide is not None,
            from_mask=self._keeps_detail(walk) and not visit.followed,
        )

    def _keeps_detail(self, walk: Walk) -> bool:
        """Whether the object started from a mask of which only what an answer changes is to change."""
        return walk.stands and self.predictor.capabilities.refines_masks

    def _kept(self, layers: Sequence[Layer], base: BoxedMask | None, window: Box) -> list[KeptLayer] | None:
        """Name the layers that a window shows, placed in it; None where they are not kept, or not all that it shows."""
        if not layers or (base is not None and shows(self.lattice, window, base)):
            return None
        x, y, z = window.begin
        kept = []
        for layer in layers:
            if layer.window.intersection(window) is not None:
                if layer.kept is None:
                    return None
                kept.append(KeptLayer(layer.kept.logits, layer.window.shifted((-x, -y, -z)), layer.fading))
        return kept

    def complete(self, walk: Walk, count: int | None = None) -> None:
        """Ask again, for all logits, where only the outline of an answer is known; of the first `count` layers, or all.

        Raises:
            PredictionCancelled: the walk's cancellation was used.
        """
        for number, chain in enumerate(walk.painted[:count]):
            visit, answer = chain[-1], self._answers.of_walk(chain)
            if not answer.whole and isinstance(visit, Visit):
                answer = self._answered(walk, visit, walk.layers[:number], None)
                self._answers.put(chain, answer)
            if answer.low_res is not walk.layers[number].low_res:
                walk.layers[number] = replace(walk.layers[number], low_res=answer.low_res, bounds=None)

    def _follow(self, walk: Walk, patches: int) -> None:
        for _ in range(patches):
            visit = self._follower.next_visit(walk, self._seen)
            if visit is None:
                return
            self._answer(walk, visit)

    def _seen(self, walk: Walk, window: Box) -> Float32:
        """Return the object as it stands in a window; there must be one."""
        self.complete(walk)
        seen = self._shown(walk, window, walk.layers)
        assert seen is not None  # noqa: S101 - it is followed from a layer
        return seen

    def _shown(self, walk: Walk, window: Box, layers: Sequence[Layer]) -> Float32 | None:
        """Return the mask prompt of a question about a window; None for a new object without a box."""
        shape = self.predictor.preset.low_res_shape
        if not layers and walk.base is None:
            return None if walk.hint is None else hint_prompt(self.lattice, window, shape, walk.hint)
        made_by = walk.painted[len(layers) - 1] if layers else walk.chain[:1]
        if self._keeps_detail(walk):
            return self._mask_prompt(walk, made_by, window, [], self._painted(walk, len(layers)))
        return self._mask_prompt(walk, made_by, window, layers, walk.base)

    def _mask_prompt(
        self, walk: Walk, made_by: Chain, window: Box, layers: Sequence[Layer], base: BoxedMask | None
    ) -> Float32:
        """Return what whole layers, which a chain made, show in a window; further clicks there ask for the same."""
        known = self._mask_prompts.get((made_by, window))
        if known is None:
            with timed(walk.seconds, "cut"):
                known = mask_prompt(self.lattice, window, self.predictor.preset.low_res_shape, layers, base)
            self._mask_prompts.put((made_by, window), known)
        return known

    def _wide_at(self, walk: Walk, sample: Index3) -> Box | None:
        """The wide window round the first click of an object of which nothing is known, where the model wants it."""
        new = not walk.visits and not walk.clicks and walk.base is None and walk.hint is None
        if not new or not self.predictor.capabilities.looks_wide:
            return None
        return self._windows.wide_at(sample, ROUND_FIRST_CLICK)

    def _clicks_in(self, window: Box, done: Sequence[tuple[Index3, bool]]) -> tuple[PatchClick, ...]:
        """Clicks so far that lie in a window that another visit begins with, where the model wants to know."""
        return self._windows.clicks_in(window, done) if self.predictor.capabilities.all_clicks else ()

    def patch(self, window: Box) -> Patch:
        """Return the patch of a window, cut anew if it is not at hand."""
        patch = self._patches.get(window)
        if patch is None:
            patch = cut_patch(self._volume, self.lattice, window, self.predictor.preset)
            self._patches.put(window, patch)
        return patch

    def _painted(self, walk: Walk, count: int) -> BoxedMask | None:
        """Return the mask of the first `count` layers, going on from the newest one whose mask is at hand."""
        mask, first = walk.base, 0
        for number in range(count, 0, -1):
            known = self._masks.get(walk.painted[number - 1])
            if known is not None:
                mask, first = known, number
                break
        for number in range(first, count):
            painted, visit = self._laid_over(walk, number, mask), walk.painted[number][-1]
            if self._keeps_detail(walk) and mask is not None and isinstance(visit, Visit):
                with timed(walk.seconds, "paint"):
                    clicks = (*visit.earlier, *visit.clicks)
                    painted = unchanged_kept(self._windows, walk.layers[number], clicks, mask, painted)
            mask = painted
            if mask is not None:
                self._masks.put(walk.painted[number], mask)
        return mask

    def _laid_over(self, walk: Walk, number: int, before: BoxedMask | None) -> BoxedMask | None:
        """Paint a layer over what was there; asks first for what outlines leave out if it depends on that."""
        alone = number == 0 and walk.base is None  # for that, an outline is enough
        for _ in range(0 if alone else 2):
            layers = walk.layers[: number + 1]
            if all(layer.bounds is None for layer in layers):
                break
            with timed(walk.seconds, "paint"):
                mask, missing = paint_within_bounds(self.lattice, layers, walk.base, before)
            if not missing:
                return mask
            for n, marked in enumerate(missing):
                if marked.any():
                    self._sharpen(walk, n, marked)
        with timed(walk.seconds, "paint"):
            return paint(self.lattice, walk.layers[: number + 1], walk.base, before)

    def _sharpen(self, walk: Walk, number: int, marked: Marked) -> None:
        """Ask for some of the logits of an outline, or for all of them if they are not kept any more."""
        chain, layer = walk.painted[number], walk.layers[number]
        logits: Float32 | None = None
        if isinstance(self.predictor, OutlinePredictor) and layer.kept is not None:
            logits = self.predictor.logits_of(layer.kept, marked, walk.cancellation)
        if logits is None or layer.bounds is None:
            self.complete(walk)
            return
        low_res = layer.low_res.copy()
        low_res[marked] = logits
        bounds = layer.bounds.with_exact(marked)
        self._answers.put(chain, replace(self._answers.of_walk(chain), low_res=low_res, bounds=bounds))
        walk.layers[number] = replace(layer, low_res=low_res, bounds=bounds)
