"""3-D surfaces of segments, made anew only when the clicks pause, and only of the segment that changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer
import vtk


def isShown(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """Tell whether the segmentation has 3-D surfaces."""
    return segmentationNode.GetSegmentation().ContainsRepresentation(_name())


def show(segmentationNode: slicer.vtkMRMLSegmentationNode, shown: bool) -> None:
    """Make the 3-D surfaces of all segments, or remove them."""
    if shown:
        segmentationNode.CreateClosedSurfaceRepresentation()
    else:
        segmentationNode.RemoveClosedSurfaceRepresentation()


STALE = "SAMMed3DSegment.Stale"
"""Field array of a surface that is older than its segment's voxels."""


@contextmanager
def heldBack(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Iterator[None]:
    """Leave a segment's surface as it is while its voxels are written: making it takes longer than a click.

    The surface is stale afterwards, and `refresh` makes it anew.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    surface = segment.GetRepresentation(_name())
    if surface is None:
        yield
        return
    stale = vtk.vtkPolyData()
    stale.ShallowCopy(surface)
    mark = vtk.vtkIntArray()
    mark.SetName(STALE)
    stale.GetFieldData().AddArray(mark)
    segment.RemoveRepresentation(_name())
    try:
        yield
    finally:
        if segment.GetRepresentation(_name()) is None:
            segment.AddRepresentation(_name(), stale)


def refresh(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Make the surfaces anew that are stale or missing, where surfaces are shown; the others stay."""
    if not isShown(segmentationNode):
        return
    segmentation = segmentationNode.GetSegmentation()
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        surface = segment.GetRepresentation(_name())
        if surface is not None and surface.GetFieldData().HasArray(STALE):
            segment.RemoveRepresentation(_name())
    segmentation.CreateRepresentation(_name())


class SurfaceQueue:
    """Segmentations of which surfaces are to be made anew when the clicks pause."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, segmentationId: str) -> None:
        """Remember the segmentation with a node id."""
        self._waiting.add(segmentationId)

    def refresh(self) -> None:
        """Make the stale surfaces of all remembered segmentations anew."""
        waiting, self._waiting = self._waiting, set()
        for segmentationId in waiting:
            node = slicer.mrmlScene.GetNodeByID(segmentationId)
            if node is not None:
                refresh(node)

    def clear(self) -> None:
        """Forget them."""
        self._waiting.clear()


def _name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
