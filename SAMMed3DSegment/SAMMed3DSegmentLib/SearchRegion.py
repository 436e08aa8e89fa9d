"""Where to look for objects: in a ROI, or in what the slice views show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from sammed3d import VolumeError
from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix
from SAMMed3DSegmentLib.Views import shownSliceNodes


@dataclass(frozen=True, eq=False)
class Limit:
    """A slab of the world: where `row` times (r, a, s, 1) lies between two values."""

    row: np.ndarray
    low: float
    high: float


def roiLimits(roiNode: slicer.vtkMRMLMarkupsROINode) -> list[Limit]:
    """Return the limits of a ROI, which may be turned.

    Raises:
        VolumeError: it has no size.
    """
    half = np.array(roiNode.GetSize()) / 2
    if half.min() <= 0:
        raise VolumeError(f"{roiNode.GetName()}: this ROI has no size yet. Draw it round the region.")
    fromWorld = np.linalg.inv(arrayFromMatrix(roiNode.GetObjectToWorldMatrix()))
    return [Limit(fromWorld[axis], -half[axis], half[axis]) for axis in range(3)]


def viewLimits() -> list[Limit]:
    """Return the limits of what all slice views show: zoom and pan until they show the region.

    Raises:
        VolumeError: there is no slice view.
    """
    limits = []
    for node in shownSliceNodes():
        fromWorld = np.linalg.inv(arrayFromMatrix(node.GetXYToRAS()))
        limits += [Limit(fromWorld[axis], 0, node.GetDimensions()[axis]) for axis in range(2)]
    if not limits:
        raise VolumeError("There is no slice view whose region could be searched. Choose the whole volume or a ROI.")
    return limits


def indexToWorld(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the matrix from a volume's voxels (I, J, K) to the world, through linear transforms.

    Raises:
        VolumeError: the volume is under a transform that is not linear.
    """
    matrix, parent = vtk.vtkMatrix4x4(), volumeNode.GetParentTransformNode()
    volumeNode.GetIJKToRASMatrix(matrix)
    if parent is None:
        return arrayFromMatrix(matrix)
    if not parent.IsTransformToWorldLinear():
        raise VolumeError(
            f"{volumeNode.GetName()}: it is under a transform that is not linear. Search the whole volume."
        )
    toWorld = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(toWorld)
    return arrayFromMatrix(toWorld) @ arrayFromMatrix(matrix)


def regionMask(limits: Sequence[Limit], shape: tuple[int, int, int], toWorld: np.ndarray) -> np.ndarray | None:
    """Return the voxels (I, J, K) within all limits, bool; None where there are no limits. Takes seconds.

    Raises:
        VolumeError: none is.
    """
    if not limits:
        return None
    inside = np.ones(shape, bool, order="F")
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    for limit in limits:
        i, j, k, offset = (limit.row @ toWorld).astype(np.float32)
        place = i * axes[0].astype(np.float32) + j * axes[1] + k * axes[2] + offset
        inside &= (place >= limit.low) & (place <= limit.high)
    if not inside.any():
        raise VolumeError("The region lies outside the volume. Choose another one.")
    return inside
