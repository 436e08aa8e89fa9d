"""A picture as the only slice of a volume, as 2-D models see it.

Source: SAM-Med2D `DataLoader.py`, `utils.py` (`train_transforms`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sammed3d.core.geometry import Float64, Grid
from sammed3d.files.picture import PLANE, PictureVolume
from sammed3d.files.volume import Volume
from sammed3d.inference.images import ImageFrame
from sammed3d.inference.patch import Patch
from sammed3d.inference.preset import Preset
from sammed3d.inference.slices import Slices


class PictureSlices(Slices):
    """The slice that a picture is: its pixels are 0..255 already, may be coloured, and are shown as they are stored.

    Args:
        volume: the picture; where its grid lies in the world does not matter to what the model sees.
        preset: the model's.
    """

    def __init__(self, volume: PictureVolume, preset: Preset) -> None:
        self._grid = volume.grid
        super().__init__(Grid(volume.grid.shape, PLANE), preset)
        picture = volume.picture
        frame = ImageFrame.of(picture.pixels.shape[:2], preset)
        shown = frame.image(picture.pixels).transpose(2, 1, 0)  # column, row, channel
        self._voxels = np.ascontiguousarray(shown if picture.is_coloured else shown[..., :1])
        self._voxels.flags.writeable = False

    def place(self, world: Sequence[float]) -> tuple[int, tuple[float, float]]:
        """Return 0, and a world point's column and row in the model's image."""
        return super().place(self.source.to_world(self._grid.to_index(world)).tolist())

    def cut(self, _volume: Volume, number: int) -> Patch:
        """Return the picture as the model sees it: (S, S, 1), or (S, S, 3) where it is coloured."""
        grid = Grid((*self._voxels.shape[:2], 1), self._patch_to_world(number))
        return Patch(self._voxels, self.box(number), grid)

    def _patch_to_world(self, number: int) -> Float64:
        to_plane = super()._patch_to_world(number)
        result: Float64 = self._grid.index_to_world @ self.source.world_to_index @ to_plane
        return result
