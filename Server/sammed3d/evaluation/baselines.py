"""What a user has without a network: classical methods that take the same clicks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Box
from sammed3d.core.prompts import Click
from sammed3d.files.volume import Volume

Mask = npt.NDArray[np.uint8]
REACH_MM = 10.0
"""Negative clicks take this much out of a grown region."""
WALK_MM, WALK_SPACING = 96.0, 3.0
"""Half the window of the random walker, and its voxels."""
SEED_VOXELS = 2
"""Radius of what a click marks for the random walker, which follows a single voxel nowhere."""


class RegionGrowing:
    """Confidence-connected region growing from the positive clicks (SimpleITK), without what is near negative ones."""

    name = "region growing"

    def __init__(self, volume: Volume) -> None:
        self._grid = volume.grid
        self._image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T).astype(np.float32))
        self._seeds: list[tuple[int, ...]] = []
        self._out = np.zeros(volume.grid.shape, bool)

    def click(self, click: Click) -> Mask:
        """Take a click; returns the mask (I, J, K)."""
        index = tuple(int(v) for v in np.round(self._grid.to_index(click.world)))
        if click.positive:
            self._seeds.append(index)
        else:
            spacing = np.array(self._grid.spacing)
            reach = np.ceil(REACH_MM / spacing).astype(int)
            low = np.maximum(np.array(index) - reach, 0)
            high = np.minimum(np.array(index) + reach + 1, self._grid.shape)
            axes = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij")
            far = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, index, spacing, strict=True))
            self._out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= far <= REACH_MM**2
        grown = sitk.ConfidenceConnected(self._image, self._seeds, 2, 2.0, 1, 1)
        inside: npt.NDArray[np.bool_] = sitk.GetArrayFromImage(grown).T.astype(bool) & ~self._out
        return inside.astype(np.uint8)


class RandomWalker:
    """Random walker (scikit-image) in a window round the first click; the window's faces count as background."""

    name = "random walker"

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._clicks: list[Click] = []

    def click(self, click: Click) -> Mask:
        """Take a click; returns the mask (I, J, K)."""
        from skimage.segmentation import random_walker  # noqa: PLC0415 - the extra [evaluate]

        self._clicks.append(click)
        grid = self._volume.grid
        centre = np.round(grid.to_index(self._clicks[0].world)).astype(int)
        reach = np.ceil(WALK_MM / np.array(grid.spacing)).astype(int)
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, grid.shape)
        steps = np.maximum(1, np.round(WALK_SPACING / np.array(grid.spacing))).astype(int)
        box = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
        strided = tuple(slice(None, None, int(step)) for step in steps)
        image = self._volume.array[box.slices][strided].astype(np.float32)
        seeds = np.full(image.shape, 2, np.uint8)
        seeds[1:-1, 1:-1, 1:-1] = 0
        axes = np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij")
        for each in self._clicks:
            place = (grid.to_index(each.world) - low) / steps
            near = sum((a - p) ** 2 for a, p in zip(axes, place, strict=True)) <= SEED_VOXELS**2
            seeds[near] = 1 if each.positive else 2
        result = np.zeros(grid.shape, np.uint8)
        if (seeds == 1).any() and min(image.shape) > 2:
            with warnings.catch_warnings():  # of a solver that stops a little early
                warnings.simplefilter("ignore", UserWarning)
                walked = random_walker(image, seeds, mode="cg_j", tol=1e-3, spacing=steps * grid.spacing)
            whole = (walked == 1).repeat(steps[0], 0).repeat(steps[1], 1).repeat(steps[2], 2)
            shape = box.shape
            result[box.slices] = whole[: shape[0], : shape[1], : shape[2]]
        return result


BASELINES: dict[str, Callable[[Volume], Any]] = {each.name: each for each in (RegionGrowing, RandomWalker)}
