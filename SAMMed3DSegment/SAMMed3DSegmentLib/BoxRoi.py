"""Box prompts from Markups ROIs that the user drew."""

from __future__ import annotations

import itertools

import numpy as np
import slicer

from sammed3d import BoxPrompt, PromptError
from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix
from SAMMed3DSegmentLib.VolumeBridge import worldToVolume


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
