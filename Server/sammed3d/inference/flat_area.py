"""The inside of a lasso as an area of its plane: how deep each place lies in it, and the places round it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from sammed3d.core.drawings import plane_of
from sammed3d.core.geometry import Float64, Grid
from sammed3d.core.interpolation import Marked
from sammed3d.core.rasterisation import TIE, Indices

SKEWED = 0.02
"""Cosine of the angle between lines of voxels in the plane, from which on it is no right angle; they lie askew on a
plane that leans two ways, and in images whose axes do."""
AT_ONCE = 2**20
"""Distances that are compared with one another at a time."""


class FlatArea:
    """Voxels that lie on a plane, one in each line of voxels along the axis that the plane is steepest to.

    Args:
        voxels: (N, 3) of the grid, at least one.
        grid: the volume's grid.
        reach: mm round the area that `ring` may ask for.

    Attributes:
        voxels: the voxels that were given.
        depths: (N,) mm from the middle of each voxel to the edge of the area, in its plane.
    """

    def __init__(self, voxels: Indices, grid: Grid, reach: float) -> None:
        self.voxels = voxels
        self._grid = grid
        self._middle, normal, _ = plane_of(voxels.astype(np.float64))
        self._axis = int(np.argmax(np.abs(normal)))
        self._across = [n for n in range(3) if n != self._axis]
        self._slopes = -normal[self._across] / normal[self._axis]
        steps = grid.index_to_world[:3, :3]
        along = steps[:, self._across] + steps[:, [self._axis]] * self._slopes
        # mm from one line of voxels to the next, along the plane; the same whatever the rounding of the matrix.
        self._spacing = np.linalg.norm(along, axis=0).astype(np.float32).astype(np.float64)
        self._cosine = float(np.float32(along[:, 0] @ along[:, 1] / np.prod(self._spacing)))
        pad = np.ceil(reach / (self._spacing * np.sqrt(1 - self._cosine**2))).astype(int) + 1
        pixels = voxels[:, self._across]
        self._first = pixels.min(axis=0) - pad
        self._distances = self._measured(pixels, pixels.max(axis=0) + pad + 1 - self._first)
        self.depths: Float64 = self._distances[tuple((pixels - self._first).T)] + self._spacing.min() / 2

    def ring(self, nearest: float) -> Indices:
        """Return the voxels (M, 3) of the plane round the area, about `nearest` mm from its edge."""
        away = -self._distances - self._spacing.min() / 2
        pixels = np.argwhere((away >= nearest) & (away < nearest + 1.5 * self._spacing.max())) + self._first
        heights = self._middle[self._axis] + (pixels - self._middle[self._across]) @ self._slopes
        result = np.empty((len(pixels), 3), np.int64)
        result[:, self._across] = pixels
        result[:, self._axis] = np.floor(heights + 0.5 - TIE)
        return result[np.all((result >= 0) & (result < self._grid.shape), axis=1)]

    def _measured(self, pixels: Indices, shape: Indices) -> Float64:
        """Return the distances (mm) of all pixels to the edge of the area, above 0 inside."""
        raster = np.zeros(shape, np.uint8)
        raster[tuple((pixels - self._first).T)] = 1
        if abs(self._cosine) > SKEWED:
            return self._measured_askew(raster != 0)
        image = sitk.GetImageFromArray(raster)
        image.SetSpacing(self._spacing[::-1].tolist())
        distances = sitk.SignedMaurerDistanceMap(
            image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
        return sitk.GetArrayFromImage(distances).astype(np.float64)

    def _measured_askew(self, inside: Marked) -> Float64:
        """Return the same where lines of voxels do not cross at right angles; one pixel after the other."""
        there = np.pad(inside, 1)
        i, j = inside.shape
        beside = [there[a : a + i, b : b + j] for a in range(3) for b in range(3)]
        edge = np.argwhere(inside & ~np.logical_and.reduce(beside)) * self._spacing
        places = np.argwhere(np.ones_like(inside)) * self._spacing
        nearest = np.empty(len(places))
        step = max(1, AT_ONCE // len(edge))
        for begin in range(0, len(places), step):
            x, y = np.moveaxis(places[begin : begin + step, None] - edge[None], -1, 0)
            nearest[begin : begin + step] = (x * x + 2 * self._cosine * x * y + y * y).min(axis=1)
        distances: Float64 = np.sqrt(nearest.clip(min=0)).reshape(inside.shape)
        return np.where(inside, distances, -distances)
