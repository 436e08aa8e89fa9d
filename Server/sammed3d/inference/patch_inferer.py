"""From an object's prompts to its mask with a 3-D model. The spine of the product, one station after the other.

Which patch a prompt goes to is decided by the prompts alone:

- A box opens a patch round its middle; what of it lies outside of the patch is cut off.
- The first click opens a patch round it. For a new object that is the first positive click; negative ones before it
  are applied right after it.
- A click in the inner part of the current patch goes to it: at least `MARGIN` samples from those of its faces that lie
  inside the volume.
- Any other click goes to an earlier patch that has it in its inner part, or opens a new one round it. The object as it
  stands is carried in as mask prompt, and the new result is laid over the old one as `compositing.py` describes. A
  model that takes all clicks is also told of the earlier ones that lie in this patch.

Consecutive clicks of one patch are a visit to it. All results are kept by the chain of visits that led to them, so
replaying known prompts asks the network nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sammed3d.core.cache import LRUCache
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt
from sammed3d.files.volume import Volume
from sammed3d.inference.compositing import MARGIN, Layer, mask_prompt, paint
from sammed3d.inference.inferer import PromptState, in_effect, timed
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import Patch, cut_patch
from sammed3d.inference.predictor import PatchBox, PatchClick, PatchPrompts, Predictor

MIB = 2**20


@dataclass(frozen=True)
class Visit:
    """Consecutive clicks that go to one patch.

    Attributes:
        window: the patch's box of the lattice.
        clicks: in voxels of the patch.
        box: before the clicks, in voxels of the patch; or None.
        earlier: clicks of earlier visits that lie in this patch too, for models that take all clicks.
    """

    window: Box
    clicks: tuple[PatchClick, ...]
    box: PatchBox | None = None
    earlier: tuple[PatchClick, ...] = ()


Chain = tuple[str | Visit | None, ...]
"""Digest of the mask an object started from, then its visits: names a result."""


class PatchInferer:
    """Evaluate prompts patch by patch; see `inferer.Inferer`.

    Low-res logits are kept for every state ever evaluated (128 KiB each); patches and masks in bounded caches, from
    which they are made again when needed.

    Attributes:
        lattice: the volume's, at the spacing of the predictor's preset.
    """

    def __init__(self, volume: Volume, predictor: Predictor) -> None:
        self._volume = volume
        self._predictor = predictor
        self.lattice = Lattice(volume.grid, predictor.preset.spacing)
        self._low_res: dict[Chain, Float32] = {}
        self._patches: LRUCache[Patch] = LRUCache(64 * MIB, lambda patch: patch.voxels.nbytes)
        self._masks: LRUCache[BoxedMask] = LRUCache(64 * MIB, lambda mask: mask.voxels.nbytes)

    def mask_of(
        self, state: PromptState, cancellation: Cancellation | None = None
    ) -> tuple[BoxedMask | None, dict[str, float]]:
        """Return the mask of prompts, and the seconds spent by stage ("cut", "encode", "decode", "paint").

        Raises:
            PredictionCancelled: `cancellation` was used.
            VolumeError: a patch cannot be normalised.
        """
        seconds: dict[str, float] = {}
        cancellation = cancellation or Cancellation()
        mask = state.base
        chain: Chain = (None if state.base is None else state.base.digest,)
        layers: list[Layer] = []
        for visit in self.visits(state):
            chain = (*chain, visit)
            soft = bool(layers) or state.base is not None
            low_res = self._low_res.get(chain)
            if low_res is None:
                cancellation.enter("cut")
                with timed(seconds, "cut"):
                    patch = self._patch(visit.window)
                    shape = self._predictor.preset.low_res_shape
                    initial = mask_prompt(self.lattice, visit.window, shape, layers, state.base) if soft else None
                prompts = PatchPrompts(visit.clicks, visit.box, initial, visit.earlier)
                prediction = self._predictor.predict(patch, prompts, cancellation)
                for name, value in prediction.seconds.items():
                    seconds[name] = seconds.get(name, 0.0) + value
                low_res = self._low_res[chain] = prediction.low_res
            layers.append(Layer(visit.window, low_res, soft))
            cancellation.enter("paint")
            with timed(seconds, "paint"):
                mask = self._painted(chain, layers, state.base, mask)
        return mask, seconds

    def visits(self, state: PromptState) -> list[Visit]:
        """Return the visits to patches that prompts make, in order."""
        visits: list[Visit] = []
        shape = self._predictor.preset.patch_shape
        if state.box is not None:
            window = self.lattice.window_at(state.box.middle, shape)
            visits.append(Visit(window, (), self._in_window(state.box, window)))
        done: list[tuple[Index3, bool]] = []
        for click in in_effect(state):
            sample = self.lattice.nearest(click.world)
            if not visits or not self._is_inner(visits[-1].window, sample):
                known = (visit.window for visit in visits if self._is_inner(visit.window, sample))
                window = next(known, None) or self.lattice.window_at(click.world, shape)
                visits.append(Visit(window, (), None, self._clicks_in(window, done)))
            done.append((sample, click.positive))
            visits[-1] = replace(visits[-1], clicks=(*visits[-1].clicks, _in_patch(visits[-1].window, *done[-1])))
        return visits

    def _clicks_in(self, window: Box, done: Sequence[tuple[Index3, bool]]) -> tuple[PatchClick, ...]:
        """Clicks so far that lie in a window that another visit begins with, where the model wants to know."""
        if not self._predictor.capabilities.all_clicks:
            return ()
        inside = (d for d in done if all(b <= s < e for s, b, e in zip(d[0], window.begin, window.end, strict=True)))
        return tuple(_in_patch(window, sample, positive) for sample, positive in inside)

    def _in_window(self, box: BoxPrompt, window: Box) -> PatchBox:
        samples = np.rint(self.lattice.grid.to_index(box.corners)) - window.begin
        inside = np.clip(samples, 0, np.array(window.shape) - 1)
        (a, b, c), (d, e, f) = inside.min(axis=0).tolist(), inside.max(axis=0).tolist()
        return PatchBox((a, b, c), (d, e, f))

    def _is_inner(self, window: Box, sample: Index3) -> bool:
        faces = self.lattice.borders_inside(window)
        return all(
            b + (MARGIN if lower else 0) <= s < e - (MARGIN if upper else 0)
            for s, b, e, (lower, upper) in zip(sample, window.begin, window.end, faces, strict=True)
        )

    def _patch(self, window: Box) -> Patch:
        patch = self._patches.get(window)
        if patch is None:
            patch = cut_patch(self._volume, self.lattice, window, self._predictor.preset)
            self._patches.put(window, patch)
        return patch

    def _painted(
        self, chain: Chain, layers: Sequence[Layer], base: BoxedMask | None, before: BoxedMask | None
    ) -> BoxedMask | None:
        mask = self._masks.get(chain)
        if mask is None:
            mask = paint(self.lattice, layers, base, before)
            if mask is not None:
                self._masks.put(chain, mask)
        return mask


def _in_patch(window: Box, sample: Index3, positive: bool) -> PatchClick:
    x, y, z = (float(s - b) for s, b in zip(sample, window.begin, strict=True))
    return PatchClick((x, y, z), positive)
