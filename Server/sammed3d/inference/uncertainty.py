"""Where a model is not sure of an object: what it says, and how much that changes when it is asked a bit differently.

The newest patch is asked again, with its clicks moved by a voxel or two and its own answer as mask prompt, weakened or
as it is. Its image embedding is cached, so that costs `PASSES` passes of the decoder. The mean of the probabilities
says inside or outside; its entropy is the uncertainty, which is large where the answers are undecided and where they
contradict one another (Kendall and Gal, NeurIPS 2017: the predictive entropy of an ensemble).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box
from sammed3d.core.interpolation import Float32, interpolate, resize
from sammed3d.errors import PromptError
from sammed3d.inference.compositing import Layer, mask_prompt
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.patch_inferer import PatchInferer
from sammed3d.inference.patch_visits import Visit
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.prompt_translation import TranslatingInferer

PASSES = 4
"""How often the decoder is asked again."""
SHIFTS = ((2, 0, -1), (-1, 2, 0), (0, -1, 2), (-2, -1, -2))
"""By how many voxels of the patch clicks are moved in each pass: no two alike, along all axes."""
STRENGTHS = (1.0, 0.25, 1.0, 0.25)
"""By what the answer is multiplied to be the mask prompt of each pass."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What a model thinks of an object in a box of the volume.

    Attributes:
        box: box of voxels (I, J, K) that the arrays cover.
        probability: probability that a voxel is inside, shape of the box, float32, 0..1.
        disagreement: standard deviation of that between the answers, same shape, 0..0.5.
        entropy: the uncertainty in bits, same shape: 0 where the model is sure, 1 where it cannot tell. It is that of
            the model's own low-res voxels, so where one that is surely inside lies beside one that is surely outside,
            there is no doubt in between.
    """

    box: Box
    probability: Float32
    disagreement: Float32
    entropy: Float32


def uncertainty_of(
    translating: TranslatingInferer, state: PromptState, cancellation: Cancellation | None = None
) -> Uncertainty | None:
    """Return how sure a model is of an object in the patch that was asked last; None where nothing was asked yet.

    Args:
        translating: applies prompts to the volume with the model.
        state: the object's prompts.
        cancellation: stops it.

    Raises:
        PredictionCancelled: `cancellation` was used.
        PromptError: the model works slice by slice, or the last answer was given to a box alone.
    """
    cancellation, inferer = cancellation or Cancellation(), translating.inner
    if not isinstance(inferer, PatchInferer):
        raise PromptError("A model that works slice by slice does not say how sure it is. Choose a 3-D model.")
    walk = inferer.walked(translating.known_prompts(state, cancellation), cancellation)
    if not walk.layers:
        return None
    visit = walk.painted[-1][-1]
    if not isinstance(visit, Visit) or not visit.clicks:
        raise PromptError("Uncertainty needs a click. Click inside the object first.")
    inferer.complete(walk)
    layer, shape = walk.layers[-1], inferer.predictor.preset.low_res_shape
    answers = [layer.low_res]
    for shift, strength in zip(SHIFTS[:PASSES], STRENGTHS, strict=True):
        prompts = _varied(visit, shift, layer.low_res * np.float32(strength), inferer.predictor.preset.patch_shape)
        answers.append(inferer.predictor.predict(inferer.patch(visit.window), prompts, cancellation).low_res)
    fields = []
    for low_res in answers:
        layers = [*walk.layers[:-1], Layer(layer.window, low_res, layer.fading)]
        seen = mask_prompt(inferer.lattice, layer.window, shape, layers, walk.base)
        fields.append(1 / (1 + np.exp(-np.clip(seen, -30, 30))))
    target = inferer.lattice.covered(layer.window)
    if target is None:
        return None
    mean = np.mean(fields, axis=0)
    probability, disagreement, entropy = (
        _on_grid(inferer, layer.window, target, field.astype(np.float32))
        for field in (mean, np.std(fields, axis=0), _entropy(mean))
    )
    return Uncertainty(target, probability, disagreement, entropy)


def _entropy(probability: Float32) -> Float32:
    """Entropy in bits of a yes or no."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    result: Float32 = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return result


def _varied(visit: Visit, shift: tuple[int, int, int], mask: Float32, shape: tuple[int, int, int]) -> PatchPrompts:
    """The prompts of a visit, a little different: one pass of the decoder."""

    def moved(click: PatchClick) -> PatchClick:
        x, y, z = (float(min(max(v + d, 0), n - 1)) for v, d, n in zip(click.voxel, shift, shape, strict=True))
        return replace(click, voxel=(x, y, z))

    *before, last = visit.clicks
    return PatchPrompts((moved(last),), None, mask, tuple(moved(click) for click in (*visit.earlier, *before)))


def _on_grid(inferer: PatchInferer, window: Box, target: Box, field: Float32) -> Float32:
    """Resample a low-res field of a window to the voxels of a box."""
    full = resize(field, window.shape)
    return interpolate(inferer.lattice.to_file_order(full), inferer.lattice.painting(window, target))
