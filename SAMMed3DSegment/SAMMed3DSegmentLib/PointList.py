"""Clicks in Slicer are control points of a point list, one list for each segment.

A point's description says which kind it is. Its label, a sign, and its "selected" state follow, so that one list shows
positive points in green and negative ones in red, as drawings are. The list refers to its segmentation and volume by
node references, which survive saving, and names its segment in an attribute. It is under the volume's transform: its
points are in the volume's own frame and move with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import slicer
import vtk

from sammed3d import Click
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib.VolumeBridge import volumeToWorld, worldToVolume

POSITIVE, NEGATIVE = "positive", "negative"
"""What a control point's description says. Any other text means positive."""
SEGMENTATION_ROLE, VOLUME_ROLE = "SAMMed3DSegment.Segmentation", "SAMMed3DSegment.Volume"
SEGMENT_ATTRIBUTE = "SAMMed3DSegment.SegmentID"
SIGNS = {True: "+", False: "-"}
"""Labels of positive and negative points in the views."""
GREEN, RED = (0.1, 0.85, 0.2), (1.0, 0.15, 0.1)
"""Colours of prompts that add and that take away."""
WHITE = (1.0, 1.0, 1.0)
"""Colour of a point under the mouse, of either kind: by default markups have a green one."""

PointListNode = slicer.vtkMRMLMarkupsFiducialNode


def createPointList(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    shown: bool | None = None,
) -> PointListNode:
    """Add an empty point list for a segment to the scene; unless told, it is hidden where all others are."""
    others = list(pointLists())
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", listName(segment))
    node.SetAttribute(SEGMENT_ATTRIBUTE, segmentId)
    node.SetNodeReferenceID(SEGMENTATION_ROLE, segmentationNode.GetID())
    followVolume(node, volumeNode)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetPointLabelsVisibility(True)
    display.SetPropertiesLabelVisibility(False)
    display.SetGlyphScale(2.0)
    display.SetTextScale(4.0)
    display.SetSelectedColor(*GREEN)
    display.SetColor(*RED)
    display.SetActiveColor(*WHITE)
    if shown is None:
        shown = not others or any(points.GetDisplayVisibility() for points in others)
    node.SetDisplayVisibility(shown)
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


def followVolume(
    pointListNode: PointListNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    sameImage: bool = False,
    hardened: bool = False,
) -> None:
    """Put a point list under the transform of its volume.

    Where the volume was put under another transform, its points go with it, unless that is because the one before was
    hardened: then they stay where they are in the world. Where the list gets another volume, they stay there too, or in
    the image, if that volume is of the same image.
    """
    if pointListNode.GetNodeReferenceID(VOLUME_ROLE) == volumeNode.GetID():
        sameImage = True
    else:
        pointListNode.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    if pointListNode.GetParentTransformNode() is volumeNode.GetParentTransformNode():
        return
    count = pointListNode.GetNumberOfControlPoints()
    places = [tuple(pointListNode.GetNthControlPointPositionWorld(index)) for index in range(count)]
    pointListNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    for index, place in enumerate(places if hardened or not sameImage else ()):
        if isPlaced(pointListNode, index):
            pointListNode.SetNthControlPointPositionWorld(index, place)


