"""Clicks in Slicer are control points of a point list, one list for each segment.

A point's description says which kind it is. Its "selected" state follows, so that one list shows two colours. The list
refers to its segmentation and volume by node references, which survive saving, and names its segment in an attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import slicer
import vtk

from sammed3d import Click
from SAMMed3DSegmentLib.VolumeBridge import volumeToWorld, worldToVolume

POSITIVE, NEGATIVE = "positive", "negative"
"""What a control point's description says. Any other text means positive."""
SEGMENTATION_ROLE, VOLUME_ROLE = "SAMMed3DSegment.Segmentation", "SAMMed3DSegment.Volume"
SEGMENT_ATTRIBUTE = "SAMMed3DSegment.SegmentID"
GREEN, RED = (0.1, 0.85, 0.2), (1.0, 0.15, 0.1)
SAME_PLACE = 1e-2
"""In mm: less than this is rounding on the way through transforms and files."""

PointListNode = slicer.vtkMRMLMarkupsFiducialNode


def createPointList(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> PointListNode:
    """Add an empty point list for a segment to the scene."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"{segment.GetName()} clicks")
    node.SetAttribute(SEGMENT_ATTRIBUTE, segmentId)
    node.SetNodeReferenceID(SEGMENTATION_ROLE, segmentationNode.GetID())
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*GREEN)
    display.SetColor(*RED)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetGlyphScale(2.0)
    return node


def pointListOf(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> PointListNode | None:
    """Return the point list of a segment; None if it has none."""
    for node in pointLists():
        if node.GetAttribute(SEGMENT_ATTRIBUTE) == segmentId and segmentationOf(node) is segmentationNode:
            return node
    return None


def pointLists() -> Iterator[PointListNode]:
    """Yield the point lists of this module in the scene."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsFiducialNode")
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        if node.GetAttribute(SEGMENT_ATTRIBUTE) is not None:
            yield node


def segmentationOf(pointListNode: PointListNode) -> slicer.vtkMRMLSegmentationNode | None:
    """Return the segmentation that a point list belongs to; None if it was deleted."""
    return pointListNode.GetNodeReference(SEGMENTATION_ROLE)


def addClick(pointListNode: PointListNode, world: Sequence[float], positive: bool = True) -> int:
    """Append a click at a world position (RAS mm) to a point list; returns its index."""
    index = pointListNode.AddControlPointWorld(vtk.vtkVector3d(*world))
    setPolarity(pointListNode, index, positive)
    return index


def setPolarity(pointListNode: PointListNode, index: int, positive: bool) -> None:
    """Say which kind a point is, and colour it."""
    if pointListNode.GetNthControlPointDescription(index) != (POSITIVE if positive else NEGATIVE):
        pointListNode.SetNthControlPointDescription(index, POSITIVE if positive else NEGATIVE)
    if bool(pointListNode.GetNthControlPointSelected(index)) != positive:
        pointListNode.SetNthControlPointSelected(index, positive)


def isPositive(pointListNode: PointListNode, index: int) -> bool:
    """Tell which kind a point is."""
    return pointListNode.GetNthControlPointDescription(index) != NEGATIVE


def isPlaced(pointListNode: PointListNode, index: int) -> bool:
    """Tell whether a point has its position, or still follows the mouse."""
    return pointListNode.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined


def clicksFromPointList(pointListNode: PointListNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[Click, ...]:
    """Return the placed points of a list, in order, as clicks in the volume node's own RAS frame."""
    return tuple(
        Click(
            worldToVolume(volumeNode, tuple(pointListNode.GetNthControlPointPositionWorld(index))),
            isPositive(pointListNode, index),
        )
        for index in range(pointListNode.GetNumberOfControlPoints())
        if isPlaced(pointListNode, index)
    )


def setClicks(
    pointListNode: PointListNode, clicks: Sequence[Click], volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> None:
    """Make the points of a list those clicks; a point that follows the mouse stays."""
    wasModifying = pointListNode.StartModify()
    for index in reversed(range(pointListNode.GetNumberOfControlPoints())):
        if isPlaced(pointListNode, index):
            pointListNode.RemoveNthControlPoint(index)
    for position, click in enumerate(clicks):
        world = vtk.vtkVector3d(*volumeToWorld(volumeNode, click.world))
        pointListNode.InsertControlPointWorld(position, world, "")
        setPolarity(pointListNode, position, click.positive)
    pointListNode.EndModify(wasModifying)


def sameClicks(some: Sequence[Click], others: Sequence[Click]) -> bool:
    """Tell whether two lists of clicks are the same but for rounding."""
    return len(some) == len(others) and all(sameClick(a, b) for a, b in zip(some, others, strict=True))


def sameClick(a: Click, b: Click) -> bool:
    """Tell whether two clicks are the same but for rounding."""
    return a.positive == b.positive and max(abs(p - q) for p, q in zip(a.world, b.world, strict=True)) < SAME_PLACE
