"""Patches: the network's input, cut from a volume, resampled and normalised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Grid, Index3
from sammed3d.core.interpolation import Array, Float32, as_float32, contiguous, interpolate, resize
from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.preset import Preset


@dataclass(frozen=True, eq=False)
class Patch:
    """One window of a volume as the network sees it.

    Attributes:
        voxels: Shape preset.patch_shape, float32, axes R, A, S, normalised; read-only.
        window: Lattice box that it covers; parts outside the volume were padded with 0 before normalisation. A wide
            patch covers up to twice as many samples along each axis, and its voxels are means of those round them.
        grid: Grid of its voxels, RAS mm.
    """

    voxels: Float32
    window: Box
    grid: Grid

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the voxels (hex): the patch's name in caches and on the wire."""
        return hashlib.sha256(self.voxels.data).hexdigest()


def cut_patch(volume: Volume, lattice: Lattice, window: Box, preset: Preset) -> Patch:
    """Cut a window out of a volume; only the voxels under the window are read and resampled.

    Args:
        volume: the image.
        lattice: the volume's.
        window: a box of the lattice, one to two times as large as the patch along each axis.
        preset: the model's preset.

    Raises:
        VolumeError: the window holds nothing to normalise by (no voxel above 0, or all of them equal).
    """
    if preset.clamp_after:
        voxels = lattice.to_canonical(interpolate(volume.array, lattice.sampling(window)))
        inside = window.intersection(Box((0, 0, 0), lattice.shape))
        if inside is not None:
            part = inside.within(window)
            voxels[part] = adjust_intensities(voxels[part], preset)
        if window.shape != preset.patch_shape:
            voxels = resize(voxels, preset.patch_shape)
    else:
        weights = lattice.resampling(window, preset.patch_shape)
        voxels = lattice.to_canonical(interpolate(volume.array, weights, lambda some: adjust_intensities(some, preset)))
    voxels = normalised(contiguous(voxels), preset, volume.name)
    voxels.flags.writeable = False
    return Patch(voxels, window, _grid_of(lattice, window, preset.patch_shape))


def _grid_of(lattice: Lattice, window: Box, shape: Index3) -> Grid:
    """Return the grid of the voxels of a patch, each of which stands for one or more samples of the lattice."""
    scale = np.array(window.shape) / shape
    affine = lattice.grid.index_to_world @ np.diag([*scale, 1.0])
    affine[:3, 3] = lattice.grid.to_world(np.array(window.begin) + (scale - 1) / 2)
    return Grid(shape, affine)


def normalised(voxels: Float32, preset: Preset, name: str) -> Float32:
    """Return the voxels of a whole 3-D patch, padding included, normalised as the preset says.

    Args:
        voxels: preset.patch_shape float32, clamped and rescaled.
        preset: the model's preset.
        name: the volume's name, for errors.

    Raises:
        VolumeError: there is nothing to normalise by (no voxel above 0, or all of them equal).
    """
    return _zscore_positive(voxels, name) if preset.normalisation == "zscore_positive" else voxels


def adjust_intensities(voxels: Array, preset: Preset) -> Float32:
    """Return voxels as float32, clamped and rescaled as the preset says."""
    result = as_float32(voxels)
    if preset.clamp is not None:
        low, high = preset.clamp
        np.clip(result, low, high, out=result)
        if preset.rescale:
            result -= low
            result /= high - low
    return result


def _zscore_positive(voxels: Float32, name: str) -> Float32:
    rounding = np.finfo(np.float32).eps * np.abs(voxels).max()
    positive: npt.NDArray[np.float32] = voxels[voxels > rounding]  # interpolated zeros are zeros, whatever the rounding
    deviation = float(positive.std(ddof=1, dtype=np.float64)) if positive.size > 1 else 0.0
    if deviation == 0:
        raise VolumeError(
            f"{name}: around this click there is nothing to normalise by (no varying intensities above 0). "
            "Click inside the body; if the image stores tissue as negative numbers, shift its intensities."
        )
    result: Float32 = (voxels - np.float32(positive.mean(dtype=np.float64))) / np.float32(deviation)
    return result
