"""Boxes from Markups ROIs: through transforms, in the history, in the scene, and for models that know none."""

import numpy as np
import pytest
import slicer

from helpers import RegionPredictor, make_affine
from mrmlNodes import linearTransform, voxels
from sammed3d import PromptError, Session
from SAMMed3DSegmentLib import BoxRoi, PointList
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import newPredictor, settle


def roiAt(volumeNode, ijk, size):
    """Add a ROI round a voxel of the volume, of a size in mm along R, A and S."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    centre = volumeFromNode(volumeNode).grid.to_world(ijk)
    node.SetCenter(volumeToWorld(volumeNode, tuple(centre)))
    node.SetSize(size)
    return node


def test_a_box_segments_as_in_a_session_and_can_be_undone(makeSegmenter, volumeNode, segmentationNode):
    segmenter = makeSegmenter(loadPredictor=lambda name: RegionPredictor())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    roi = roiAt(volumeNode, (20, 25, 15), (30.0, 35.0, 20.0))
    segmenter.setBox(segmentId, roi)
    settle(segmenter)
    session = Session(volumeFromNode(volumeNode), RegionPredictor())
    box = BoxRoi.boxOf(roi, volumeNode)
    session.set_box(box.begin, box.end)
    boxed = session.mask()
    assert boxed.any()
    assert np.array_equal(voxels(segmentationNode, segmentId), boxed)
    segmenter.click(segmentId, volumeToWorld(volumeNode, tuple(session.volume.grid.to_world((20, 25, 15)))), False)
    settle(segmenter)
    session.set_clicks(PointList.clicksFromPointList(segmenter.pointsFor(segmentId), volumeNode))
    assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())
    assert segmenter.objectPrompts([segmentId])[0].box == box
    segmenter.undo(segmentId)
    segmenter.undo(segmentId)
    settle(segmenter)
    assert not voxels(segmentationNode, segmentId).any()
    assert segmenter.objectPrompts([segmentId])[0].box is None
    segmenter.redo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), boxed)


def test_a_box_is_saved_with_the_scene(makeSegmenter, volumeNode, segmentationNode):
    segmenter = makeSegmenter(loadPredictor=lambda name: RegionPredictor())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    segmenter.setBox(segmentId, roiAt(volumeNode, (20, 25, 15), (30.0, 35.0, 20.0)))
    settle(segmenter)
    boxed = voxels(segmentationNode, segmentId).copy()
    later = makeSegmenter(loadPredictor=lambda name: RegionPredictor())  # knows only what is in the scene
    later.click(segmentId, volumeToWorld(volumeNode, tuple(volumeFromNode(volumeNode).grid.to_world((20, 25, 15)))))
    settle(later)
    later.undo(segmentId)
    settle(later)
    assert np.array_equal(voxels(segmentationNode, segmentId), boxed)
    assert later.canUndo(segmentId), "the box itself"


def test_a_turned_roi_under_a_moved_volume_gives_the_box_round_it(volumeNode):
    roi = roiAt(volumeNode, (20, 25, 15), (10.0, 20.0, 30.0))
    plain = BoxRoi.boxOf(roi, volumeNode)
    assert np.allclose(np.subtract(plain.end, plain.begin), (10, 20, 30))
    assert np.allclose(plain.middle, volumeFromNode(volumeNode).grid.to_world((20, 25, 15)))
    transform = linearTransform(slicer.mrmlScene, make_affine((1, 1, 1), (0.4, 0.0, 0.0), (5, 6, 7)))
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    roi.SetAndObserveTransformNodeID(transform.GetID())
    assert np.allclose(BoxRoi.boxOf(roi, volumeNode).corners, plain.corners, atol=1e-6), "both moved together"
    roi.SetAndObserveTransformNodeID(None)
    turned = BoxRoi.boxOf(roi, volumeNode)
    assert np.subtract(turned.end, turned.begin).max() > 30


def test_rois_that_crop_or_are_hidden_are_not_taken_for_a_box(scene, volumeNode):
    assert BoxRoi.newestRoi() is None
    drawn = roiAt(volumeNode, (20, 25, 15), (30.0, 35.0, 20.0))
    drawn.CreateDefaultDisplayNodes()
    rendering = scene.AddNode(slicer.vtkMRMLGPURayCastVolumeRenderingDisplayNode())
    rendering.SetAndObserveROINodeID(roiAt(volumeNode, (10, 10, 10), (9.0, 9.0, 9.0)).GetID())
    cropping = scene.AddNode(slicer.vtkMRMLCropVolumeParametersNode())
    cropping.SetROINodeID(roiAt(volumeNode, (10, 10, 10), (9.0, 9.0, 9.0)).GetID())
    assert BoxRoi.newestRoi() is drawn
    drawn.SetDisplayVisibility(False)
    assert BoxRoi.newestRoi() is None
    drawn.SetDisplayVisibility(True)
    newer = roiAt(volumeNode, (20, 25, 15), (9.0, 9.0, 9.0))
    assert BoxRoi.newestRoi() is newer


def test_what_cannot_be_is_said_and_changes_nothing(makeSegmenter, volumeNode, segmentationNode):
    segmenter = makeSegmenter(loadPredictor=lambda name: newPredictor())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    with pytest.raises(PromptError, match="lies outside"):
        segmenter.setBox(segmentId, roiAt(volumeNode, (200, 25, 15), (30.0, 35.0, 20.0)))
    with pytest.raises(PromptError, match="has no size yet"):
        segmenter.setBox(segmentId, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "empty"))
    assert not segmenter.canUndo(segmentId)
    assert segmenter.objectPrompts([segmentId])[0].box is None


def test_a_model_that_knows_no_boxes_is_told_of_them_in_clicks(makeSegmenter, volumeNode, segmentationNode):
    segmenter = makeSegmenter(loadPredictor=lambda name: newPredictor())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    segmenter.setBox(segmentId, roiAt(volumeNode, (20, 25, 15), (30.0, 35.0, 20.0)))
    settle(segmenter)
    assert segmenter.objectPrompts([segmentId])[0].box is not None
    assert segmenter.canUndo(segmentId)
