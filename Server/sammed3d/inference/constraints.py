"""What a user drew holds, whatever the model says: on the volume's own grid, after all of the model's answers.

- The mask does not leave the box. What the user asked for outside of it, by a positive click or drawing, widens it.
- Then each drawing, in order: what a positive one marks is inside the mask, what a negative one marks is not. Where two
  mark the same voxel, the newer one holds.

Clicks bind nothing: they are the model's business, as they were in training.
"""

from __future__ import annotations

import numpy as np

from sammed3d.core.geometry import Box, Float64, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt
from sammed3d.core.rasterisation import Indices, voxels_of
from sammed3d.inference.inferer import PromptState


def honoured(mask: BoxedMask | None, state: PromptState, grid: Grid) -> BoxedMask | None:
    """Return a mask, made to agree with the box and the drawings of some prompts.

    Args:
        mask: the model's answer; None for an empty one.
        state: the prompts.
        grid: the volume's grid.
    """
    if state.box is not None and mask is not None:
        mask = BoxedMask(mask.box, mask.voxels * _within(limits(state.box, state, grid), mask.box, grid)).cropped()
    for drawing in state.drawings:
        mask = _marked(mask, voxels_of(drawing, grid), drawing.positive)
    return mask


def agreement(mask: BoxedMask | None, voxels: Indices, positive: bool) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell for each of some voxels (N, 3) whether a mask has it inside (or outside, where not `positive`): (N,)."""
    found = np.zeros(len(voxels), bool)
    if mask is not None:
        here = voxels - np.array(mask.box.begin)
        within = np.all((here >= 0) & (here < mask.voxels.shape), axis=1)
        found[within] = mask.voxels[tuple(here[within].T)] != 0
    return found if positive else ~found


def limits(box: BoxPrompt, state: PromptState, grid: Grid) -> tuple[Float64, Float64]:
    """Return the lowest and highest R, A, S (mm) of voxel centres that a box leaves free.

    A box thinner than a voxel holds the voxels that its middle lies in.
    """
    asked = [click.world for click in state.clicks if click.positive]
    asked += [point for drawing in state.drawings if drawing.positive for point in drawing.points]
    half = np.abs(grid.index_to_world[:3, :3]).sum(axis=1) / 2
    low, high = box.corners.min(axis=0), box.corners.max(axis=0)
    thin = high - low < 2 * half
    low, high = np.where(thin, (low + high) / 2 - half, low), np.where(thin, (low + high) / 2 + half, high)
    points = np.array([low, high, *asked])
    return points.min(axis=0), points.max(axis=0)


def _within(limit: tuple[Float64, Float64], box: Box, grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a mask (I, J, K) of a box of voxels: those whose centres lie between limits; slab by slab."""
    low, high = limit
    tolerance = 1e-6 * (1 + np.abs(grid.corners()).max())  # not of the limits, which may lie anywhere
    result = np.empty(box.shape, np.uint8, order="F")
    i, j = (np.arange(b, e) for b, e in zip(box.begin[:2], box.end[:2], strict=True))
    for n, k in enumerate(range(box.begin[2], box.end[2])):
        inside = np.ones(box.shape[:2], bool)
        for axis, (a, b, c, origin) in enumerate(grid.index_to_world[:3].tolist()):
            world = (a * i)[:, None] + (b * j)[None] + (c * k + origin)
            inside &= (world >= low[axis] - tolerance) & (world <= high[axis] + tolerance)
        result[:, :, n] = inside
    return result


def _marked(mask: BoxedMask | None, voxels: Indices, inside: bool) -> BoxedMask | None:
    """Return a mask with some voxels inside, or outside."""
    if not len(voxels) or (mask is None and not inside):
        return mask
    around = Box(tuple(voxels.min(axis=0).tolist()), tuple((voxels.max(axis=0) + 1).tolist()))
    box = around if mask is None else mask.box.union(around)
    changed = np.zeros(box.shape, np.uint8, order="F") if mask is None else mask.cut(box)
    changed[tuple((voxels - np.array(box.begin)).T)] = inside
    return BoxedMask(box, changed).cropped()
