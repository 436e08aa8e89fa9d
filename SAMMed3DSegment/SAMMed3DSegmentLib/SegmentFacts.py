"""What is to be known of a segment: how large it is, where it is, what the next one of its kind could be called."""

from __future__ import annotations

import colorsys
import re

import numpy as np
import slicer
import vtk

from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix
from SAMMed3DSegmentLib.SegmentReader import heldMask, labelmapOfSegment

HUE_STEP = 0.09
"""By how much, of the colour circle, the next segment of a kind differs."""


class SegmentVolumes:
    """Volumes of segments in ml; voxels are counted again only after their labelmap or their label changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[object, tuple[int, int], float]] = {}

    def of(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> float | None:
        """Return a segment's volume in the world, ml; None where a transform that is not linear hides it."""
        scale = _scale(segmentationNode.GetParentTransformNode())
        if scale is None:
            return None
        labelmap = labelmapOfSegment(segmentationNode, segmentId)
        label = segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue()
        key, stamp = (segmentationNode.GetID(), segmentId), (0 if labelmap is None else labelmap.GetMTime(), label)
        known = self._known.get(key)
        if known is None or known[0] is not labelmap or known[1] != stamp:
            matrix, held = heldMask(segmentationNode, segmentId)
            count = 0 if held is None else int(np.count_nonzero(held.voxels))
            known = self._known[key] = labelmap, stamp, count * abs(np.linalg.det(matrix[:3, :3])) / 1000
        return known[2] * scale

    def forget(self) -> None:
        """Drop what refers to the scene."""
        self._known.clear()


def middleOf(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> tuple[float, ...] | None:
    """Return the place inside a segment that is nearest to its middle (world RAS mm); None for an empty one."""
    matrix, held = heldMask(segmentationNode, segmentId)
    if held is None:
        return None
    inside = matrix @ [*np.add(_middle(held.voxels), held.box.begin), 1]
    transform = vtk.vtkGeneralTransform()
    parent = segmentationNode.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, transform)
    return transform.TransformPoint(inside[:3])


def newSegmentation(volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation for a volume to the scene, on its grid and under its transform."""
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentation.CreateDefaultDisplayNodes()
    # In this order: the geometry is that of the volume in the segmentation's own frame.
    segmentation.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    return segmentation


def addNext(segmentation: slicer.vtkSegmentation, lastId: str) -> str:
    """Add an empty segment, of the kind of another one if somebody named that; returns its id.

    It has the other one's term, its name with the next free number, and a colour beside its colour.
    """
    last = segmentation.GetSegment(lastId)
    if last is None or re.fullmatch(r"Segment(_\d+)?", last.GetName()):
        return segmentation.AddEmptySegment()
    names = {segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())}
    stem = re.sub(r"[ _]\d+$", "", last.GetName())
    name = next(name for n in range(2, len(names) + 3) if (name := f"{stem} {n}") not in names)
    hue, light, saturation = colorsys.rgb_to_hls(*last.GetColor())
    color = colorsys.hls_to_rgb((hue + HUE_STEP) % 1, light, max(saturation, 0.4))
    segmentId = segmentation.AddEmptySegment("", name, [*color])
    if entry := terminologyOf(last):
        segmentation.GetSegment(segmentId).SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
    return segmentId


def terminologyOf(segment: slicer.vtkSegment) -> str:
    """Return the terminology entry of a segment; "" if it has none."""
    entry = vtk.mutable("")
    return str(entry) if segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry) else ""


def _middle(voxels: np.ndarray) -> tuple[int, int, int]:
    """Return the index of the filled voxel of a mask (I, J, K) that is nearest to its middle, in voxels.

    Plane by plane, from the middle outward, until no nearer one is possible: large masks need no memory of their size.
    """
    flat = voxels.T.sum(axis=0, dtype=np.int32)  # (J, I), along the axis on which that is quick
    counts = flat.sum(axis=0), flat.sum(axis=1), np.array([np.count_nonzero(plane) for plane in voxels.T])
    i, j, k = (float(np.arange(len(line)) @ line / line.sum()) for line in counts)
    nearest, best = (0, 0, 0), np.inf
    for index in sorted(np.flatnonzero(counts[2]).tolist(), key=lambda each: abs(each - k)):
        if abs(index - k) >= best:
            break
        rows, columns = np.nonzero(voxels[:, :, index])
        distances = np.sqrt((rows - i) ** 2 + (columns - j) ** 2 + (index - k) ** 2)
        first = int(np.argmin(distances))
        if distances[first] < best:
            nearest, best = (int(rows[first]), int(columns[first]), index), float(distances[first])
    return nearest


def _scale(parent: slicer.vtkMRMLTransformNode | None) -> float | None:
    """By how much a transform to the world makes volumes larger; None where that differs from place to place."""
    if parent is None:
        return 1.0
    if not parent.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return abs(float(np.linalg.det(arrayFromMatrix(matrix)[:3, :3])))
