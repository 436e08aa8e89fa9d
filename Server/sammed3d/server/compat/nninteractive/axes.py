"""The axes of an image that comes without orientation and origin: which way they are taken to grow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sammed3d.errors import ModelError


def directions_of(axes: str) -> list[tuple[int, int]]:
    """Return for each axis the world axis (0 R, 1 A, 2 S) along which it grows, and the sign.

    Raises:
        ModelError: these are no three directions.
    """
    known = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    found = [known[letter] for letter in axes.upper() if letter in known]
    if len(axes) != 3 or sorted(axis for axis, _ in found) != [0, 1, 2]:
        raise ModelError(f"Axes {axes!r}: three letters are needed, one of R and L, one of A and P, one of S and I.")
    return found


def affine_of(directions: Sequence[tuple[int, int]], spacing: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return the index-to-world matrix (4, 4) of an image whose axes grow in these directions."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for n, ((axis, sign), step) in enumerate(zip(directions, spacing, strict=True)):
        affine[axis, n] = sign * step
    return affine


def is_spacing(spacing: Any) -> bool:
    """Tell whether something that came in is a spacing: three sensible numbers, in mm."""
    return (
        isinstance(spacing, list)
        and len(spacing) == 3
        and all(type(s) in (int, float) and math.isfinite(s) and 1e-4 < s < 1e4 for s in spacing)
    )
