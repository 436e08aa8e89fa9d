"""The slices of a volume as 2-D models see them: whole slices of the file, never resampled between one another.

Slices are those that were acquired: across the file's coarsest axis, and axial ones where no axis is clearly coarser. A
single slice is one, whatever its thickness.
They are shown as radiologists see them: columns run towards the patient's left (in sagittal slices: the back), rows
towards the back (in coronal and sagittal slices: the feet).

Source: SAM-Med2D `predictor_sammed.py` (slices resized by nearest pixels) and `DataLoader.py` (small ones padded).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Float64, Grid, canonical_axes
from sammed3d.core.interpolation import Float32, resize
from sammed3d.files.volume import Volume
from sammed3d.inference.patch import Patch, adjust_intensities
from sammed3d.inference.predictor import PatchBox
from sammed3d.inference.preset import Preset

Pixels = npt.NDArray[np.generic]
OUTSIDE = -1.0
"""Stands in a patch for what lies beside a padded slice; grey values are 0..255."""
CLEARLY = 1.2
"""Times coarser than the next axis an axis has to be to tell the acquired slices."""


@dataclass(frozen=True)
class _Frame:
    """Where a slice lies in the model's image.

    Attributes:
        size: columns and rows of the slice, resized as it is shown in the image.
        offset: column and row of its corner.
    """

    size: tuple[int, int]
    offset: tuple[int, int]


class Slices:
    """The slices of a grid, and the way between their pixels and a 2-D model's image.

    Attributes:
        axis: the file axis (0..2) across the slices.
        count: number of slices.
        shape: columns and rows of a slice.
    """

    def __init__(self, source: Grid, preset: Preset) -> None:
        self.source, self._preset = source, preset
        axes = canonical_axes(source.index_to_world)
        spacing = np.array(source.spacing)
        coarsest = int(np.argmax(spacing))
        clear = spacing[coarsest] >= CLEARLY * np.delete(spacing, coarsest).max()
        flat = [axis for axis, size in enumerate(source.shape) if size == 1]
        self.axis = flat[0] if len(flat) == 1 else coarsest if clear else axes.source[2]
        across = axes.source.index(self.axis)  # in R, A, S
        in_plane = [a for a in range(3) if a != across]
        self._file_axes = [axes.source[a] for a in in_plane]  # of columns and rows
        self._reversed = [not axes.flipped[a] for a in in_plane]  # columns and rows run against R, A, S
        self.count = source.shape[self.axis]
        self.shape = source.shape[self._file_axes[0]], source.shape[self._file_axes[1]]
        self._frame = self._framed()

    def place(self, world: Sequence[float]) -> tuple[int, tuple[float, float]]:
        """Return the slice nearest to a world point, and the point's column and row in the model's image.

        The published code scales pixel indices, not pixel centres.
        """
        index = self.source.to_index(world)
        number = int(np.clip(np.rint(index[self.axis]), 0, self.count - 1))
        pixel = [int(np.clip(np.rint(index[a]), 0, self.source.shape[a] - 1)) for a in self._file_axes]
        shown = [n - 1 - p if r else p for p, r, n in zip(pixel, self._reversed, self.shape, strict=True)]
        column, row = (
            p * size / n + offset
            for p, size, n, offset in zip(shown, self._frame.size, self.shape, self._frame.offset, strict=True)
        )
        return number, (column, row)

    def box(self, number: int) -> Box:
        """Return the box of the volume's voxels that a slice is."""
        begin, end = [0, 0, 0], list(self.source.shape)
        begin[self.axis], end[self.axis] = number, number + 1
        return Box((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]))

    def pixels(self, volume: Volume, number: int) -> Float32:
        """Return a slice as it is shown, by column and row: grey values 0..255 where the preset says so."""
        pixels = adjust_intensities(self._shown(volume.array[self.box(number).slices]), self._preset)
        if self._preset.normalisation == "grey":
            low, high = float(pixels.min()), float(pixels.max())
            pixels = (pixels - np.float32(low)) * np.float32(255 / max(high - low, 1e-10))
        return pixels

    def mask_pixels(self, mask: npt.NDArray[np.bool_], number: int) -> npt.NDArray[np.bool_]:
        """Return a slice of a mask of the whole volume as it is shown, by column and row."""
        return self._shown(mask[self.box(number).slices]).astype(bool)

    def cut(self, volume: Volume, number: int, /) -> Patch:
        """Cut a slice out of a volume: grey values 0..255 by column and row, `OUTSIDE` beside a padded slice."""
        window, pixels = self.box(number), self.pixels(volume, number)
        voxels = np.full(self._preset.patch_shape, OUTSIDE, np.float32)
        (columns, rows), (left, top) = self._frame.size, self._frame.offset
        nearest = pixels[np.ix_(nearest_pixels(self.shape[0], columns), nearest_pixels(self.shape[1], rows))]
        voxels[left : left + columns, top : top + rows, 0] = nearest
        voxels.flags.writeable = False
        return Patch(voxels, window, Grid(self._preset.patch_shape, self._patch_to_world(number)))

    def paint(self, low_res: Float32) -> npt.NDArray[np.uint8]:
        """Turn a slice's low-res logits into its mask: uint8 0/1, file order, without the axis across.

        The logits are interpolated to the model's image and from there to the slice's own pixels.
        """
        image = self._image(low_res)
        (columns, rows), (left, top) = self._frame.size, self._frame.offset
        part = image[left : left + columns, top : top + rows]
        pixels = resize(part[..., None], (*self.shape, 1))[..., 0]
        return np.asfortranarray(self._as_stored(pixels > 0).astype(np.uint8))

    def prompt_of(self, mask: npt.NDArray[np.generic], logit: float) -> Float32:
        """Turn the mask of a slice (as `paint` makes it) into low-res logits for a mask prompt."""
        pixels = self._to_shown(mask != 0)
        image = np.full(self._preset.patch_shape[:2], 0.0, np.float32)
        (columns, rows), (left, top) = self._frame.size, self._frame.offset
        nearest = pixels[np.ix_(nearest_pixels(self.shape[0], columns), nearest_pixels(self.shape[1], rows))]
        image[left : left + columns, top : top + rows] = nearest
        width, height, _ = self._preset.low_res_shape
        blocks = image.reshape(width, image.shape[0] // width, height, image.shape[1] // height)
        share: Float32 = blocks.mean(axis=(1, 3), dtype=np.float32)
        return np.ascontiguousarray((np.float32(logit) * (2 * share - 1))[..., None])

    def bounds(self, low_res: Float32) -> PatchBox | None:
        """Return the box round what low-res logits show inside, in the model's image; None where that is nothing.

        Its last corner is one past the last pixel, as the published code takes boxes from masks.
        """
        found = Box.around((self._image(low_res) > 0)[..., None])
        if found is None:
            return None
        return PatchBox(
            (float(found.begin[0]), float(found.begin[1]), 0.0), (float(found.end[0]), float(found.end[1]), 0.0)
        )

    def _framed(self) -> _Frame:
        (columns, rows), (width, height) = self.shape, self._preset.patch_shape[:2]
        if self._preset.fit == "pad" and columns < width and rows < height:
            return _Frame((columns, rows), ((width - columns) // 2, (height - rows) // 2))
        return _Frame((width, height), (0, 0))

    def _image(self, low_res: Float32) -> Float32:
        return resize(low_res, self._preset.patch_shape)[..., 0]

    def _shown(self, voxels: Pixels) -> Pixels:
        """View the voxels of a slice's box by column and row."""
        return self._to_shown(np.squeeze(voxels, axis=self.axis))

    def _to_shown(self, pixels: Pixels) -> Pixels:
        ordered = pixels if self._file_axes[0] < self._file_axes[1] else pixels.T
        return ordered[tuple(slice(None, None, -1 if r else 1) for r in self._reversed)]

    def _as_stored(self, pixels: Pixels) -> Pixels:
        ordered = pixels[tuple(slice(None, None, -1 if r else 1) for r in self._reversed)]
        return ordered if self._file_axes[0] < self._file_axes[1] else ordered.T

    def _patch_to_world(self, number: int) -> Float64:
        """(4, 4) matrix from a patch's voxel to world RAS mm."""
        to_index = np.zeros((4, 4))
        to_index[3, 3] = 1
        to_index[self.axis, 2], to_index[self.axis, 3] = 1, number
        for n, axis in enumerate(self._file_axes):
            step = self.shape[n] / self._frame.size[n]
            start = step * (0.5 - self._frame.offset[n]) - 0.5
            to_index[axis, n], to_index[axis, 3] = step, start
            if self._reversed[n]:
                to_index[axis, n], to_index[axis, 3] = -step, self.shape[n] - 1 - start
        result: Float64 = self.source.index_to_world @ to_index
        return result


def nearest_pixels(size: int, wanted: int) -> npt.NDArray[np.int_]:
    """Return which pixels of a line make it `wanted` long, as OpenCV's nearest interpolation takes them.

    It multiplies by the inverse of a rounded scale, so that a place which falls on a pixel may be given the one before:
    of 840 pixels seven of the 256 that are taken.
    """
    taken: npt.NDArray[np.int_] = np.floor(np.arange(wanted) * (1 / (wanted / size))).astype(int)
    return np.minimum(taken, size - 1)
