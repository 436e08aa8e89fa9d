"""Blobs in a patch: where something bright or dark of roughly round shape is, and how much a mask stands out.

They tell a search without clicks where to ask, and which answers to trust.

Source of the idea: scale-normalised Laplacians of Gaussians (Lindeberg 1998).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Box, Index3, Point3
from sammed3d.core.interpolation import Float32

RADII = (2.0, 3.0, 4.5, 6.75, 10.0)
"""Of the blobs that are looked for, mm."""
NOISE = 4.0
"""Times the usual response that a blob has to reach."""
LEAST = 4
"""Voxels along each axis that ITK's filters need; thinner volumes go on with what their last slice shows."""


def blobs(voxels: Float32, spacing: Point3, most: int) -> list[Index3]:
    """Return the centres of blobs, strongest first.

    Args:
        voxels: a patch, axes R, A, S.
        spacing: size of its voxels, mm.
        most: largest number of blobs.
    """
    own = tuple(slice(n) for n in voxels.shape)
    image = _thick(voxels)
    image.SetSpacing([float(s) for s in spacing])
    strongest = np.zeros(voxels.shape, np.float32)
    for radius in RADII:
        filtered = sitk.LaplacianRecursiveGaussian(image, radius / np.sqrt(3), normalizeAcrossScale=True)
        response = np.abs(sitk.GetArrayViewFromImage(filtered).T[own])
        usual = float(np.median(response))
        np.maximum(strongest, response / max(usual, 1e-6), out=strongest)
    highest = sitk.GetArrayFromImage(sitk.GrayscaleDilate(_thick(strongest), (2, 2, 2), sitk.sitkBox)).T[own]
    found = np.argwhere((strongest == highest) & (strongest > NOISE))
    order = np.argsort(-strongest[tuple(found.T)], kind="stable")[:most]
    return [(int(i), int(j), int(k)) for i, j, k in found[order]]


def _thick(field: Float32) -> sitk.Image:
    repeated = np.pad(field, [(0, max(0, LEAST - n)) for n in field.shape], mode="edge")
    return sitk.GetImageFromArray(np.ascontiguousarray(repeated.T))


def contrast(voxels: Float32, mask: npt.NDArray[np.bool_], box: Box) -> float:
    """Return how much a mask stands out: the step at its border, in deviations of the voxels on both sides.

    Args:
        voxels: a patch.
        mask: mask of an object in it, same shape.
        box: box of the mask's voxels.

    Returns:
        |mean inside - mean of the shell 2 to 4 voxels outside| / pooled deviation; 0 where either is empty.
    """
    low = [max(0, b - 5) for b in box.begin]
    high = [min(n, e + 5) for n, e in zip(mask.shape, box.end, strict=True)]
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    inside, around = mask[part], voxels[part]
    near, far = _grown(inside, 2), _grown(inside, 4)
    shell = far & ~near
    if not inside.any() or not shell.any():
        return 0.0
    core = _shrunk(inside) if _shrunk(inside).any() else inside
    one, other = around[core], around[shell]
    deviation = float(np.sqrt((one.var() + other.var()) / 2))
    return float(abs(one.mean() - other.mean())) / max(deviation, 1e-6)


def parts(mask: npt.NDArray[np.bool_], spacing: Point3, neck: float = 0.6) -> Sequence[npt.NDArray[np.bool_]]:
    """Take a mask apart at its necks.

    Args:
        mask: mask of one object, or of several that touch.
        spacing: size of its voxels, mm.
        neck: width of a neck at which parts are taken apart, as a share of the thinner part's.

    Returns:
        The parts; the mask itself where it has no such neck.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.pad(mask, 1).T).astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing])
    depth = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    deepest = float(sitk.GetArrayViewFromImage(depth).max())
    if deepest <= 2 * max(spacing):  # too small to say
        return [mask]
    basins = sitk.MorphologicalWatershed(-depth, level=(1 - neck) * deepest, markWatershedLine=False)
    labels = sitk.GetArrayFromImage(basins).T[1:-1, 1:-1, 1:-1] * mask
    found = [labels == value for value in np.unique(labels) if value != 0]
    large = [part for part in found if int(part.sum()) >= 0.1 * int(mask.sum())]
    return large if len(large) > 1 else [mask]


def _grown(mask: npt.NDArray[np.bool_], voxels: int) -> npt.NDArray[np.bool_]:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).astype(np.uint8))
    grown: npt.NDArray[np.bool_] = sitk.GetArrayFromImage(sitk.BinaryDilate(image, 3 * [voxels])).T.astype(bool)
    return grown


def _shrunk(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).astype(np.uint8))
    shrunk: npt.NDArray[np.bool_] = sitk.GetArrayFromImage(sitk.BinaryErode(image, [1, 1, 1])).T.astype(bool)
    return shrunk
