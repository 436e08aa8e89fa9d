"""Volume nodes as volumes of `sammed3d`.

A session works in the volume node's own RAS frame: the one of its IJK-to-RAS matrix, before any parent transform. The
parent transform, linear or not, is applied to clicks on their way in, so images are never resampled for it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from sammed3d import Grid, Picture, Volume, VolumeError
from sammed3d.core.geometry import Point3
from sammed3d.files.picture import PictureVolume
from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix, transformBetweenParents

COLOURS = 3
"""Components of a voxel in colour: red, green and blue."""


def volumeFromNode(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """View a scalar volume node as a volume, without copying its voxels.

    Returns:
        Array (I, J, K) and the grid of the node's IJK-to-RAS matrix (RAS mm, before the parent transform). The array
        is a view of the node's image: use it while the node keeps that image.

    Raises:
        VolumeError: the node holds no image, one that cannot be segmented, or a transform that has no inverse.
    """
    return imageOf(volumeNode, volumeNode.GetName() or "The volume")()


def segmentableFromNode(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Return what prompts on a node are evaluated on: a coloured slice as a picture, copied; anything else as a volume.

    A picture is one slice whose voxels have red, green and blue of 8 bits, as Slicer loads coloured PNG and JPEG files.
    2-D models see it as `sammed3d.PictureSession` shows it to them.

    Raises:
        VolumeError: see `volumeFromNode`.
    """
    imageData = volumeNode.GetImageData()
    scalars = imageData.GetPointData().GetScalars() if imageData is not None else None
    if scalars is None or scalars.GetNumberOfComponents() != COLOURS or imageData.GetDimensions()[2] != 1:
        return volumeFromNode(volumeNode)
    name = volumeNode.GetName() or "The picture"
    if scalars.GetDataType() != vtk.VTK_UNSIGNED_CHAR:
        raise VolumeError(f"{name}: has colours of {scalars.GetDataTypeAsString()}; 8 bits are needed.")
    _checkTransform(volumeNode, name)
    columns, rows, _ = imageData.GetDimensions()
    pixels = np.ascontiguousarray(vtk_to_numpy(scalars).reshape(rows, columns, COLOURS)[..., ::-1])  # blue first
    grid = _gridOf(volumeNode, (columns, rows, 1), name)
    return PictureVolume.of(Picture(pixels, grid, name), grid)


def imageOf(volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> Callable[[], Volume]:
    """Return what makes the volume of a node, with a name; its voxels are looked through in the call, from any thread.

    Raises:
        VolumeError: see `volumeFromNode`; what is wrong with the voxels is said by the call.
    """
    _checkTransform(volumeNode, name)
    imageData = volumeNode.GetImageData()
    scalars = imageData.GetPointData().GetScalars() if imageData is not None else None
    if scalars is None:
        raise VolumeError(f"{name}: this volume holds no image. Load it again or choose another one.")
    if scalars.GetNumberOfComponents() != 1:
        raise VolumeError(
            f"{name}: this is a colour or vector volume. Convert it with the module Vector to Scalar Volume, and "
            "choose what that makes."
        )
    shape = imageData.GetDimensions()
    array = vtk_to_numpy(scalars).reshape(shape[::-1]).T
    return functools.partial(Volume, array, _gridOf(volumeNode, shape, name), name, imageData)


def worldToVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode, world: Point3) -> Point3:
    """Bring a point from Slicer's world (RAS mm) into the volume node's own RAS frame, through parent transforms."""
    transform = vtk.vtkGeneralTransform()
    parent = volumeNode.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, transform)
    return transform.TransformPoint(world)


