"""Scenes saved, opened again and exchanged: all steps of undo come back, and only with their own scene."""

import numpy as np
import slicer

from helpers import phantom
from mrmlNodes import OBLIQUE, addSegment, addVolume, drawByHand, voxels
from sammed3d import Box
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib import PointList, SceneRecord
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import OVERWRITE_ATTRIBUTE, overwriteMode, ownEditorNode
from segmenters import SPOTS, clickAt, clicksOf, expectedMask, sessionMask, settle, worldOf


def reopened(scene, segmenter, tmp_path, names=("CT", "Segmentation")):
    """Save the scene, close it, open it again, and go on in it."""
    file = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(file)
    scene.Clear(0)
    assert scene.ReadFromMRB(file)
    volumeNode, segmentationNode = (slicer.util.getNode(name) for name in names)
    segmenter.setInput(volumeNode, segmentationNode)
    return volumeNode, segmentationNode


def test_a_reopened_scene_undoes_and_redoes_everything(segmenter, scene, segmentationNode, volumeNode, liver, tmp_path):
    """Clicks, a moved point, a hand edit, a reset, and what was undone: all of it is there tomorrow."""
    segmenter.model = "other"
    masks = [voxels(segmentationNode, liver)]

    def remember():
        settle(segmenter)
        masks.append(voxels(segmentationNode, liver))

    clickAt(segmenter, liver, SPOTS[0])
    remember()
    segmenter.pointsFor(liver).SetNthControlPointPositionWorld(0, worldOf(segmenter, SPOTS[3]))
    remember()
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    remember()
    clickAt(segmenter, liver, SPOTS[2], positive=False)
    remember()
    segmenter.reset(liver)
    remember()
    segmenter.model = "default"
    clickAt(segmenter, liver, SPOTS[1])
    remember()
    for _ in range(2):
        segmenter.undo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), masks[4])
    volumeNode, segmentationNode = reopened(scene, segmenter, tmp_path)
    assert segmenter.canUndo(liver), "before anything is pressed"
    assert segmenter.canRedo(liver)
    for expected in masks[5:]:
        segmenter.redo(liver)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, liver), expected)
    assert not segmenter.canRedo(liver)
    for expected in reversed(masks[:-1]):
        segmenter.undo(liver)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, liver), expected)
    assert not segmenter.canUndo(liver)


def test_a_scene_saved_while_clicks_wait_keeps_them(
    segmenter, scene, segmentationNode, volumeNode, liver, models, tmp_path
):
    clickAt(segmenter, liver, SPOTS[0])
    models["default"].gate.clear()
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    wanted = clicksOf(segmenter, liver)
    volumeNode, segmentationNode = reopened(scene, segmenter, tmp_path)
    models["default"].gate.set()
    segmenter.redo(liver)
    settle(segmenter)
    assert same_clicks(clicksOf(segmenter, liver), wanted)
    assert np.array_equal(voxels(segmentationNode, liver), sessionMask(volumeNode, models["default"], wanted))


def test_a_scene_swapped_during_a_prediction_does_not_get_the_other_scenes_mask(
    segmenter, scene, segmentationNode, volumeNode, liver, models
):
    """Nodes of the next scene have the same ids; no panel tells the segmenter that the scene was closed."""
    models["default"].gate.clear()
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    scene.Clear(0)
    volumeNode = addVolume(scene, phantom((40, 50, 30)), OBLIQUE)
    segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    again = segmentationNode.GetSegmentation().AddEmptySegment("liver", "liver")
    segmenter.setInput(volumeNode, segmentationNode)
    segmenter.pointsFor(again)
    models["default"].gate.set()
    settle(segmenter)
    assert not voxels(segmentationNode, again).any()
    assert clicksOf(segmenter, again) == ()


def test_a_damaged_record_is_like_a_segment_drawn_by_hand(
    segmenter, makeSegmenter, segmentationNode, volumeNode, liver, models
):
    clickAt(segmenter, liver, SPOTS[0])
    before = voxels(segmentationNode, liver)
    segmenter.forgetScene()
    points = PointList.pointListOf(segmentationNode, liver)
    for damaged in (
        '{"version":1,"states":[]}',
        '{"version":1}',
        "{",
        '{"version":7}',
        '{"version":1,"states":[[9,[[1,2]],0]]}',
        '{"version":1,"states":[],"position":0,"image":"","placement":""}',
        "[]",
        "1",
    ):
        points.SetAttribute(SceneRecord.TIMELINE_ATTRIBUTE, damaged)
        later = makeSegmenter()
        later.pointsFor(liver)
        assert not later.canUndo(liver)
        assert np.array_equal(voxels(segmentationNode, liver), before)
        later.forgetScene()
    ownEditorNode().SetAttribute(OVERWRITE_ATTRIBUTE, "no mode")
    assert overwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteNone


