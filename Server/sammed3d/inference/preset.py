"""Presets: how a model wants its input, as data that travels with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeGuard, get_args

from sammed3d.core.geometry import Index3, Point3
from sammed3d.errors import ModelError

Normalisation = Literal["zscore_positive", "grey", "none"]
Fit = Literal["lattice", "resize", "pad"]


@dataclass(frozen=True)
class Preset:
    """The preprocessing that a model was trained with.

    Attributes:
        spacing: lattice spacing in mm along R, A, S; means nothing where whole slices are taken.
        patch_shape: voxels of the network input along R, A, S; of a slice: columns, rows, 1.
        low_res_shape: voxels of the logits that the network returns and takes back as mask prompt.
        clamp: smallest and largest intensity; None to leave intensities alone.
        clamp_after: whether intensities are clamped after resampling, as SAM-Med3D's loader does it, or before, as the
            CT fork does. What was padded round the volume stays 0 in either case.
        rescale: whether the clamped range is mapped to [0, 1] (needs `clamp`).
        normalisation: "zscore_positive" subtracts the mean and divides by the unbiased standard deviation of the
            voxels above 0 of the padded patch; "grey" maps the smallest and largest value of the patch to 0 and 255;
            "none" leaves the values.
        fit: "lattice" cuts patches from the volume resampled to `spacing`, for 3-D models. 2-D models take whole slices
            of the volume: "resize" to the patch's shape by nearest pixels, whatever their proportions; "pad" does that
            for large slices only and surrounds smaller ones with emptiness (`slices.OUTSIDE`).
        boxes: whether the model takes boxes as prompts, beside clicks.

    The defaults are those of SAM-Med3D (reference: its `infer_utils.py`; torchio 0.18-0.20 semantics).
    """

    spacing: Point3 = (1.5, 1.5, 1.5)
    patch_shape: Index3 = (128, 128, 128)
    low_res_shape: Index3 = (32, 32, 32)
    clamp: tuple[float, float] | None = None
    clamp_after: bool = False
    rescale: bool = False
    normalisation: Normalisation = "zscore_positive"
    fit: Fit = "lattice"
    boxes: bool = False

    def __post_init__(self) -> None:
        triples: tuple[tuple[object, type], ...] = (
            (self.spacing, Real),
            (self.patch_shape, Integral),
            (self.low_res_shape, Integral),
        )
        if not all(_are_numbers(values, 3, kind) and min(values) > 0 for values, kind in triples):
            raise ModelError("A preset needs spacing, patch shape and low-res shape of three positive numbers each.")
        if self.rescale and self.clamp is None:
            raise ModelError("A preset with rescale=true needs a clamp range to map to [0, 1].")
        if self.clamp is not None and not (_are_numbers(self.clamp, 2, Real) and self.clamp[0] < self.clamp[1]):
            raise ModelError(f"A preset's clamp range must be two numbers that rise, not {self.clamp}.")
        if self.normalisation not in get_args(Normalisation):
            raise ModelError(f"Unknown normalisation {self.normalisation!r}: use {', '.join(get_args(Normalisation))}.")
        if self.fit not in get_args(Fit):
            raise ModelError(f"Unknown fit {self.fit!r}: use {', '.join(get_args(Fit))}.")
        if self.by_slice and (self.patch_shape[2], self.low_res_shape[2]) != (1, 1):
            raise ModelError("A preset of whole slices needs patches and low-res logits of thickness 1.")

    @property
    def by_slice(self) -> bool:
        """Whether patches are slices of the volume."""
        return self.fit != "lattice"

    @property
    def patch_shapes(self) -> tuple[Index3, ...]:
        """The shapes that a patch may have: its own, and of a picture in colour three values for each pixel."""
        return (self.patch_shape, (*self.patch_shape[:2], 3)) if self.by_slice else (self.patch_shape,)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preset:
        """Read what `to_json` wrote.

        Raises:
            ModelError: unknown or malformed entries.
        """
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        try:
            return cls(**known)
        except TypeError as error:
            raise ModelError(f"The model's preset cannot be read: {error}.") from error


def _are_numbers(values: object, count: int, kind: type) -> TypeGuard[tuple[Any, ...]]:
    """Tell whether these are so many finite numbers of a kind."""
    if not isinstance(values, tuple) or len(values) != count:
        return False
    numbers = [
        each for each in values if isinstance(each, Real) and isinstance(each, kind) and not isinstance(each, bool)
    ]
    return len(numbers) == count and all(map(math.isfinite, numbers))