def volumeToWorld(volumeNode: slicer.vtkMRMLScalarVolumeNode, point: Point3) -> Point3:
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
    steps = tuple(slice(None, None, max(1, size // 48)) for size in volume.content.shape)
    sample = np.ascontiguousarray(volume.content[steps])
    matrix = volume.grid.index_to_world.round(4) + 0.0  # no file keeps the sign of a zero for certain
    head = repr((volume.content.shape, sample.dtype.str, matrix.tolist()))
    return hashlib.sha256(head.encode() + sample.tobytes()).hexdigest()


def placementOf(volumeNode: slicer.vtkMRMLScalarVolumeNode, segmentationNode: slicer.vtkMRMLSegmentationNode) -> str:
    """Return a digest of where a volume lies in a segmentation's frame; "" where both are under the same transform.

    It tells whether one was moved against the other since a mask was written.
    """
    return placementUnder(volumeNode, segmentationNode.GetParentTransformNode())


def placementUnder(volumeNode: slicer.vtkMRMLScalarVolumeNode, parent: slicer.vtkMRMLTransformNode | None) -> str:
    """Return what `placementOf` says of a segmentation under a transform; None: under none."""
    transform = transformBetweenParents(volumeNode.GetParentTransformNode(), parent)
    if transform is None or volumeNode.GetImageData() is None:
        return ""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    ends = [(0, (size - 1) / 2, size - 1) for size in volumeNode.GetImageData().GetDimensions()]
    points = (
        np.array(list(itertools.product(*ends))) @ arrayFromMatrix(matrix)[:3, :3].T + arrayFromMatrix(matrix)[:3, 3]
    )
    moved = np.array([transform.TransformPoint(point) for point in points])
    if np.abs(moved - points).max() < 1e-3:
        return ""
    return hashlib.sha256(np.round(moved, 2).tobytes()).hexdigest()[:16]


class VolumeImages:
    """The images of volume nodes and their digests, read again only after a node changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, int, int], Volume, str]] = {}

    def of(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[Volume, str]:
        """Return a volume and the digest of its image.

        Raises:
            VolumeError: see `volumeFromNode`.
        """
        imageData = volumeNode.GetImageData()
        stamp = imageData, 0 if imageData is None else imageData.GetMTime(), volumeNode.GetMTime()
        known = self._known.get(volumeNode.GetID())
        if known is None or known[0] != stamp:
            volume = segmentableFromNode(volumeNode)
            known = self._known[volumeNode.GetID()] = stamp, volume, volumeDigest(volume)
        _checkTransform(volumeNode, known[1].name)  # it may change without the node
        return known[1], known[2]

    def digest(self, volumeNode: slicer.vtkMRMLScalarVolumeNode | None) -> str:
        """Return the digest of a volume's image; "" where there is none that could be segmented."""
        try:
            return "" if volumeNode is None else self.of(volumeNode)[1]
        except VolumeError:
            return ""

    def forget(self, nodeId: str | None = None) -> str:
        """Let go of the image of a node, or of all of them; returns its digest ("" if it was not known)."""
        if nodeId is None:
            self._known.clear()
            return ""
        return self._known.pop(nodeId, (None, None, ""))[2]


def _gridOf(volumeNode: slicer.vtkMRMLScalarVolumeNode, shape: tuple[int, int, int], name: str) -> Grid:
    """Return the grid of a node; refused where its voxels have no size, or its axes no directions."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    try:
        return Grid(shape, arrayFromMatrix(matrix))
    except VolumeError as error:
        spacing = " x ".join(f"{size:g}" for size in volumeNode.GetSpacing())
        raise VolumeError(
            f"{name}: voxels of {spacing} mm. {error} Correct spacing, origin and directions in the module Volumes, or "
            "load it again."
        ) from error


def _checkTransform(volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> None:
    """Refuse a volume under a linear transform that flattens it."""
    parent = volumeNode.GetParentTransformNode()
    if parent is None or not parent.IsTransformToWorldLinear():
        return
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    linear = arrayFromMatrix(matrix)[:3, :3]
    scale = np.prod(np.linalg.norm(linear, axis=0))
    if not np.isfinite(linear).all() or scale == 0 or abs(np.linalg.det(linear)) < 1e-6 * scale:
        raise VolumeError(
            f"{name}: its transform {parent.GetName()} flattens the volume and has no inverse. Correct the transform, "
            "or take the volume out of it."
        )
