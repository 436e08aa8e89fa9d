"""Box prompts from Markups ROIs that the user drew."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import slicer

from sammed3d import BoxPrompt, PromptError
from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix
from SAMMed3DSegmentLib.VolumeBridge import worldToVolume

CROPS = ("vtkMRMLVolumeRenderingDisplayNode", "vtkMRMLCropVolumeParametersNode")
"""Classes of nodes that have a ROI to crop a volume."""


def newestRoi() -> slicer.vtkMRMLMarkupsROINode | None:
    """Return the ROI that was added to the scene last; None if there is none.

    ROIs that are hidden, and those that crop volumes, were not drawn round an object: they are left out.
    """
    crops = {node.GetROINodeID() for className in CROPS for node in _nodes(className)}
    rois = [node for node in _nodes("vtkMRMLMarkupsROINode") if node.GetID() not in crops and not _isHidden(node)]
    return rois[-1] if rois else None


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


def _nodes(className: str) -> list[Any]:
    nodes = slicer.mrmlScene.GetNodesByClass(className)
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]


def _isHidden(roiNode: slicer.vtkMRMLMarkupsROINode) -> bool:
    return roiNode.GetDisplayNode() is not None and not roiNode.GetDisplayVisibility()
