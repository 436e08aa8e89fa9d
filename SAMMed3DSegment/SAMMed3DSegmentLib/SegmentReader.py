"""Segments read back: the voxels that they hold, as they lie or on a volume's grid, and a digest of them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import slicer

from sammed3d import Box
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib.MaskGrids import arrayOfImage, matrixOfImage, matrixOfVolume, onGrid, transformBetween


def labelmapOfSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str
) -> slicer.vtkOrientedImageData | None:
    """Return the labelmap that holds a segment, which others may share; None where there is none, or an empty one."""
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    labelmap = segmentationNode.GetSegmentation().GetSegment(segmentId).GetRepresentation(name)
    if labelmap is None or labelmap.IsEmpty() or labelmap.GetPointData().GetScalars() is None:
        return None
    return labelmap


def heldMask(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, within: Box | None = None
) -> tuple[np.ndarray, BoxedMask | None]:
    """Return what a segment holds, as it lies: the index-to-RAS matrix of its labelmap's grid, and its voxels there.

    Args:
        segmentationNode: the segmentation, read before its parent transform.
        segmentId: the segment's id in it.
        within: a box of that grid that is known to hold all of it; reading is faster then.
    """
    labelmap = labelmapOfSegment(segmentationNode, segmentId)
    if labelmap is None:
        return np.eye(4), None
    box, array = arrayOfImage(labelmap)
    part = box if within is None else within.intersection(box)
    if part is None:
        return matrixOfImage(labelmap), None
    filled = array[part.within(box)] == segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue()
    inner = Box.around(filled)
    if inner is None:
        return matrixOfImage(labelmap), None
    voxels = np.asfortranarray(filled[inner.slices]).view(np.uint8)
    return matrixOfImage(labelmap), BoxedMask(inner.shifted(part.begin), voxels)


def maskOfSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> BoxedMask | None:
    """Return a segment on the grid (I, J, K) of a volume node, through any transforms; None if it is empty there."""
    matrix, held = heldMask(segmentationNode, segmentId)
    mask = onGrid(held, matrix, matrixOfVolume(volumeNode), transformBetween(segmentationNode, volumeNode))
    return clipped(mask, volumeNode)


def clipped(mask: BoxedMask | None, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> BoxedMask | None:
    """Return the part of a mask that lies in a volume's image."""
    whole = Box((0, 0, 0), volumeNode.GetImageData().GetDimensions())
    box = None if mask is None else mask.box.intersection(whole)
    if box is None or box == mask.box:
        return None if box is None else mask
    voxels = mask.cut(box)
    inner = Box.around(voxels)
    return None if inner is None else BoxedMask(inner.shifted(box.begin), np.asfortranarray(voxels[inner.slices]))


def showsFrames(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """Tell whether a segmentation shows one frame of a sequence after the other."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSequenceBrowserNode")
    nodes.UnRegister(None)
    browsers = (nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems()))
    return any(browser.IsProxyNode(segmentationNode.GetID()) for browser in browsers)


def digestOfSegment(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str:
    """Return a digest (hex) of a segment's voxels and place; see `digestOf`."""
    return digestOf(*heldMask(segmentationNode, segmentId))


def digestOf(matrix: np.ndarray, held: BoxedMask | None) -> str:
    """Return a digest (hex) of voxels and their place; "" for none.

    It is the same after saving and reopening, where the labelmap's extent may start elsewhere.
    """
    if held is None:
        return ""
    corner = matrix[:3, :3] @ held.box.begin + matrix[:3, 3]
    place = [math.floor(10 * value + 0.1234) for value in corner]  # 0.1 mm, with steps where no voxel grid has them
    return hashlib.sha256(repr((place, held.box.shape)).encode() + held.voxels.tobytes("F")).hexdigest()
