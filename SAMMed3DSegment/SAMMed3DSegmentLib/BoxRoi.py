"""A box prompt is copied from a Markups ROI that the user drew, and kept as text beside the points of its segment."""

from __future__ import annotations

import itertools
import json

import numpy as np
import slicer

from sammed3d import BoxPrompt, PromptError
from SAMMed3DSegmentLib.VolumeBridge import arrayFromMatrix, worldToVolume

BOX_ATTRIBUTE = "SAMMed3DSegment.Box"
"""Attribute of a point list: the corners of the segment's box, in the volume's own frame."""


def newestRoi() -> slicer.vtkMRMLMarkupsROINode | None:
    """Return the ROI that was added to the scene last; None if there is none."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsROINode")
    nodes.UnRegister(None)
    count = nodes.GetNumberOfItems()
    return nodes.GetItemAsObject(count - 1) if count else None


def boxOf(roiNode: slicer.vtkMRMLMarkupsROINode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> BoxPrompt:
    """Return the box round a ROI, which may be turned, in the volume's own RAS frame.

    Raises:
        PromptError: the ROI has no size.
    """
    half = np.array(roiNode.GetSize()) / 2
    if half.min() <= 0:
        raise PromptError(f"{roiNode.GetName()}: this ROI has no size yet. Draw it round the object.")
    toWorld = arrayFromMatrix(roiNode.GetObjectToWorldMatrix())
    corners = []
    for signs in itertools.product((-1, 1), repeat=3):
        world = toWorld @ [*(half * signs), 1]
        corners.append(worldToVolume(volumeNode, tuple(world[:3])))
    (a, b, c), (d, e, f) = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
    return BoxPrompt((a, b, c), (d, e, f))


def keepBox(points: slicer.vtkMRMLMarkupsFiducialNode, box: BoxPrompt | None) -> None:
    """Write a segment's box into the scene, or take it out."""
    if box is None:
        points.RemoveAttribute(BOX_ATTRIBUTE)
    else:
        points.SetAttribute(BOX_ATTRIBUTE, json.dumps([*box.begin, *box.end]))


def keptBox(points: slicer.vtkMRMLMarkupsFiducialNode) -> BoxPrompt | None:
    """Return the box that `keepBox` wrote; None if there is none."""
    text = points.GetAttribute(BOX_ATTRIBUTE)
    if not text:
        return None
    a, b, c, d, e, f = json.loads(text)
    return BoxPrompt((a, b, c), (d, e, f))
