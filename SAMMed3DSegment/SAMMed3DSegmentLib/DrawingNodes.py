"""Scribbles and lassos in Slicer are Markups curves and closed curves, one for each drawing of a segment.

They refer to segmentation, segment and volume as point lists do, lie under the volume's transform with their corners in
the volume's own frame, and are locked: a drawing is drawn again rather than dragged. Removing one takes it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import slicer
import vtk

from sammed3d.core.drawings import Drawing, Lasso, Scribble
from sammed3d.inference.object_timeline import same_drawing
from SAMMed3DSegmentLib.PointList import GREEN, RED, SEGMENT_ATTRIBUTE, SEGMENTATION_ROLE, VOLUME_ROLE, pointListOf
from SAMMed3DSegmentLib.VolumeBridge import worldToVolume

KIND_ATTRIBUTE = "SAMMed3DSegment.Drawing"
"""Attribute of a curve: "positive" or "negative", and after how many of the segment's clicks it was drawn."""
CLASSES = {Scribble: "vtkMRMLMarkupsCurveNode", Lasso: "vtkMRMLMarkupsClosedCurveNode"}

CurveNode = slicer.vtkMRMLMarkupsCurveNode


def drawingNodes(segmentationNode=None, segmentId: str | None = None) -> Iterator[CurveNode]:
    """Yield the drawings in the scene, or those of a segment, in the order in which they were drawn."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsCurveNode")  # closed ones are curves too
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        if node.GetAttribute(KIND_ATTRIBUTE) is None:
            continue
        if segmentationNode is None or isOf(node, segmentationNode, segmentId):
            yield node


def isOf(node, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str | None) -> bool:
    """Tell whether a curve is a drawing of a segment."""
    return (
        node.GetAttribute(SEGMENT_ATTRIBUTE) == segmentId
        and node.GetNodeReferenceID(SEGMENTATION_ROLE) == segmentationNode.GetID()
    )


def isDrawing(node: slicer.vtkMRMLNode) -> bool:
    """Tell whether a node is a drawing of this module."""
    return bool(node.IsA("vtkMRMLMarkupsCurveNode")) and node.GetAttribute(KIND_ATTRIBUTE) is not None


def drawingOf(node: CurveNode) -> Drawing:
    """Return what a node draws, in its volume's own RAS frame."""
    kind = Lasso if node.IsA("vtkMRMLMarkupsClosedCurveNode") else Scribble
    sign, _, after = node.GetAttribute(KIND_ATTRIBUTE).partition(" ")
    count = node.GetNumberOfControlPoints()
    points = tuple(node.GetNthControlPointPosition(index) for index in range(count))
    return kind(points, sign == "positive", after=int(after or 0))


def fromWorld(
    kind: type[Scribble] | type[Lasso],
    world: Sequence[Sequence[float]],
    positive: bool,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> Drawing:
    """Return what was drawn in the world (RAS mm), in the volume's own frame.

    Raises:
        PromptError: it is no such drawing.
    """
    return kind(tuple(worldToVolume(volumeNode, (r, a, s)) for r, a, s in world), positive)


def setDrawings(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    drawings: Sequence[Drawing],
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Make the curves of a segment those drawings; curves that are right already stay, new ones are shown as clicks."""
    wanted = [drawing for drawing in drawings if not drawing.painted]
    there = list(drawingNodes(segmentationNode, segmentId))
    kept = 0
    while kept < min(len(there), len(wanted)) and same_drawing(drawingOf(there[kept]), wanted[kept]):
        followVolume(there[kept], volumeNode)
        kept += 1
    for node in there[kept:]:
        slicer.mrmlScene.RemoveNode(node)
    points = pointListOf(segmentationNode, segmentId)
    shown = points is None or bool(points.GetDisplayVisibility())
    for drawing in wanted[kept:]:
        _create(segmentationNode, segmentId, drawing, volumeNode).SetDisplayVisibility(shown)


def followVolume(node: CurveNode, volumeNode: slicer.vtkMRMLScalarVolumeNode, hardened: bool = False) -> None:
    """Put a drawing under the transform of its volume, where it moves with it; it stays where one was hardened."""
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    if node.GetParentTransformNode() is volumeNode.GetParentTransformNode():
        return
    places = [node.GetNthControlPointPositionWorld(n) for n in range(node.GetNumberOfControlPoints() * hardened)]
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    for index, place in enumerate(places):
        node.SetNthControlPointPositionWorld(index, place)


def _create(segmentationNode, segmentId: str, drawing: Drawing, volumeNode) -> CurveNode:
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    node = slicer.mrmlScene.CreateNodeByClass(CLASSES[type(drawing)])
    node.UnRegister(None)
    node.SetName(f"{segment.GetName()} {drawing.kind}")
    node.SetAttribute(SEGMENT_ATTRIBUTE, segmentId)
    node.SetAttribute(KIND_ATTRIBUTE, f"{'positive' if drawing.positive else 'negative'} {drawing.after}")
    node.SetCurveTypeToLinear()
    node.SetLocked(True)
    points = vtk.vtkPoints()
    for point in drawing.points:
        points.InsertNextPoint(point)
    slicer.mrmlScene.AddNode(node)
    node.SetNodeReferenceID(SEGMENTATION_ROLE, segmentationNode.GetID())
    followVolume(node, volumeNode)
    for index in range(points.GetNumberOfPoints()):
        node.AddControlPoint(vtk.vtkVector3d(points.GetPoint(index)))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    colour = GREEN if drawing.positive else RED
    display.SetSelectedColor(*colour)
    display.SetColor(*colour)
    showAsLine(display)
    return node


def showAsLine(display: slicer.vtkMRMLMarkupsDisplayNode) -> None:
    """Show a curve as a line: handles would hide what lies under them."""
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetGlyphScale(0.5)
    display.SetLineThickness(1.0)  # of a handle
