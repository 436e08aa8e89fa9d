"""What nnInteractive's clients draw, as prompts: painted voxels of the image that they sent, and boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from sammed3d.core.drawings import MOST_POINTS, Drawing, Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import BoxPrompt, Click

Range = Annotated[list[Annotated[float, Field(ge=0, le=1 << 14)]], Field(min_length=2, max_length=2)]
Ranges = Annotated[list[Range], Field(min_length=3, max_length=3)]


class BadRequestError(Exception):
    """What the client asked for cannot be done; says why."""


class Point(BaseModel):
    """A click: voxel of the sent image, in the order of its axes."""

    coordinates: Annotated[list[float], Field(min_length=3, max_length=3)]
    include_interaction: bool
    run_prediction: bool = True


class BoundingBox(BaseModel):
    """A box: first voxel and one past the last one, for each axis of the sent image."""

    bbox_coords: Annotated[
        list[Annotated[list[float], Field(min_length=2, max_length=2)]], Field(min_length=3, max_length=3)
    ]
    include_interaction: bool
    run_prediction: bool = True


class Painted(BaseModel):
    """What goes with a scribble or a lasso: the box of the image that its mask covers; all of it if there is none."""

    include_interaction: bool
    run_prediction: bool = True
    interaction_bbox: Ranges | None = None


def painted_of(meta: dict[str, Any]) -> Painted:
    """Return what goes with a drawing.

    Raises:
        BadRequestError: it is malformed.
    """
    try:
        return Painted.model_validate(meta)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
        raise BadRequestError(f"X-Meta of a drawing is malformed: {places}.") from error


def click_of(point: Point, grid: Grid) -> Click:
    """Return a click in the world.

    Raises:
        BadRequestError: it lies outside the image.
    """
    voxel = [math.floor(c + 0.5) if math.isfinite(c) else -1 for c in point.coordinates]
    if not all(0 <= v < n for v, n in zip(voxel, grid.shape, strict=True)):
        raise BadRequestError(f"The point lies outside the image, whose shape is {grid.shape}.")
    x, y, z = grid.to_world(voxel).tolist()
    return Click((x, y, z), point.include_interaction)


def box_of(box: BoundingBox, grid: Grid) -> tuple[BoxPrompt, bool]:
    """Return a box in the world, and whether it is but one slice thick.

    Raises:
        BadRequestError: it is empty, outside the image, or negative.
    """
    if not box.include_interaction:
        raise BadRequestError("Boxes are drawn round the object only. Use negative points for what is no part of it.")
    begin, end = zip(*box.bbox_coords, strict=True)
    if not all(0 <= b < e <= n + 1 for b, e, n in zip(begin, end, grid.shape, strict=True)):
        raise BadRequestError(f"The box is empty or lies outside the image, whose shape is {grid.shape}.")
    last = [min(e, n) - 1 for e, n in zip(end, grid.shape, strict=True)]
    (a, b, c), (d, e, f) = (grid.to_world(voxel).tolist() for voxel in (begin, last))
    flat = any(stop - start < 1 < n for start, stop, n in zip(begin, last, grid.shape, strict=True))
    return BoxPrompt((a, b, c), (d, e, f)), flat


def drawing_of(
    kind: type[Scribble] | type[Lasso], mask: npt.NDArray[np.generic], painted: Painted, grid: Grid
) -> Drawing:
    """Return what was painted, in the world.

    Args:
        kind: kind of the drawing; a lasso comes filled.
        mask: non-zero where it was painted, of the shape of `interaction_bbox` or of the image.
        painted: what goes with it.
        grid: the image's grid.

    Raises:
        BadRequestError: the mask has another shape, lies outside the image, is empty or too large.
    """
    begin, shape = _place_of(painted.interaction_bbox, grid)
    if mask.shape != shape:
        raise BadRequestError(f"The {kind.kind}'s mask has the shape {mask.shape}; {shape} was expected.")
    count = np.count_nonzero(mask)  # before their indices take 24 bytes each
    if count == 0:
        raise BadRequestError(f"The {kind.kind} is empty. Draw it on the image.")
    if count > MOST_POINTS:
        raise BadRequestError(f"The {kind.kind} has {count} voxels; {MOST_POINTS} are taken. Draw a smaller one.")
    points = grid.to_world(np.argwhere(mask) + np.array(begin)).tolist()
    return kind(tuple(map(tuple, points)), painted.include_interaction, painted=True)


def _place_of(ranges: Sequence[Sequence[float]] | None, grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if ranges is None:
        return (0, 0, 0), grid.shape
    whole: list[tuple[Any, ...]] = [tuple(int(v) for v in pair) for pair in ranges]
    if not all(0 <= b < e <= n for (b, e), n in zip(whole, grid.shape, strict=True)):
        raise BadRequestError(f"The drawing's box is empty or lies outside the image, whose shape is {grid.shape}.")
    return tuple(b for b, _ in whole), tuple(e - b for b, e in whole)