def followSegment(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Give the point list of a segment its name; nothing where it has none."""
    segment, points = segmentationNode.GetSegmentation().GetSegment(segmentId), pointListOf(segmentationNode, segmentId)
    if segment is not None and points is not None and points.GetName() != listName(segment):
        points.SetName(listName(segment))


def listName(segment: slicer.vtkSegment) -> str:
    """Return what the point list of a segment is called."""
    return f"{segment.GetName()} clicks"


def addClick(pointListNode: PointListNode, world: Sequence[float], positive: bool = True) -> int:
    """Append a click at a world position (RAS mm) to a point list; returns its index."""
    index = pointListNode.AddControlPointWorld(vtk.vtkVector3d(*world))
    setPolarity(pointListNode, index, positive)
    return index


def liftLimits(pointListNode: PointListNode) -> None:
    """Let a list take and lose any number of points: where the module Markups fixed it, clicks would be lost."""
    if pointListNode.GetFixedNumberOfControlPoints():
        pointListNode.SetFixedNumberOfControlPoints(False)
    if pointListNode.GetMaximumNumberOfControlPoints() >= 0:
        pointListNode.SetMaximumNumberOfControlPoints(-1)


def setPolarity(pointListNode: PointListNode, index: int, positive: bool) -> None:
    """Say which kind a point is, and colour it."""
    if pointListNode.GetNthControlPointDescription(index) != (POSITIVE if positive else NEGATIVE):
        pointListNode.SetNthControlPointDescription(index, POSITIVE if positive else NEGATIVE)
    if pointListNode.GetNthControlPointLabel(index) != SIGNS[positive]:
        pointListNode.SetNthControlPointLabel(index, SIGNS[positive])
    if bool(pointListNode.GetNthControlPointSelected(index)) != positive:
        pointListNode.SetNthControlPointSelected(index, positive)


def isPositive(pointListNode: PointListNode, index: int) -> bool:
    """Tell which kind a point is."""
    return pointListNode.GetNthControlPointDescription(index) != NEGATIVE


def isPlaced(pointListNode: PointListNode, index: int) -> bool:
    """Tell whether a point has its position, or still follows the mouse."""
    return pointListNode.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined


def kinds(pointListNode: PointListNode) -> list[bool]:
    """Return which kind each placed point is, in order: True for positive."""
    count = pointListNode.GetNumberOfControlPoints()
    return [isPositive(pointListNode, index) for index in range(count) if isPlaced(pointListNode, index)]


def placed(pointListNode: PointListNode) -> list[tuple[float, ...]]:
    """Return where the placed points are (world RAS mm), in order."""
    count = pointListNode.GetNumberOfControlPoints()
    places = [tuple(pointListNode.GetNthControlPointPositionWorld(index)) for index in range(count)]
    return [place for index, place in enumerate(places) if isPlaced(pointListNode, index)]


def clicksFromPointList(pointListNode: PointListNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[Click, ...]:
    """Return the placed points of a list, in order, as clicks in the volume node's own RAS frame."""
    return tuple(
        Click(_place(pointListNode, index, volumeNode), isPositive(pointListNode, index))
        for index in range(pointListNode.GetNumberOfControlPoints())
        if isPlaced(pointListNode, index)
    )


def setClicks(
    pointListNode: PointListNode, clicks: Sequence[Click], volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> None:
    """Make the points of a list those clicks; a point that follows the mouse stays."""
    if same_clicks(clicksFromPointList(pointListNode, volumeNode), clicks):
        return
    wasModifying = pointListNode.StartModify()
    for index in reversed(range(pointListNode.GetNumberOfControlPoints())):
        if isPlaced(pointListNode, index):
            pointListNode.RemoveNthControlPoint(index)
    sameFrame = pointListNode.GetParentTransformNode() is volumeNode.GetParentTransformNode()
    for position, click in enumerate(clicks):
        if sameFrame:
            pointListNode.InsertControlPoint(position, vtk.vtkVector3d(*click.world), "")
        else:
            world = vtk.vtkVector3d(*volumeToWorld(volumeNode, click.world))
            pointListNode.InsertControlPointWorld(position, world, "")
        setPolarity(pointListNode, position, click.positive)
    pointListNode.EndModify(wasModifying)


def _place(
    pointListNode: PointListNode, index: int, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> tuple[float, float, float]:
    """Return where a point is in the volume's own frame; without a way through the world where both share it."""
    if pointListNode.GetParentTransformNode() is volumeNode.GetParentTransformNode():
        return pointListNode.GetNthControlPointPosition(index)
    return worldToVolume(volumeNode, tuple(pointListNode.GetNthControlPointPositionWorld(index)))
