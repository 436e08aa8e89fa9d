"""Whether somebody else changed a segment since this module wrote it last."""

from __future__ import annotations

import slicer
import vtk

from SAMMed3DSegmentLib.SegmentReader import digestOfSegment

WRITTEN_TAG = "SAMMed3DSegment.Written"
"""Segment tag: digest of the segment's voxels as this module last wrote them. It is saved with the segmentation."""


class SegmentDigests:
    """Compare segments with what was written into them; voxels are read again after their labelmap or label changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[object, tuple[int, int], str]] = {}

    def differs(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
        """Tell whether a segment holds something else than was written; a segment that is gone does not."""
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        if segment is None:
            return False
        written = vtk.mutable("")
        known = segment.GetTag(WRITTEN_TAG, written)
        return not known or str(written) != self.now(segmentationNode, segmentId)

    def mark(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, digest: str | None = None) -> None:
        """Remember that what a segment holds now, or what a digest says, was written by this module."""
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        segment.SetTag(WRITTEN_TAG, self.now(segmentationNode, segmentId) if digest is None else digest)

    def forget(self) -> None:
        """Drop what refers to the scene."""
        self._known.clear()

    def now(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str:
        """Return the digest of what a segment holds."""
        name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        labelmap = segment.GetRepresentation(name)
        stamp = 0 if labelmap is None else labelmap.GetMTime(), segment.GetLabelValue()
        key = segmentationNode.GetID(), segmentId
        known = self._known.get(key)
        if known is None or known[0] is not labelmap or known[1] != stamp:
            known = self._known[key] = labelmap, stamp, digestOfSegment(segmentationNode, segmentId)
        return known[2]
