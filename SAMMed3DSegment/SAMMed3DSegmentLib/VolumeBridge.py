"""Volume nodes as volumes of `sammed3d`.

A session works in the volume node's own RAS frame: the one of its IJK-to-RAS matrix, before any parent transform. The
parent transform, linear or not, is applied to clicks on their way in, so images are never resampled for it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from sammed3d import Grid, Volume, VolumeError


def volumeFromNode(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """View a scalar volume node as a volume, without copying its voxels.

    Returns:
        Array (I, J, K) and the grid of the node's IJK-to-RAS matrix (RAS mm, before the parent transform). The array
        is a view of the node's image: use it while the node keeps that image.

    Raises:
        VolumeError: the node holds no image, or one that cannot be segmented.
    """
    name = volumeNode.GetName() or "The volume"
    imageData = volumeNode.GetImageData()
    scalars = imageData.GetPointData().GetScalars() if imageData is not None else None
    if scalars is None:
        raise VolumeError(f"{name}: this volume holds no image. Load it again or choose another one.")
    if scalars.GetNumberOfComponents() != 1:
        raise VolumeError(f"{name}: this is a colour or vector volume. Convert it to a scalar volume first.")
    shape = imageData.GetDimensions()
    array = vtk_to_numpy(scalars).reshape(shape[::-1]).T
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return Volume(array, Grid(shape, arrayFromMatrix(matrix)), name, imageData)


def worldToVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode, world: tuple[float, float, float]) -> tuple[float, ...]:
    """Bring a point from Slicer's world (RAS mm) into the volume node's own RAS frame, through parent transforms."""
    transform = vtk.vtkGeneralTransform()
    parent = volumeNode.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, transform)
    return transform.TransformPoint(world)


def volumeToWorld(volumeNode: slicer.vtkMRMLScalarVolumeNode, point: tuple[float, float, float]) -> tuple[float, ...]:
    """Bring a point from the volume node's own RAS frame into Slicer's world (RAS mm)."""
    transform = vtk.vtkGeneralTransform()
    parent = volumeNode.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, transform)
    return transform.TransformPoint(point)


def volumeDigest(volume: Volume) -> str:
    """Return a digest (hex) of a volume's geometry and a thin sample of its voxels.

    It tells one image from another (a frame of a sequence, a node that was loaded again), also after saving and
    reopening, at a cost that does not grow with the image.
    """
    steps = tuple(slice(None, None, max(1, size // 48)) for size in volume.array.shape)
    sample = np.ascontiguousarray(volume.array[steps])
    head = repr((volume.array.shape, sample.dtype.str, volume.grid.index_to_world.round(4).tolist()))
    return hashlib.sha256(head.encode() + sample.tobytes()).hexdigest()


def arrayFromMatrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """Return a vtkMatrix4x4 as a (4, 4) float64 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
