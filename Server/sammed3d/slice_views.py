"""Slices of a volume as radiologists look at them, as pixels, and the places that pixels stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from sammed3d.core.geometry import Point3, canonical_axes, sides_towards
from sammed3d.files.volume import Volume

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The axis (R, A, S) that each plane stands on."""
Pixels = npt.NDArray[np.uint8]
SHARE = 0.4
"""Of a mask's colour in the pixels inside it."""


class SliceView:
    """Slices of a volume along its own voxels, as pixels that are square in mm.

    Right (sagittal: the front) is on the left, the front or the head on top.

    Slices of an oblique volume are those nearest to the plane asked for.

    Args:
        volume: the image.
        plane: one of PLANES.
        edge: pixels of the longer edge.
        window: intensities shown black and white; of the middle 98 % of all voxels if not given.

    Attributes:
        count: number of slices.
        size: width and height in pixels.
        window: as above; may be set.
    """

    def __init__(
        self, volume: Volume, plane: str = "axial", edge: int = 512, window: tuple[float, float] | None = None
    ) -> None:
        self._grid = volume.grid
        self._axes = canonical_axes(volume.grid.index_to_world)
        self._image = self._axes.apply(volume.array)
        self._normal = PLANES[plane]
        self._across, self._down = (axis for axis in range(3) if axis != self._normal)
        self.count = self._image.shape[self._normal]
        spacing = [volume.grid.spacing[source] for source in self._axes.source]
        lengths = [self._image.shape[axis] * spacing[axis] for axis in (self._across, self._down)]
        scale = edge / max(lengths)
        self.size = (max(1, round(lengths[0] * scale)), max(1, round(lengths[1] * scale)))
        self.window = window or _middle(volume.array)

    def pixels(self, number: int, masks: Sequence[tuple[npt.NDArray[np.generic], Sequence[float]]] = ()) -> Pixels:
        """Return a slice as (H, W, 3), uint8.

        Args:
            number: of the slice, from right, posterior or inferior.
            masks: masks (I, J, K) and their colours (0..1), painted over the image with an outline.
        """
        shown = self._shown(number)
        for mask, colour in masks:
            inside, paint = self.inside(number, mask), 255 * np.asarray(colour, np.float32)
            shown[inside] = (1 - SHARE) * shown[inside] + SHARE * paint
            shown[outline(inside)] = paint
        return shown

    def inside(self, number: int, mask: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """Return the pixels (H, W) of a slice in which a mask (I, J, K) is not zero."""
        small = Image.fromarray(_upright((self._cut(self._axes.apply(mask), number) != 0) * 255))
        return np.array(small.resize(self.size, Image.Resampling.NEAREST)) > 0

    def world(self, number: int, x: float, y: float) -> Point3:
        """Return the place (RAS mm) of a point of a slice, in pixels from the upper left corner."""
        index = np.zeros(3)
        index[self._normal] = number
        for axis, share in ((self._across, x / self.size[0]), (self._down, y / self.size[1])):
            index[axis] = (1 - share) * self._image.shape[axis] - 0.5
        r, a, s = self._grid.to_world(self._voxel(index)).tolist()
        return r, a, s

    def place(self, world: Sequence[float]) -> tuple[int, float, float]:
        """Return the slice nearest to a place (RAS mm), and the point on it in pixels."""
        index = self._voxel_in_view(self._grid.to_index(world))
        x, y = (
            (1 - (index[axis] + 0.5) / self._image.shape[axis]) * size
            for axis, size in ((self._across, self.size[0]), (self._down, self.size[1]))
        )
        return round(float(index[self._normal])), float(x), float(y)

    def sides(self) -> tuple[str, str, str, str]:
        """Return which side of the patient lies at the left, right, bottom and top edge; "" of a picture."""
        width, height = self.size
        corner, right, bottom = (np.array(self.world(0, x, y)) for x, y in ((0, 0), (width, 0), (0, height)))
        across, up = right - corner, corner - bottom
        return sides_towards(-across), sides_towards(across), sides_towards(-up), sides_towards(up)

    def _shown(self, number: int) -> Pixels:
        """Return a slice without masks as (H, W, 3)."""
        low, high = self.window
        plane = self._cut(self._image, number).astype(np.float32)
        grey = np.clip((plane - low) / ((high - low) or 1.0), 0, 1) * 255
        picture = np.array(Image.fromarray(_upright(grey)).resize(self.size, Image.Resampling.BILINEAR))
        return np.repeat(picture[..., None], 3, axis=2)

    def _cut(self, array: npt.NDArray[np.generic], number: int) -> npt.NDArray[np.generic]:
        where: list[slice | int] = [slice(None)] * 3
        where[self._normal] = number
        return array[tuple(where)]

    def _voxel(self, index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Index in the view's axes to one in the volume's."""
        voxel = np.zeros(3)
        for axis, (source, flipped) in enumerate(zip(self._axes.source, self._axes.flipped, strict=True)):
            voxel[source] = self._image.shape[axis] - 1 - index[axis] if flipped else index[axis]
        return voxel

    def _voxel_in_view(self, voxel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Index in the volume's axes to one in the view's."""
        turned = [voxel[source] for source in self._axes.source]
        return np.array(
            [
                self._image.shape[axis] - 1 - value if flipped else value
                for axis, (value, flipped) in enumerate(zip(turned, self._axes.flipped, strict=True))
            ]
        )


class PictureView(SliceView):
    """A picture, in its colours, as the only slice of the volume that stands for it.

    Args:
        volume: that of a `PictureSession`.
        picture: (H, W, 3) uint8, blue first.
        edge: pixels of the longer edge.
    """

    def __init__(self, volume: Volume, picture: Pixels, edge: int = 512) -> None:
        super().__init__(volume, edge=edge, window=(0.0, 255.0))
        self._picture = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))

    def sides(self) -> tuple[str, str, str, str]:
        """Return that nothing is known of a patient's sides."""
        return "", "", "", ""

    def _shown(self, _number: int) -> Pixels:
        return np.array(self._picture.resize(self.size, Image.Resampling.BILINEAR))


def outline(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a mask (H, W) that have a neighbour outside it."""
    framed = np.pad(inside, 1)
    kept = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return inside & ~kept


def _upright(plane: npt.NDArray[np.generic]) -> Pixels:
    """(across, down) to rows from the top, with the first axis to the left."""
    return np.ascontiguousarray(plane[::-1, ::-1].T).astype(np.uint8)


def _middle(array: npt.NDArray[np.generic]) -> tuple[float, float]:
    low, high = np.percentile(array[:: max(1, array.shape[0] // 64)].astype(np.float32), [1, 99])
    return float(low), float(high if high > low else low + 1)
