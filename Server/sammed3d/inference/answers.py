"""Of a network's answer: how it fades where it is laid over others, what is known of it, and how it is named."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sammed3d.core.geometry import Box
from sammed3d.core.interpolation import Float32, Marked


@dataclass(frozen=True, eq=False)
class Bounds:
    """What is known of logits of which only some came: the others lie between two numbers.

    Attributes:
        exact: marks the logits that are known, same shape.
        inside: the lowest and the highest of the others that are above 0.
        outside: the lowest and the highest of the others that are not.
    """

    exact: Marked
    inside: tuple[float, float]
    outside: tuple[float, float]

    def with_exact(self, marked: Marked) -> Bounds:
        """Return the bounds where some more logits are known."""
        return replace(self, exact=self.exact | marked)

    def lowest(self, low_res: Float32) -> Float32:
        """Return the lowest logits that may be meant; of `low_res` what is not exact has the right sign."""
        return self._filled(low_res, 0)

    def highest(self, low_res: Float32) -> Float32:
        """Return the highest logits that may be meant."""
        return self._filled(low_res, 1)

    def _filled(self, low_res: Float32, end: int) -> Float32:
        others = np.where(low_res > 0, np.float32(self.inside[end]), np.float32(self.outside[end]))
        return np.where(self.exact, low_res, others)


@dataclass(frozen=True)
class Fading:
    """How an answer that is laid over others fades towards faces of its patch.

    Attributes:
        faces: for each axis (R, A, S), whether it fades towards the lower and the upper face.
        margin: over how many voxels of the patch it does.
    """

    faces: tuple[tuple[bool, bool], ...]
    margin: int

    @classmethod
    def nowhere(cls) -> Fading:
        """Of an answer that is laid over nothing, but will have others laid over it."""
        return cls(((False, False),) * 3, 1)


@dataclass(frozen=True)
class KeptAnswer:
    """Names an answer that who gave it keeps for a while.

    Attributes:
        patch: digest of the patch.
        logits: digest of all of its logits.
    """

    patch: str
    logits: str


@dataclass(frozen=True)
class KeptLayer:
    """A layer whose logits a predictor keeps, placed in another patch.

    Attributes:
        logits: their digest.
        window: the box of the layer, in voxels of that patch; it may reach beyond on all sides.
        fading: how the layer fades towards its faces; None for one that is opaque throughout.
    """

    logits: str
    window: Box
    fading: Fading | None
