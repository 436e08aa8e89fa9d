"""Scores of a mask against a reference. Masks are arrays of one shape, non-zero inside."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.generic]


def dice(mask: Mask, truth: Mask) -> float:
    """Return 2 |A and B| / (|A| + |B|); 1 if both are empty."""
    a, b = mask != 0, truth != 0
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


def iou(mask: Mask, truth: Mask) -> float:
    """Return |A and B| / |A or B|; 1 if both are empty."""
    a, b = mask != 0, truth != 0
    union = int((a | b).sum())
    return 1.0 if union == 0 else int((a & b).sum()) / union


def volume_error(mask: Mask, truth: Mask) -> float:
    """Return (|A| - |B|) / |B|: -1 if nothing was found, 0.1 if a tenth too much."""
    size = int((truth != 0).sum())
    return (int((mask != 0).sum()) - size) / size


def nsd(mask: Mask, truth: Mask, spacing: Sequence[float], tolerance: float) -> float:
    """Return the normalised surface distance: the share of both surfaces that lies within a tolerance of the other.

    Args:
        mask: the mask that was found.
        truth: the reference mask.
        spacing: size of the voxels, mm.
        tolerance: mm.

    Source: Nikolov et al. 2018, with their own implementation (surface elements weighted by area).
    """
    import surface_distance  # noqa: PLC0415 - the extra [evaluate]

    a, b = mask != 0, truth != 0
    if not a.any() or not b.any():
        return float(not a.any() and not b.any())
    with warnings.catch_warnings():  # it uses old names of SciPy's
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(b, a, tuple(spacing))
    return float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance))


def area_under(curve: Sequence[float]) -> float:
    """Return the area under a score over clicks by trapezoids, one click wide: 4 at most for five clicks."""
    return float(sum((a + b) / 2 for a, b in pairwise(curve)))
