"""The Predictor protocol: what a session asks of a network, wherever the network runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Point3
from sammed3d.core.interpolation import Float32, Marked
from sammed3d.errors import PromptError
from sammed3d.inference.answers import Bounds, Fading, KeptAnswer, KeptLayer
from sammed3d.inference.patch import Patch
from sammed3d.inference.preset import Preset


@dataclass(frozen=True)
class PatchClick:
    """A click in a patch.

    Attributes:
        voxel: index (R, A, S) of the patch; whole numbers, as in training.
        positive: True where the object is.
    """

    voxel: Point3
    positive: bool


@dataclass(frozen=True)
class PatchBox:
    """A box round the object in a patch, as a prompt.

    Attributes:
        begin: its first corner, in voxels (R, A, S) of the patch; whole numbers.
        end: its last corner.
    """

    begin: Point3
    end: Point3


Prompt = PatchBox | PatchClick


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a predictor answers.

    Attributes:
        low_res: logits, shape preset.low_res_shape, float32, axes R, A, S; above 0 inside the object.
        score: the model's own estimate of its quality, or None where it was not trained to give one.
        seconds: time by stage ("encode", "decode", ...); 0 or missing where a cache answered.
        whole: whether these are all logits, or their outline (`OutlinePredictor`).
        bounds: what is known of those that an outline leaves out, where how it fades was said.
        kept: names the answer, where who gave it keeps it.
        candidates: all masks that were weighed, this one first, where those were asked for.
    """

    low_res: Float32
    score: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    whole: bool = True
    bounds: Bounds | None = None
    kept: KeptAnswer | None = None
    candidates: tuple[Prediction, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its arrays take."""
        return self.low_res.nbytes + (0 if self.bounds is None else self.bounds.exact.nbytes)


def digest_of(logits: Float32) -> str:
    """Return the SHA-256 (hex) of logits: their name in caches and on the wire."""
    return hashlib.sha256(np.ascontiguousarray(logits, np.float32).data).hexdigest()


@dataclass(frozen=True, eq=False)
class PatchPrompts:
    """All that a predictor is told about an object in a patch; it goes unchanged from a session to a network.

    Attributes:
        clicks: clicks in the order in which they were made; any sequence is taken, a tuple is kept.
        box: round the object, applied before the clicks; or None.
        mask_prompt: logits fed to the first pass, shape preset.low_res_shape, float32; None for a new object.
        earlier: clicks on the object that were answered in other patches and lie in this one too. Models that take all
            clicks (`Capabilities.all_clicks`) see them at every pass, without a pass of their own; others never.
        from_wide: whether the object is a new one, and the mask prompt what its first click was answered in a wide
            patch round it. Models that ask for that (`Capabilities.looks_wide`) do not start from it: they blend it
            with their answer to the first click. No other takes it.
        from_mask: whether the object started from a mask that somebody made, which is right but for what is clicked;
            the mask prompt shows it. For models that ask for that (`Capabilities.refines_masks`); others never see it.
        raw: whether the network's own answer to the one click there is is wanted, by a single pass, and nothing of what
            is done for users who go on clicking. A search asks so (`automatic.py`), which judges that answer.

    What a further kind of prompt needs becomes a field here, and a key of `wire.prompts.prompts_to_json`.

    Example:
        >>> PatchPrompts([PatchClick((64.0, 64.0, 64.0), True)])
    """

    clicks: Sequence[PatchClick] = ()
    box: PatchBox | None = None
    mask_prompt: Float32 | None = None
    earlier: Sequence[PatchClick] = ()
    from_wide: bool = False
    from_mask: bool = False
    raw: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "clicks", tuple(self.clicks))
        object.__setattr__(self, "earlier", tuple(self.earlier))

    @property
    def in_order(self) -> tuple[Prompt, ...]:
        """The prompts in the order of their passes: the box, then the clicks."""
        return tuple(self.clicks) if self.box is None else (self.box, *self.clicks)

    @cached_property
    def mask_digest(self) -> str:
        """SHA-256 (hex) of the mask prompt; "" where there is none."""
        if self.mask_prompt is None:
            return ""
        return digest_of(self.mask_prompt)

    def with_mask(self, mask_prompt: Float32, digest: str) -> PatchPrompts:
        """Return the same prompts with a mask prompt whose digest is known."""
        prompts = replace(self, mask_prompt=mask_prompt)
        prompts.__dict__["mask_digest"] = digest  # the value of the cached property
        return prompts

    def check(self, preset: Preset) -> None:
        """Refuse what a model cannot answer.

        Raises:
            PromptError: there is no prompt, or a box and the model knows none, or the mask prompt has another shape, or
                the network's own answer is wanted to something else than one click, or a new object from a mask.
        """
        if self.box is not None and not preset.boxes:
            raise PromptError(
                "This model does not know boxes. Use clicks, or choose a model that was trained with boxes."
            )
        if not self.in_order:
            raise PromptError("A prediction needs at least one click, or a box.")
        more = self.box is not None or self.earlier or self.from_wide or self.from_mask
        if self.raw and (len(self.clicks) != 1 or more):
            raise PromptError("A network's own answer is that to one click. Ask without more, or not for that.")
        if self.from_mask and self.from_wide:
            raise PromptError(
                "An object is a new one, or it started from a mask. Ask with from_wide or from_mask alone."
            )
        if self.mask_prompt is not None and self.mask_prompt.shape != preset.low_res_shape:
            raise PromptError(f"The mask prompt's shape {self.mask_prompt.shape} is not {preset.low_res_shape}.")


@dataclass(frozen=True)
class Capabilities:
    """What a model can do beyond clicks.

    Attributes:
        boxes: whether it knows boxes as prompts.
        all_clicks: whether a decoder pass takes all prompts so far, or the newest alone.
        scores: whether the scores that it gives with its logits were trained.
        looks_wide: whether the first click on a new object is answered better where its surroundings are looked at too;
            see `PatchPrompts.from_wide`.
        refines_masks: whether an object that started from a mask is answered otherwise; see `PatchPrompts.from_mask`.
    """

    boxes: bool = False
    all_clicks: bool = False
    scores: bool = False
    looks_wide: bool = False
    refines_masks: bool = False


@runtime_checkable
class OutlinePredictor(Protocol):
    """A predictor that is asked over a wire, which a part of the logits crosses sooner than all of them.

    It may keep what it answered (`Prediction.kept`), for a while.
    """

    def send_next(self, patch: Patch) -> None:
        """Send a patch while the next question, about another one, is answered: the one after it will be about this.

        Returns at once. What goes wrong on the way is left to the question that needs the patch.
        """
        ...

    def predict_outline(
        self,
        patch: Patch,
        prompts: PatchPrompts,
        cancellation: Cancellation | None = None,
        fading: Fading | None = None,
    ) -> Prediction:
        """Answer as `Predictor.predict` does, with logits that agree near the object's border and in sign elsewhere.

        Painted on their own, over the whole patch, they make the same mask. They are no mask prompt. With `fading`
        they are laid over what the mask prompt shows: then they agree where the two are blended too, and `bounds` says
        what is known of the rest, by which `compositing.paint_within_bounds` tells whether that is enough.
        """
        ...

    def predict_over(
        self,
        patch: Patch,
        prompts: PatchPrompts,
        layers: Sequence[KeptLayer],
        cancellation: Cancellation | None = None,
        fading: Fading | None = None,
    ) -> Prediction | None:
        """Answer prompts whose mask prompt is what layers show, `compositing.prompt_of_layers`, that are kept.

        Returns:
            An outline, with `fading`, or all logits; None where a layer is not kept (any more): who asks then has to
            bring the mask prompt along.
        """
        ...

    def logits_of(self, answer: KeptAnswer, marked: Marked, cancellation: Cancellation | None = None) -> Float32 | None:
        """Return those logits of an answer that are marked, in order; None where it is not kept (any more)."""
        ...


class Predictor(Protocol):
    """Something that turns a patch and clicks into low-res logits.

    A prediction is a function of its arguments alone: predictors may cache, but keep no state that changes answers.
    They can be called from several threads.
    """

    @property
    def name(self) -> str:
        """The model's name, as shown to users and written into reports."""
        ...

    @property
    def preset(self) -> Preset:
        """The preprocessing that the model needs."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do beyond clicks."""
        ...

    def predict(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        """Apply a box, then clicks in order, one decoder pass each, with the previous low-res logits fed back.

        Args:
            patch: made with this predictor's preset.
            prompts: at least a click or a box; in voxels of the patch.
            cancellation: stops the prediction between layers.

        Raises:
            PredictionCancelled: `cancellation` was used.
            PromptError: a reason of `PatchPrompts.check`.
        """
        ...
