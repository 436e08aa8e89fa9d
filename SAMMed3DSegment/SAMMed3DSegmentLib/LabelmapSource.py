"""Segmentations that are kept as something else than voxels, as those read from STL files are; brought to voxels."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

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


def ensure(segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Convert a segmentation that is kept as something else, if the user agrees; an empty one without a question.

    Raises:
        VolumeError: the user does not agree, or its segments cannot be converted.
    """
    if isLabelmap(segmentationNode):
        return
    segmentation = segmentationNode.GetSegmentation()
    question = _(
        "{name} is kept as {kind}, which clicks cannot change. Keep it as voxels from now on? Its segments become as "
        "coarse as the volume. This cannot be undone."
    ).format(name=segmentationNode.GetName(), kind=segmentation.GetSourceRepresentationName().lower())
    if segmentation.GetNumberOfSegments() and not slicer.util.confirmOkCancelDisplay(question):
        check(segmentationNode)
    convert(segmentationNode, volumeNode)


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
