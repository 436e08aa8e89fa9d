"""Segmentations that are kept as something else than voxels, as those read from STL files are; brought to voxels."""

from __future__ import annotations

import slicer

from sammed3d import VolumeError
from SAMMed3DSegmentLib import Surface


def isLabelmap(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """Tell whether voxels are what a segmentation is kept as, all else being made of them: else they cannot change."""
    return segmentationNode.GetSegmentation().GetSourceRepresentationName() == _name()


def check(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Refuse a segmentation whose voxels cannot be changed.

    Raises:
        VolumeError: it is kept as something else.
    """
    if not isLabelmap(segmentationNode):
        kind = segmentationNode.GetSegmentation().GetSourceRepresentationName()
        raise VolumeError(
            f"{segmentationNode.GetName()}: this segmentation is kept as {kind.lower()}, not as voxels. Make Binary "
            "labelmap its source representation in the module Segmentations, or choose another segmentation."
        )


def convert(segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Keep a segmentation as voxels from now on: on its reference geometry, or the volume's where it has none.

    Surfaces are made anew from the voxels, and are as fine as these.

    Raises:
        VolumeError: its segments cannot be converted.
    """
    setReference(segmentationNode, volumeNode)
    segmentation, shown = segmentationNode.GetSegmentation(), Surface.isShown(segmentationNode)
    if not segmentation.CreateRepresentation(_name(), True):
        raise VolumeError(
            f"{segmentationNode.GetName()}: not every segment can be made voxels. See the application's error log, or "
            "choose another segmentation."
        )
    segmentationNode.SetSourceRepresentationToBinaryLabelmap()
    if shown:
        Surface.show(segmentationNode, True)


def setReference(segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Give a segmentation without a reference geometry that of a volume: new voxels lie on it."""
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    if not segmentationNode.GetSegmentation().GetConversionParameter(parameter):
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def _name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
