"""The Predictor protocol: what a session asks of a network, wherever the network runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sammed3d.core.geometry import Point3
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled, PromptError
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
    """

    low_res: Float32
    score: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


class Cancellation:
    """A switch that stops a prediction from another thread, and a sign that says what the prediction is doing.

    Attributes:
        stage: "" before it starts, then "cut", "encode", "decode" or "paint".

    Example:
        >>> cancellation = Cancellation()
        >>> cancellation.cancel()   # from the GUI's thread; the prediction raises PredictionCancelled
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.stage = ""

    def cancel(self) -> None:
        """Ask the prediction to stop at the next opportunity."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait, but not after `cancel` was called."""
        self._event.wait(seconds)

    def enter(self, stage: str) -> None:
        """Say what comes next; raises PredictionCancelled if `cancel` was called."""
        self.check()
        self.stage = stage

    def check(self) -> None:
        """Raise PredictionCancelled if `cancel` was called."""
        if self._event.is_set():
            raise PredictionCancelled("The prediction was cancelled; nothing was changed.")


def check_prompts(preset: Preset, clicks: Sequence[PatchClick], box: PatchBox | None) -> tuple[Prompt, ...]:
    """Return the prompts of a prediction in the order of their passes.

    Raises:
        PromptError: there is none, or a box and the model knows none.
    """
    if box is not None and not preset.boxes:
        raise PromptError("This model does not know boxes. Use clicks, or choose a model that was trained with boxes.")
    prompts: tuple[Prompt, ...] = tuple(clicks) if box is None else (box, *clicks)
    if not prompts:
        raise PromptError("A prediction needs at least one click, or a box.")
    return prompts


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

    def predict(
        self,
        patch: Patch,
        clicks: Sequence[PatchClick],
        initial: Float32 | None = None,
        cancellation: Cancellation | None = None,
        box: PatchBox | None = None,
    ) -> Prediction:
        """Apply a box, then clicks in order, one decoder pass each, with the previous low-res logits fed back.

        Args:
            patch: made with this predictor's preset.
            clicks: at least one, unless there is a box.
            initial: mask prompt of the first pass, shape preset.low_res_shape; None for a new object.
            cancellation: stops the prediction between layers.
            box: round the object; for presets with `boxes`.

        Raises:
            PredictionCancelled: `cancellation` was used.
            PromptError: there is no prompt, or a box and the model knows none.
        """
        ...
