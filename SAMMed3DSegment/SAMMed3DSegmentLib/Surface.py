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


@contextmanager
def heldBack(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Iterator[None]:
    """Leave a segment's surface as it is while its voxels are written: making it takes longer than a click."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    surface = segment.GetRepresentation(_name())
    if surface is None:
        yield
        return
    stale = vtk.vtkPolyData()
    stale.ShallowCopy(surface)
    segment.RemoveRepresentation(_name())
    try:
        yield
    finally:
        if segment.GetRepresentation(_name()) is None:
            segment.AddRepresentation(_name(), stale)


def refresh(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Make the surface of one segment anew, where surfaces are shown; those of the others stay."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if segment is None or not isShown(segmentationNode):
        return
    segment.RemoveRepresentation(_name())
    segmentationNode.GetSegmentation().CreateRepresentation(_name())


class SurfaceQueue:
    """Segments whose surfaces are to be made anew when the clicks pause."""

    def __init__(self) -> None:
        self._waiting: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, segmentationId: str, segmentId: str) -> None:
        """Remember a segment of the segmentation with a node id."""
        self._waiting.add((segmentationId, segmentId))

    def refresh(self) -> None:
        """Make the surfaces of all remembered segments anew."""
        waiting, self._waiting = self._waiting, set()
        for segmentationId, segmentId in waiting:
            node = slicer.mrmlScene.GetNodeByID(segmentationId)
            if node is not None:
                refresh(node, segmentId)

    def clear(self) -> None:
        """Forget them."""
        self._waiting.clear()


def _name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
