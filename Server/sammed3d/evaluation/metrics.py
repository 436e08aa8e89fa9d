"""Scores of a mask against a reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dice(mask: npt.NDArray[np.generic], truth: npt.NDArray[np.generic]) -> float:
    """Return 2 |A and B| / (|A| + |B|) of two masks, non-zero inside; 1 if both are empty."""
    a, b = mask != 0, truth != 0
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total
