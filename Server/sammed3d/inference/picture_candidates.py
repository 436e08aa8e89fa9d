"""The masks that a 2-D model weighs for a picture: what may be meant, each with its own estimate of how good it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.mask import BoxedMask, Mask
from sammed3d.errors import ModelError, PromptError
from sammed3d.inference.constraints import honoured
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchPrompts, Prediction, Predictor
from sammed3d.inference.prompt_translation import TranslatingInferer
from sammed3d.inference.slice_inferer import SliceInferer


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the masks that a model weighs.

    Attributes:
        mask: uint8 0/1 (H, W).
        score: the model's own estimate of its IoU.
    """

    mask: npt.NDArray[np.uint8]
    score: float


def slices_asked(inferer: TranslatingInferer) -> SliceInferer:
    """Return what asks a 2-D model on behalf of an inferer.

    Raises:
        ModelError: the model works in 3-D.
    """
    if not isinstance(inferer.inner, SliceInferer):
        raise ModelError(f"{inferer.predictor.name} weighs no masks. Only models of 2-D images do, on pictures.")
    return inferer.inner


def candidates_of(
    inferer: TranslatingInferer, state: PromptState, cancellation: Cancellation | None = None
) -> tuple[Candidate, ...]:
    """Return the masks that the model weighed after the last prompt on a picture, the best (the answer) first.

    Raises:
        ModelError: it weighs none, or runs on a server that does not tell.
        PromptError: there is no prompt yet.
    """
    inner = slices_asked(inferer)
    asked = inner.questions(state, cancellation)
    if 0 not in asked:
        raise PromptError("There is nothing to choose from before the first positive click or box.")
    found = []
    for each in weighed(inferer.predictor, *asked[0], cancellation):
        painted = inner.slices.paint(each.low_res)[..., None]
        mask = BoxedMask.of(painted)
        kept = honoured(mask, state, inferer.grid) if state.honour else mask
        whole = np.zeros(painted.shape, np.uint8) if kept is None else kept.full(painted.shape)
        found.append(Candidate(flat(whole), each.score or 0.0))
    return tuple(found)


def weighed(
    predictor: Predictor, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None
) -> tuple[Prediction, ...]:
    """Return what a model weighs for the prompts of a patch.

    Raises:
        ModelError: it weighs nothing, or what asks it does not know how.
    """
    weigh = getattr(predictor, "candidates", None)
    if weigh is None:
        raise ModelError(f"{predictor.name} shows no candidates. Choose SAM-Med2D or FT-SAM.")
    answers: tuple[Prediction, ...] = weigh(patch, prompts, cancellation)
    return answers


def flat(mask: Mask) -> npt.NDArray[np.uint8]:
    """(W, H, 1) -> (H, W)."""
    return np.ascontiguousarray(mask[..., 0].T)
