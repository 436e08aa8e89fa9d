"""The inside of a lasso as an area of its plane: how deep each place lies in it, and the places round it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from sammed3d.core.drawings import plane_of
from sammed3d.core.geometry import Float64, Grid
from sammed3d.core.rasterisation import TIE, Indices


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
        pad = np.ceil(reach / self._spacing).astype(int) + 1
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
        image = sitk.GetImageFromArray(raster)
        image.SetSpacing(self._spacing[::-1].tolist())
        distances = sitk.SignedMaurerDistanceMap(
            image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
        return sitk.GetArrayFromImage(distances).astype(np.float64)
