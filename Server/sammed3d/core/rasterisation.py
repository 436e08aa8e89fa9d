"""Drawings on a grid: the voxels that a stroke passes through, and those that a loop encloses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sammed3d.core.drawings import Drawing, Lasso, plane_of
from sammed3d.core.geometry import Float64, Grid
from sammed3d.errors import PromptError

Indices = npt.NDArray[np.int64]
STEP = 0.5
"""Voxels between the places at which a line is looked at."""
MOST_STEPS = 4_000_000
TIE = 1e-6
"""Voxels: what lies halfway between two slices but for rounding goes to the lower one everywhere."""


def voxels_of(drawing: Drawing, grid: Grid) -> Indices:
    """Return the voxels (N, 3) of a grid that a drawing marks, each once; what lies outside the grid is left out.

    A scribble marks what its line passes through, in its order. A lasso marks one layer of voxels: along the axis that
    its plane is steepest to, the voxel nearest to the plane in each line of voxels that meets the loop's inside. A loop
    too small to hold the centre of a voxel marks those it passes through.

    Raises:
        PromptError: the line is longer than any that a hand draws.
    """
    index = grid.to_index(drawing.array)
    if drawing.painted:
        return _unique(index, grid)
    if isinstance(drawing, Lasso):
        inside = _enclosed(index, grid)
        if len(inside):
            return inside
        index = np.vstack([index, index[:1]])
    return _along(index, grid)


def _along(index: Float64, grid: Grid) -> Indices:
    """Return the voxels on the straight lines between points, in order."""
    starts, steps = (index[:-1], np.diff(index, axis=0)) if len(index) > 1 else (index, np.zeros_like(index))
    low, high = -0.5, np.array(grid.shape) - 0.5
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        first, second = (low - starts) / steps, (high - starts) / steps
    still = steps == 0
    outside = still & ((starts < low) | (starts > high))
    begin = np.where(still, 0.0, np.minimum(first, second)).max(axis=1).clip(min=0)
    end = np.where(still, 1.0, np.maximum(first, second)).min(axis=1).clip(max=1)
    kept = (begin <= end) & ~outside.any(axis=1)
    starts, steps, begin, end = starts[kept], steps[kept], begin[kept], end[kept]
    counts = np.ceil(np.abs(steps).max(axis=1, initial=0) * (end - begin) / STEP).astype(np.int64) + 1
    if counts.sum() > MOST_STEPS:
        raise PromptError("This scribble is too long. Draw it in parts.")
    line = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = begin[line] + (end - begin)[line] * within / np.maximum(counts[line] - 1, 1)
    return _unique(starts[line] + share[:, None] * steps[line], grid)


def _enclosed(index: Float64, grid: Grid) -> Indices:
    """Return one layer of voxels whose centres a flat loop encloses, seen along the axis that it is steepest to."""
    centre, normal, _ = plane_of(index)
    axis = int(np.argmax(np.abs(normal)))
    across = [n for n in range(3) if n != axis]
    pixels = _filled(index[:, across], (grid.shape[across[0]], grid.shape[across[1]]))
    height = centre[axis] - (pixels - centre[across]) @ normal[across] / normal[axis]
    result = np.empty((len(pixels), 3), np.int64)
    result[:, across] = pixels
    result[:, axis] = np.floor(height + 0.5 - TIE)
    return result[(result[:, axis] >= 0) & (result[:, axis] < grid.shape[axis])]


def _filled(polygon: Float64, shape: tuple[int, int]) -> Indices:
    """Return the pixels (N, 2) whose centres lie inside a polygon: where it winds round them, however often."""
    a, b = polygon, np.roll(polygon, -1, axis=0)
    low, high = np.minimum(a[:, 1], b[:, 1]), np.maximum(a[:, 1], b[:, 1])
    first = np.ceil(low).clip(0, shape[1]).astype(np.int64)
    counts = np.maximum(np.ceil(high).clip(0, shape[1]).astype(np.int64) - first, 0)  # rows with low <= row < high
    edge = np.repeat(np.arange(len(a)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    rise = b[edge, 1] - a[edge, 1]
    crossing = a[edge, 0] + (row - a[edge, 1]) / rise * (b[edge, 0] - a[edge, 0])
    turns = np.zeros((shape[0] + 1, shape[1]), np.int64)
    np.add.at(turns, (np.ceil(crossing).clip(0, shape[0]).astype(np.int64), row), np.sign(rise).astype(np.int64))
    return np.argwhere(np.cumsum(turns[:-1], axis=0) != 0)


def _unique(index: Float64, grid: Grid) -> Indices:
    """Return the voxels of a grid in which continuous indices lie, each once, in the order in which they come first."""
    last = np.array(grid.shape) - 1
    inside = np.all((index >= -0.5 - TIE) & (index <= last + 0.5 + TIE), axis=1)
    whole = np.floor(index[inside] + 0.5).astype(np.int64).clip(0, last)
    _, first = np.unique(np.ravel_multi_index(tuple(whole.T), grid.shape), return_index=True)
    return whole[np.sort(first)]
