"""The Predictor protocol: what a session asks of a network, wherever the network runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sammed3d.errors import PredictionCancelled
from sammed3d.geometry import Point3
from sammed3d.interpolation import Float32
from sammed3d.patch import Patch
from sammed3d.preset import Preset


@dataclass(frozen=True)
class PatchClick:
    """A click in a patch.

    Attributes:
        voxel: index (R, A, S) of the patch; whole numbers, as in training.
        positive: True where the object is.
    """

    voxel: Point3
    positive: bool


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
    ) -> Prediction:
        """Apply clicks in order, one decoder pass each, with the previous low-res logits fed back.

        Args:
            patch: made with this predictor's preset.
            clicks: at least one.
            initial: mask prompt of the first pass, shape preset.low_res_shape; None for a new object (zeros).
            cancellation: stops the prediction between layers.

        Raises:
            PredictionCancelled: `cancellation` was used.
        """
        ...
