"""The masks that segments started from, kept in the scene so that their clicks can be replayed tomorrow.

They are segments of a hidden segmentation node beside the user's, under the same segment ids.
"""

from __future__ import annotations

import slicer

from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import labelmapOf

ROLE = "SAMMed3DSegment.StartingMasks"


def startingMask(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> BoxedMask | None:
    """Return the mask that a segment started from, on the volume's grid; None if from nothing."""
    store = segmentationNode.GetNodeReference(ROLE)
    if store is None or store.GetSegmentation().GetSegment(segmentId) is None:
        return None
    return maskOfSegment(store, segmentId, volumeNode)


def keepStartingMask(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    mask: BoxedMask | None,
) -> None:
    """Keep the mask that a segment started from; None forgets it."""
    store = segmentationNode.GetNodeReference(ROLE)
    if store is None:
        if mask is None:
            return
        store = _createStore(segmentationNode)
    segmentation = store.GetSegmentation()
    if segmentation.GetSegment(segmentId) is not None:
        segmentation.RemoveSegment(segmentId)
    if mask is None:
        return
    segmentation.AddEmptySegment(segmentId, segmentId)
    store.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    labelmap = labelmapOf(mask.box, mask.voxels, volumeNode)
    logic.SetBinaryLabelmapToSegment(labelmap, store, segmentId, logic.MODE_REPLACE)


def _createStore(segmentationNode: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode:
    store = slicer.vtkMRMLSegmentationNode()
    store.SetName(f"{segmentationNode.GetName()} starting masks")
    store.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(store)
    segmentationNode.SetNodeReferenceID(ROLE, store.GetID())
    return store