def test_a_saved_scene_goes_on_where_it_was(segmenter, scene, segmentationNode, volumeNode, predictor, tmp_path):
    drawnId, plainId = addSegment(segmentationNode, "drawn"), addSegment(segmentationNode, "plain")
    drawByHand(segmentationNode, drawnId, volumeNode, Box((5, 5, 5), (25, 25, 15)))
    base = voxels(segmentationNode, drawnId)
    for segmentId in (drawnId, plainId):
        for n, spot in enumerate(SPOTS[:3]):
            segmenter.click(segmentId, worldOf(segmenter, spot), positive=n != 1)
    settle(segmenter)
    masks = {s: voxels(segmentationNode, s) for s in (drawnId, plainId)}
    clicks = {s: clicksOf(segmenter, s) for s in (drawnId, plainId)}
    file = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(file)
    segmenter.forgetScene()
    scene.Clear(0)
    assert scene.ReadFromMRB(file)
    volumeNode = slicer.util.getNode("CT")
    segmentationNode = slicer.util.getNode("Segmentation")
    segmenter.setInput(volumeNode, segmentationNode)
    predictor.calls.clear()
    for segmentId, mask in masks.items():
        assert np.array_equal(voxels(segmentationNode, segmentId), mask)
        assert same_clicks(clicksOf(segmenter, segmentId), clicks[segmentId])
        assert not SegmentDigests().differs(segmentationNode, segmentId)
    assert not predictor.calls, "opening a scene predicts nothing"
    segmenter.click(plainId, worldOf(segmenter, SPOTS[3]))
    settle(segmenter)
    expected = expectedMask(volumeNode, clicksOf(segmenter, plainId))
    assert len(clicksOf(segmenter, plainId)) == 4
    assert np.array_equal(voxels(segmentationNode, plainId), expected)
    for _ in range(3):
        segmenter.undo(drawnId)
        settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, drawnId), base), "undo still works, down to what was drawn"


def test_a_copy_of_a_segmentation_leaves_the_first_ones_starting_masks(
    segmenter, scene, segmentationNode, volumeNode, liver, tmp_path
):
    """Slicer's *Clone* copies references too; both segmentations have segments of the same ids."""
    drawByHand(segmentationNode, liver, volumeNode, Box((2, 2, 2), (8, 8, 8)))
    drawn = voxels(segmentationNode, liver)
    clickAt(segmenter, liver, SPOTS[0])
    copy = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    copy.UnRegister(None)
    copy.Copy(segmentationNode)
    copy.SetName("copy")
    copy = scene.AddNode(copy)
    segmenter.setInput(volumeNode, copy)
    clickAt(segmenter, liver, SPOTS[1])
    before = voxels(copy, liver)
    volumeNode, segmentationNode = reopened(scene, segmenter, tmp_path)
    copy = slicer.util.getNode("copy")
    segmenter.setInput(volumeNode, copy)
    assert np.array_equal(voxels(copy, liver), before)
    segmenter.undo(liver)
    assert not np.array_equal(voxels(copy, liver), before)
    scene.RemoveNode(copy)
    volumeNode, segmentationNode = reopened(scene, segmenter, tmp_path)
    assert segmenter.canUndo(liver)
    segmenter.undo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), drawn)


def test_segments_whose_ids_begin_alike_keep_their_starting_masks(
    segmenter, scene, segmentationNode, volumeNode, tmp_path
):
    """Imported segments have their names as ids: "lung" and "lung:left"."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.AddEmptySegment(name, name) for name in ("lung:left", "lung")]
    drawn = {}
    for number, segmentId in enumerate(ids):
        drawByHand(segmentationNode, segmentId, volumeNode, Box((2, 2, 2), (8, 8, 8 + number)))
        drawn[segmentId] = voxels(segmentationNode, segmentId)
    for segmentId in ids:
        clickAt(segmenter, segmentId, SPOTS[0])
    volumeNode, segmentationNode = reopened(scene, segmenter, tmp_path)
    for segmentId in ids:
        assert segmenter.canUndo(segmentId)
        segmenter.undo(segmentId)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, segmentId), drawn[segmentId])


def storeOf(segmentationNode):
    """The hidden segmentation that holds the starting masks of another one."""
    return segmentationNode.GetNodeReference(SceneRecord.ROLE)


def test_starting_masks_are_hidden_and_go_when_no_step_needs_them(
    segmenter, scene, segmentationNode, volumeNode, liver
):
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    clickAt(segmenter, liver, SPOTS[0])
    store = storeOf(segmentationNode)
    assert store.GetHideFromEditors(), "no selector offers it"
    [first] = store.GetSegmentation().GetSegmentIDs()
    drawByHand(segmentationNode, liver, volumeNode, Box((6, 6, 6), (9, 9, 9)))
    clickAt(segmenter, liver, SPOTS[1])
    assert first in store.GetSegmentation().GetSegmentIDs(), "undo may come back to it"
    assert store.GetSegmentation().GetNumberOfSegments() == 2
    other = addVolume(scene, phantom((40, 50, 30), 2), OBLIQUE, "another image")
    volumeNode.SetAndObserveImageData(other.GetImageData())
    clickAt(segmenter, liver, SPOTS[2])
    [now] = store.GetSegmentation().GetSegmentIDs()
    assert now != first


def test_starting_masks_of_volumes_of_different_voxels_lie_in_one_scene(
    segmenter, scene, segmentationNode, volumeNode, liver, spleen, tmp_path
):
    coarse = addVolume(scene, phantom((20, 25, 15)), OBLIQUE @ np.diag((2, 2, 2, 1)), "coarse")
    drawn = {}
    for segmentId, node, spot in ((liver, volumeNode, SPOTS[0]), (spleen, coarse, (10, 12, 7))):
        segmenter.setInput(node, segmentationNode)
        drawByHand(segmentationNode, segmentId, volumeNode, Box((2, 4, 6), (12, 14, 16)))
        drawn[segmentId] = maskOfSegment(segmentationNode, segmentId, node).full(node.GetImageData().GetDimensions())
        clickAt(segmenter, segmentId, spot)
    _, segmentationNode = reopened(scene, segmenter, tmp_path)
    for segmentId, name in ((liver, "CT"), (spleen, "coarse")):
        node = slicer.util.getNode(name)
        segmenter.setInput(node, segmentationNode)
        segmenter.undo(segmentId)
        settle(segmenter)
        held = maskOfSegment(segmentationNode, segmentId, node).full(node.GetImageData().GetDimensions())
        assert np.array_equal(held, drawn[segmentId]), name
