"""Clicks in Slicer are control points of a point list; their description says which kind they are."""

from __future__ import annotations

import slicer
import vtk

from sammed3d import Click
from SAMMed3DSegmentLib.VolumeBridge import worldToVolume

POSITIVE, NEGATIVE = "positive", "negative"
"""What a control point's description says. Any other text means positive."""


def addClick(
    pointListNode: slicer.vtkMRMLMarkupsFiducialNode, world: tuple[float, float, float], positive: bool = True
) -> int:
    """Append a click at a world position (RAS mm) to a point list; returns its index."""
    index = pointListNode.AddControlPointWorld(vtk.vtkVector3d(*world))
    pointListNode.SetNthControlPointDescription(index, POSITIVE if positive else NEGATIVE)
    return index


def clicksFromPointList(
    pointListNode: slicer.vtkMRMLMarkupsFiducialNode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> list[Click]:
    """Return the placed points of a list, in order, as clicks in the volume node's own RAS frame."""
    clicks = []
    for index in range(pointListNode.GetNumberOfControlPoints()):
        status = pointListNode.GetNthControlPointPositionStatus(index)
        if status != slicer.vtkMRMLMarkupsNode.PositionDefined:
            continue
        world = pointListNode.GetNthControlPointPositionWorld(index)
        positive = pointListNode.GetNthControlPointDescription(index) != NEGATIVE
        clicks.append(Click(worldToVolume(volumeNode, tuple(world)), positive))
    return clicks
