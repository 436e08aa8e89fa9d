"""Find the objects of a picture without a click: a grid of points, each of them a click of its own.

All masks that the model weighs for a point count. Those that it holds for good itself, and that change little when
their threshold moves, are kept; of several that say the same, the best one. Masks may lie inside one another: an organ,
and what is in it.

Source of the idea and of the order of its steps: segment-anything `automatic_mask_generator.py`, where boxes overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.inference.found_objects import iou, stability
from sammed3d.inference.predictor import Prediction

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PictureSearch:
    """What counts as an object of a picture.

    Attributes:
        points: of the grid, along the longer edge.
        score: least IoU with the object, as the model itself estimates it.
        stability: smallest share of the pixels above -`offset` that is above +`offset` too.
        offset: change of the threshold by which stability is measured, in logits.
        smallest: pixels.
        largest: share of the picture.
        overlap: intersection over union from which on two masks are the same object.

    Raises:
        PromptError: a value makes no sense.
    """

    points: int = 16
    score: float = 0.7
    stability: float = 0.8
    offset: float = 1.0
    smallest: int = 50
    largest: float = 0.5
    overlap: float = 0.5

    def __post_init__(self) -> None:
        # each asked so that NaN, which compares with nothing, is refused too
        if self.points < 1 or not 0 < self.offset < math.inf:
            raise PromptError("Points and offset must be numbers above 0.")
        if math.isnan(self.score) or math.isnan(self.smallest):
            raise PromptError("The least score and the smallest size have to be numbers.")
        if not (0 <= self.stability <= 1 and 0 < self.overlap < 1 and 0 < self.largest <= 1):
            raise PromptError("Stability, overlap and the largest size are shares between 0 and 1.")

    def grid(self, width: int, height: int) -> list[tuple[float, float]]:
        """Return the points as column and row, in the middle of cells that are as square as can be."""
        step = max(width, height) / self.points
        across, down = max(1, round(width / step)), max(1, round(height / step))
        return [
            ((column + 0.5) * width / across - 0.5, (row + 0.5) * height / down - 0.5)
            for row in range(down)
            for column in range(across)
        ]


@dataclass(frozen=True, eq=False)
class FoundObject:
    """An object of a picture.

    Attributes:
        mask: uint8 0/1 (H, W).
        score: the model's own estimate of its IoU.
        stability: share of the mask that stays when its threshold moves, 0..1.
        point: column and row that it was found by.
    """

    mask: npt.NDArray[np.uint8]
    score: float
    stability: float
    point: tuple[float, float]


class Weigh(Protocol):
    """Return the masks that a model weighs for a click on a column and row."""

    def __call__(self, column: float, row: float, cancellation: Cancellation | None) -> Sequence[Prediction]: ...


def search(
    settings: PictureSearch,
    shape: tuple[int, int],
    weigh: Weigh,
    paint: Callable[[Float32], Bools],
    cancellation: Cancellation | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep: bool = False,
) -> list[FoundObject]:
    """Return the objects of a picture, the best first.

    Args:
        settings: the settings that decide what counts as an object.
        shape: rows and columns.
        weigh: asks the model.
        paint: turns low-res logits into a mask (H, W).
        cancellation: stops it.
        progress: called with the points done and their number.
        keep: whether a search that was stopped returns what it found so far.

    Raises:
        PredictionCancelled: `cancellation` was used, and `keep` not.
    """
    points = settings.grid(shape[1], shape[0])
    found: list[FoundObject] = []
    try:
        for done, point in enumerate(points, start=1):
            found += _of_point(settings, point, weigh(*point, cancellation), paint)
            if progress is not None:
                progress(done, len(points))
    except PredictionCancelled:
        if not keep:
            raise
    kept: list[FoundObject] = []
    for each in sorted(found, key=lambda one: -one.score * one.stability):
        if all(iou(each.mask > 0, other.mask > 0) <= settings.overlap for other in kept):
            kept.append(each)
    return kept


def _of_point(
    settings: PictureSearch,
    point: tuple[float, float],
    weighed: Sequence[Prediction],
    paint: Callable[[Float32], Bools],
) -> Iterator[FoundObject]:
    """Yield the masks of a point that are good, stable, of a plausible size, and hold the point."""
    column, row = round(point[0]), round(point[1])
    for each in weighed:
        score, stable = each.score or 0.0, stability(each.low_res, settings.offset)
        if score < settings.score or stable < settings.stability:
            continue
        mask = paint(each.low_res)
        size = int(np.count_nonzero(mask))
        if mask[row, column] and settings.smallest <= size <= settings.largest * mask.size:
            yield FoundObject(mask.astype(np.uint8), score, stable, point)
