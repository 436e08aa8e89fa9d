"""Segments read back: their voxels on the volume's grid, and a digest of them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from sammed3d import Box
from sammed3d.core.mask import BoxedMask


def maskOfSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> BoxedMask | None:
    """Return a segment on the grid (I, J, K) of a volume node, through any transforms; None if it is empty there."""
    labelmap = _labelmap(segmentationNode, segmentId)
    reference = slicer.vtkOrientedImageData()
    ijkToRAS = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRAS)
    reference.SetGeometryFromImageToWorldMatrix(ijkToRAS)
    i, j, k = volumeNode.GetImageData().GetDimensions()
    reference.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    volumeParent, parent = volumeNode.GetParentTransformNode(), segmentationNode.GetParentTransformNode()
    if volumeParent is not parent or not slicer.vtkOrientedImageDataResample.DoGeometriesMatchIgnoreOrigin(
        labelmap, reference
    ):
        transform = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, volumeParent, transform)
        resampled = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            labelmap, reference, resampled, False, False, transform
        )
        labelmap = resampled
    found = _filledBlock(labelmap)
    if found is None:
        return None
    begin, block = found
    whole = Box((0, 0, 0), (i, j, k))
    box = Box(begin, tuple(b + n for b, n in zip(begin, block.shape, strict=True))).intersection(whole)
    if box is None:
        return None
    inside = block[tuple(slice(b - o, e - o) for b, e, o in zip(box.begin, box.end, begin, strict=True))]
    return BoxedMask(box, np.asfortranarray(inside)) if inside.any() else None


def digestOfSegment(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str:
    """Return a digest (hex) of a segment's voxels and place; "" for an empty segment.

    It is the same after saving and reopening, where the labelmap's extent may start elsewhere.
    """
    labelmap = _labelmap(segmentationNode, segmentId)
    found = _filledBlock(labelmap)
    if found is None:
        return ""
    begin, block = found
    imageToWorld = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(imageToWorld)
    corner = imageToWorld.MultiplyPoint([*begin, 1])[:3]
    place = [math.floor(10 * value + 0.1234) for value in corner]  # 0.1 mm, with steps where no voxel grid has them
    return hashlib.sha256(repr((place, block.shape)).encode() + block.tobytes("F")).hexdigest()


def _labelmap(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkOrientedImageData:
    labelmap = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentId, labelmap)
    return labelmap


def _filledBlock(labelmap: slicer.vtkOrientedImageData) -> tuple[tuple[int, int, int], np.ndarray] | None:
    """Return the first voxel (i, j, k) and the 0/1 voxels of the smallest block that holds all that is filled."""
    scalars = labelmap.GetPointData().GetScalars()
    if scalars is None or labelmap.IsEmpty():
        return None
    extent = labelmap.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3))
    array = vtk_to_numpy(scalars).reshape(shape[::-1]).T
    box = Box.around(array)
    if box is None:
        return None
    begin = tuple(extent[2 * axis] + box.begin[axis] for axis in range(3))
    return begin, (array[box.slices] != 0).astype(np.uint8)
