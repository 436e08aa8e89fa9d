"""Presets: how a model wants its input, as data that travels with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

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
        if not _are_three(self.spacing, Real) or not all(0 < s < math.inf for s in self.spacing):
            raise ModelError(f"A preset's spacing is three numbers of mm above 0, not {self.spacing!r}.")
        for name in ("patch_shape", "low_res_shape"):
            shape = getattr(self, name)
            if not _are_three(shape, Integral) or min(shape) < 1:
                raise ModelError(f"A preset's {name} is three whole numbers above 0, not {shape!r}.")
        for name in ("clamp_after", "rescale", "boxes"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"A preset's {name} is true or false, not {getattr(self, name)!r}.")
        if self.rescale and self.clamp is None:
            raise ModelError("A preset with rescale=true needs a clamp range to map to [0, 1].")
        if self.clamp is not None and not _rises(self.clamp):
            raise ModelError(f"A preset's clamp range is two numbers that rise, not {self.clamp!r}.")
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


def _are_three(values: Any, kind: type[Any]) -> bool:
    """Tell whether they are three numbers of a kind."""
    return isinstance(values, tuple | list) and len(values) == 3 and all(_is(each, kind) for each in values)


def _rises(values: Any) -> bool:
    """Tell whether they are two finite numbers, the larger one last."""
    pair = isinstance(values, tuple | list) and len(values) == 2 and all(_is(each, Real) for each in values)
    return pair and -math.inf < values[0] < values[1] < math.inf


def _is(value: Any, kind: type[Any]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
