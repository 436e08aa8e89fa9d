"""A user of 2-D models: boxes and points as SAM-Med2D's training and test draw them from masks.

Source: SAM-Med2D `utils.py` (`get_boxes_from_mask`, `init_point_sampling`, `select_random_points`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

Mask = npt.NDArray[np.bool_]
Points = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Columns and rows (N, 2), and labels (N,): 1 inside, 0 outside, -1 no point."""
SHIFT = 0.5
"""Share of a box's shorter edge that it may be shifted by, up to a number of pixels."""


def box_of(mask: Mask, rng: np.random.RandomState | None = None, most: int = 5) -> npt.NDArray[np.float32]:
    """Return the box round the largest connected part of a mask: x0, y0, x1, y1, the last one past the last pixel.

    Args:
        mask: (H, W), not empty.
        rng: shifts the box as a whole, by less than half its shorter edge; None leaves it.
        most: largest shift, in pixels.
    """
    parts = sitk.ConnectedComponentImageFilter()
    parts.FullyConnectedOn()
    labels = sitk.GetArrayFromImage(parts.Execute(sitk.GetImageFromArray(mask.astype(np.uint8))))
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    rows, columns = np.nonzero(labels == counts.argmax())
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    if rng is not None:
        furthest = min(most, int(SHIFT * float(min(box[2] - box[0], box[3] - box[1]))))
        shift = [rng.randint(-furthest, furthest) if furthest > 0 else 0 for _ in range(2)]
        box += np.array(2 * shift, np.float32)
    return box


def first_points(mask: Mask, count: int, rng: np.random.RandomState) -> Points:
    """Draw the first points: one anywhere inside; of several, half inside and half outside, in any order.

    Args:
        mask: (H, W), with pixels inside, and for several points outside.
        count: how many.
        rng: random numbers.
    """
    inside, outside = np.argwhere(mask)[:, ::-1], np.argwhere(~mask)[:, ::-1]
    if count == 1:
        return inside[rng.randint(len(inside))][None].astype(np.float32), np.ones(1, np.int64)
    positive = count // 2
    chosen = [
        inside[rng.randint(len(inside), size=positive)],
        outside[rng.randint(len(outside), size=count - positive)],
    ]
    order = rng.permutation(count)
    labels = np.repeat([1, 0], [positive, count - positive])
    return np.concatenate(chosen)[order].astype(np.float32), labels[order].astype(np.int64)


def points_in_error(predicted: Mask, truth: Mask, count: int, rng: np.random.RandomState) -> Points:
    """Draw points anywhere in the error, some of them perhaps twice; without an error anywhere, as no points."""
    errors = np.argwhere(predicted != truth)
    if len(errors) == 0:
        return rng.randint(predicted.shape[0], size=(count, 2)).astype(np.float32), np.full(count, -1, np.int64)
    chosen = errors[rng.randint(len(errors), size=count)]
    labels = truth[chosen[:, 0], chosen[:, 1]]
    return chosen[:, ::-1].astype(np.float32), labels.astype(np.int64)
