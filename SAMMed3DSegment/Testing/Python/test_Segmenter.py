"""From points to segments on real MRML nodes, with predictions in the background."""

import time

import numpy as np
import pytest
import slicer

from helpers import RegionPredictor, ThresholdPredictor, make_affine, phantom
from mrmlNodes import addVolume, drawByHand, linearTransform, voxels
from sammed3d import Box, Session
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import SPOTS, clicksOf, sessionMask, settle, worldOf


def addSegment(segmentationNode, name="liver"):
    return segmentationNode.GetSegmentation().AddEmptySegment(name)


def expectedMask(volumeNode, clicks, base=None):
    """What a session of the same clicks gives."""
    return sessionMask(volumeNode, ThresholdPredictor(), clicks, base)


def test_placing_points_segments_as_a_session_does(segmenter, segmentationNode):
    segmentId = addSegment(segmentationNode)
    for n, spot in enumerate(SPOTS):
        segmenter.click(segmentId, worldOf(segmenter, spot), positive=n % 3 != 2)
        settle(segmenter)
        expected = expectedMask(segmenter.volumeNode, clicksOf(segmenter, segmentId))
        assert expected.any()
        assert np.array_equal(voxels(segmentationNode, segmentId), expected)


def test_a_2d_model_is_a_model_like_any_other(makeSegmenter, volumeNode, segmentationNode):
    predictor = RegionPredictor()
    segmenter = makeSegmenter(loadPredictor=lambda name: predictor)
    segmentId = addSegment(segmentationNode)
    masks = []
    for spot, positive in ((SPOTS[0], True), (SPOTS[2], True), (SPOTS[3], False)):
        segmenter.click(segmentId, worldOf(segmenter, spot), positive)
        settle(segmenter)
        masks.append(sessionMask(volumeNode, RegionPredictor(), clicksOf(segmenter, segmentId)))
        assert np.array_equal(voxels(segmentationNode, segmentId), masks[-1])
    assert np.count_nonzero(masks[0].any(axis=(0, 1))) > 1, "it was followed to further slices"
    segmenter.undo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), masks[1])


def test_a_segment_in_work_says_so(segmenter, segmentationNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    assert logic.GetSegmentStatus(segment) == logic.InProgress


def test_a_placed_point_takes_the_kind_that_is_switched_on(segmenter, segmentationNode):
    segmentId = addSegment(segmentationNode)
    points = segmenter.pointsFor(segmentId)
    points.AddControlPointWorld(worldOf(segmenter, SPOTS[0]))
    segmenter.positive = False
    points.AddControlPointWorld(worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    assert [c.positive for c in clicksOf(segmenter, segmentId)] == [True, False]
    assert [bool(points.GetNthControlPointSelected(n)) for n in range(2)] == [True, False], "their colour follows"


def test_moving_and_deleting_a_point_replays(segmenter, segmentationNode):
    segmentId = addSegment(segmentationNode)
    for spot in SPOTS[:3]:
        segmenter.click(segmentId, worldOf(segmenter, spot))
    settle(segmenter)
    points = segmenter.pointsFor(segmentId)
    points.SetNthControlPointPositionWorld(1, worldOf(segmenter, SPOTS[3]))
    settle(segmenter)
    moved = clicksOf(segmenter, segmentId)
    assert len(moved) == 3
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(segmenter.volumeNode, moved))
    points.RemoveNthControlPoint(0)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(segmenter.volumeNode, moved[1:]))


def test_a_drag_is_one_step(segmenter, segmentationNode, predictor):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    points, calls = segmenter.pointsFor(segmentId), len(predictor.calls)
    points.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    for offset in range(5):
        points.SetNthControlPointPositionWorld(0, worldOf(segmenter, (20 + offset, 25, 15)))
    points.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    settle(segmenter)
    assert len(predictor.calls) == calls + 1
    segmenter.undo(segmentId)
    settle(segmenter)
    [click] = clicksOf(segmenter, segmentId)
    assert np.allclose(volumeToWorld(segmenter.volumeNode, click.world), worldOf(segmenter, SPOTS[0]))


@pytest.mark.slow
def test_undo_and_redo_go_all_the_way_and_back(segmenter, segmentationNode):
    segmentId = addSegment(segmentationNode)
    masks, clicks = [voxels(segmentationNode, segmentId)], [()]
    for n, spot in enumerate(SPOTS * 3):
        segmenter.click(segmentId, worldOf(segmenter, np.add(spot, n % 5)), positive=n % 4 != 3)
        settle(segmenter)
        masks.append(voxels(segmentationNode, segmentId))
        clicks.append(clicksOf(segmenter, segmentId))
    for step in range(len(masks) - 2, -1, -1):
        assert segmenter.canUndo(segmentId)
        segmenter.undo(segmentId)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, segmentId), masks[step])
        assert same_clicks(clicksOf(segmenter, segmentId), clicks[step])
    assert not segmenter.canUndo(segmentId)
    for step in range(1, len(masks)):
        segmenter.redo(segmentId)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, segmentId), masks[step])
    assert not segmenter.canRedo(segmentId)


def test_a_drawn_segment_is_what_the_first_click_starts_from(segmenter, segmentationNode, volumeNode):
    segmentId = addSegment(segmentationNode)
    drawByHand(segmentationNode, segmentId, volumeNode, Box((5, 5, 5), (25, 25, 15)))
    drawn = voxels(segmentationNode, segmentId)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    expected = expectedMask(volumeNode, clicksOf(segmenter, segmentId), base=drawn)
    assert np.array_equal(voxels(segmentationNode, segmentId), expected)
    segmenter.undo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), drawn)
    assert not segmenter.canUndo(segmentId), "what was drawn before is not ours to undo"


def test_a_hand_edit_between_clicks_is_the_new_starting_point(segmenter, segmentationNode, volumeNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    first = voxels(segmentationNode, segmentId)
    drawByHand(segmentationNode, segmentId, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    drawByHand(segmentationNode, segmentId, volumeNode, Box((18, 20, 10), (22, 28, 20)), value=0)
    edited = voxels(segmentationNode, segmentId)
    assert not np.array_equal(first, edited)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, segmentId)
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(volumeNode, [click], base=edited))
    for expected in (edited, first, np.zeros_like(first)):
        segmenter.undo(segmentId)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, segmentId), expected)
    for expected in (first, edited):
        segmenter.redo(segmentId)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, segmentId), expected)


def test_undo_right_after_a_hand_edit_can_be_redone(segmenter, segmentationNode, volumeNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    first = voxels(segmentationNode, segmentId)
    drawByHand(segmentationNode, segmentId, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    edited = voxels(segmentationNode, segmentId)
    segmenter.undo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), first)
    segmenter.redo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), edited)


def test_an_edit_made_while_a_prediction_runs_is_not_lost(segmenter, segmentationNode, volumeNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    drawByHand(segmentationNode, segmentId, volumeNode, Box((0, 0, 0), (4, 4, 4)))
    settle(segmenter)
    assert voxels(segmentationNode, segmentId)[:4, :4, :4].all()
    together = voxels(segmentationNode, segmentId)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, segmentId)
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(volumeNode, [click], base=together))


def test_reset_empties_and_can_be_undone(segmenter, segmentationNode, volumeNode):
    segmentId = addSegment(segmentationNode)
    drawByHand(segmentationNode, segmentId, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before, clicks = voxels(segmentationNode, segmentId), clicksOf(segmenter, segmentId)
    segmenter.reset(segmentId)
    settle(segmenter)
    assert not voxels(segmentationNode, segmentId).any()
    assert clicksOf(segmenter, segmentId) == ()
    segmenter.undo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), before)
    assert same_clicks(clicksOf(segmenter, segmentId), clicks)


@pytest.mark.slow
def test_neighbours_stay_bit_identical_after_100_clicks(segmenter, segmentationNode, volumeNode):
    rng = np.random.default_rng(0)
    neighbours = [addSegment(segmentationNode, name) for name in ("spleen", "kidney", "bone")]
    for n, neighbour in enumerate(neighbours):
        begin = np.array((8 * n, 10, 5))
        drawByHand(segmentationNode, neighbour, volumeNode, Box(tuple(begin), tuple(begin + 12)))
    before = [voxels(segmentationNode, neighbour) for neighbour in neighbours]
    segmentId = addSegment(segmentationNode)
    for n in range(100):
        segmenter.click(segmentId, worldOf(segmenter, rng.uniform(1, (38, 48, 28))), positive=n % 4 != 3)
        if n % 10 == 0:
            settle(segmenter)
    settle(segmenter)
    assert all((voxels(segmentationNode, segmentId) & b).any() for b in before), "they overlap it"
    for neighbour, mask in zip(neighbours, before, strict=True):
        assert np.array_equal(voxels(segmentationNode, neighbour), mask)


def test_the_segment_editors_area_and_range_are_honoured(segmenter, segmentationNode, volumeNode):
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmentationNode)
    allowed = addSegment(segmentationNode, "allowed")
    drawByHand(segmentationNode, allowed, volumeNode, Box((0, 0, 0), (40, 50, 15)))
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID(allowed)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(300, 500)
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    whole = expectedMask(volumeNode, clicksOf(segmenter, segmentId))
    array = volumeFromNode(volumeNode).array
    expected = whole * ((array >= 300) & (array <= 500))
    expected[:, :, 15:] = 0
    assert expected.any()
    assert expected.sum() < whole.sum()
    assert np.array_equal(voxels(segmentationNode, segmentId), expected)


def test_overwriting_is_possible_where_asked_for(segmenter, segmentationNode, volumeNode):
    from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode

    neighbour = addSegment(segmentationNode, "spleen")
    drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    mine, theirs = voxels(segmentationNode, segmentId), voxels(segmentationNode, neighbour)
    assert mine.any()
    assert np.array_equal(theirs, 1 - mine)


def test_closing_the_scene_never_makes_the_next_one_overwrite(scene, makeSegmenter):
    """Slicer resets singleton nodes then, and the default of segment editor nodes overwrites all other segments."""
    from SAMMed3DSegmentLib.SegmentWriter import overwriteMode, setOverwriteMode

    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    scene.Clear(0)
    volumeNode = addVolume(scene, phantom((40, 50, 30)), make_affine((2.0, 2.5, 3.0)))
    segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    neighbour, segmentId = addSegment(segmentationNode, "spleen"), addSegment(segmentationNode)
    drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    segmenter = makeSegmenter(volumeNode, segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    assert voxels(segmentationNode, segmentId).any()
    assert voxels(segmentationNode, neighbour).all()
    assert overwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteNone


def test_segments_on_another_grid_than_the_volumes(scene, segmenter, volumeNode):
    """A segmentation made on a finer image: the mask is resampled to it."""
    affine = make_affine((1.0, 1.25, 1.5), (0.2, -0.1, 0.3), (10, -20, 30))
    finer = addVolume(scene, phantom((80, 100, 60)), affine, "finer")
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    other.SetReferenceImageGeometryParameterFromVolumeNode(finer)
    segmenter.setInput(volumeNode, other)
    segmentId = addSegment(other)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    coarse = expectedMask(volumeNode, clicksOf(segmenter, segmentId))
    fine = voxels(other, segmentId, (80, 100, 60))
    assert int(fine.sum()) == pytest.approx(8 * int(coarse.sum()), rel=0.02)
    assert np.array_equal(fine[::2, ::2, ::2], coarse)
    assert not SegmentDigests().differs(other, segmentId), "resampling is no hand edit"


def test_volume_and_segmentation_under_different_transforms(scene, segmenter, volumeNode, segmentationNode):
    shift = np.eye(4)
    shift[:3, 3] = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3))[:3, :3] @ [2, 3, -1]
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    segmentId = addSegment(segmentationNode)
    world = worldOf(segmenter, SPOTS[0])
    segmenter.click(segmentId, world)
    settle(segmenter)
    [click] = clicksOf(segmenter, segmentId)
    assert np.allclose(click.world, volumeFromNode(volumeNode).grid.to_world(SPOTS[0]))
    mask = expectedMask(volumeNode, [click])
    seen = np.argwhere(voxels(segmentationNode, segmentId, (45, 55, 30))).mean(axis=0)
    assert np.allclose(seen, np.argwhere(mask).mean(axis=0) + np.array((2, 3, -1)), atol=0.2)


def test_a_click_outside_the_volume_is_taken_back_with_a_word(segmenter, segmentationNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before = voxels(segmentationNode, segmentId)
    segmenter.click(segmentId, (5000.0, 0.0, 0.0))
    settle(segmenter)
    assert "outside CT" in segmenter.message
    assert len(clicksOf(segmenter, segmentId)) == 1
    assert np.array_equal(voxels(segmentationNode, segmentId), before)


def test_a_failed_prediction_takes_its_click_back(segmenter, segmentationNode, predictor):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before = voxels(segmentationNode, segmentId)
    predictor.fail = RuntimeError("CUDA out of memory")
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    assert "CUDA out of memory" in segmenter.message
    assert len(clicksOf(segmenter, segmentId)) == 1
    assert np.array_equal(voxels(segmentationNode, segmentId), before)
    predictor.fail = None
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    assert segmenter.message == ""
    assert len(clicksOf(segmenter, segmentId)) == 2


@pytest.fixture
def slow(segmenter, predictor):
    """A segmenter whose model waits until its gate is opened."""
    predictor.gate.clear()
    return segmenter


@pytest.mark.slow
def test_twenty_quick_clicks_latest_wins_in_order(slow, segmentationNode, predictor):
    segmentId = addSegment(segmentationNode)
    rng = np.random.default_rng(3)
    spots = [worldOf(slow, rng.uniform(5, (35, 45, 25))) for _ in range(20)]
    for world in spots:
        begin = time.monotonic()
        slow.click(segmentId, world)
        slow.poll()
        assert time.monotonic() - begin < 1, "the caller never waits for the network"
    predictor.gate.set()
    settle(slow)
    clicks = clicksOf(slow, segmentId)
    assert len(clicks) == 20
    assert [tuple(np.round(volumeToWorld(slow.volumeNode, c.world), 3)) for c in clicks] == [
        tuple(np.round(world, 3)) for world in spots
    ]
    assert len(predictor.calls) < 20, "what was overtaken is not computed"
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(slow.volumeNode, clicks))
    for count in range(19, -1, -1):
        slow.undo(segmentId)
        settle(slow)
        assert len(clicksOf(slow, segmentId)) == count, "each click is its own step"


def test_cancel_takes_the_click_back_at_once(slow, segmentationNode):
    segmentId = addSegment(segmentationNode)
    slow.click(segmentId, worldOf(slow, SPOTS[0]))
    begin = time.monotonic()
    slow.cancel()
    settle(slow)
    assert time.monotonic() - begin < 1
    assert clicksOf(slow, segmentId) == ()
    assert not voxels(segmentationNode, segmentId).any()
    assert slow.message == "Cancelled. 1 click of Segment_1 was taken back; Redo brings it again."


@pytest.mark.parametrize("deleted", ["volume", "segmentation", "points", "segment", "scene"])
def test_deletions_while_a_prediction_runs(deleted, slow, scene, segmentationNode, volumeNode, predictor):
    segmentId = addSegment(segmentationNode)
    other = addSegment(segmentationNode, "other")
    drawByHand(segmentationNode, other, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    before = voxels(segmentationNode, other)
    slow.click(segmentId, worldOf(slow, SPOTS[0]))
    match deleted:
        case "volume":
            scene.RemoveNode(volumeNode)
        case "segmentation":
            scene.RemoveNode(segmentationNode)
        case "points":
            scene.RemoveNode(slow.pointsFor(segmentId))
        case "segment":
            segmentationNode.GetSegmentation().RemoveSegment(segmentId)
        case "scene":
            slow.forgetScene()
            scene.Clear(0)
    predictor.gate.set()
    settle(slow)
    if deleted in ("volume", "points", "segment"):
        assert np.array_equal(voxels(segmentationNode, other), before)


def test_deleting_the_point_list_leaves_the_segment(segmenter, scene, segmentationNode, volumeNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before = voxels(segmentationNode, segmentId)
    scene.RemoveNode(segmenter.pointsFor(segmentId))
    assert np.array_equal(voxels(segmentationNode, segmentId), before)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, segmentId)
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(volumeNode, [click], base=before))


def test_another_frame_or_volume_keeps_what_was_segmented(segmenter, scene, segmentationNode, volumeNode):
    """A sequence moves on: the node gets another image. The clicks of the first frame are not replayed on it."""
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    first = voxels(segmentationNode, segmentId)
    affine = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    frame = addVolume(scene, phantom((40, 50, 30), seed=5), affine, "frame")
    volumeNode.SetAndObserveImageData(frame.GetImageData())
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, segmentId)
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(volumeNode, [click], base=first))


def test_another_volume_chosen_while_a_prediction_runs(slow, scene, segmentationNode, volumeNode, predictor):
    """The result lands where it belongs, though the other volume has another grid."""
    segmentId = addSegment(segmentationNode)
    world = worldOf(slow, SPOTS[0])
    slow.click(segmentId, world)
    other = addVolume(scene, phantom((25, 30, 40), seed=2), make_affine((3.0, 3.5, 2.0), (0, 0, 0), (0, 0, 0)), "MR")
    slow.setInput(other, segmentationNode)
    slow.pointsFor(segmentId)
    predictor.gate.set()
    settle(slow)
    session = Session(volumeFromNode(volumeNode), ThresholdPredictor())
    session.click(tuple(volumeFromNode(volumeNode).grid.to_world(SPOTS[0])))
    assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())
    assert not slow.canUndo(segmentId), "what was clicked on the other volume is undone there"
    slow.click(segmentId, worldOf(slow, (12, 15, 20)))
    settle(slow)
    assert len(clicksOf(slow, segmentId)) == 1
    slow.undo(segmentId)
    settle(slow)
    changed = np.count_nonzero(voxels(segmentationNode, segmentId) != session.mask())
    assert changed < 0.25 * session.mask().sum(), "but for resampling between the grids it is what it was"


def test_a_click_that_waits_is_kept_when_somebody_draws_and_clicks_again(slow, segmentationNode, volumeNode, predictor):
    segmentId = addSegment(segmentationNode)
    slow.click(segmentId, worldOf(slow, SPOTS[0]))
    drawByHand(segmentationNode, segmentId, volumeNode, Box((0, 0, 0), (4, 4, 4)))
    drawn = voxels(segmentationNode, segmentId)
    slow.click(segmentId, worldOf(slow, SPOTS[2]))
    predictor.gate.set()
    settle(slow)
    clicks = clicksOf(slow, segmentId)
    assert len(clicks) == 2
    assert np.array_equal(voxels(segmentationNode, segmentId), expectedMask(volumeNode, clicks, base=drawn))


def test_two_segmentations_do_not_mix(segmenter, scene, segmentationNode, volumeNode):
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    first, second = addSegment(segmentationNode), addSegment(other)
    segmenter.click(first, worldOf(segmenter, SPOTS[0]))
    segmenter.setInput(volumeNode, other)  # while the first one is being computed
    segmenter.click(second, worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    masks = [voxels(segmentationNode, first), voxels(other, second)]
    for mask, spot in zip(masks, SPOTS, strict=False):
        grid = volumeFromNode(volumeNode).grid
        session = Session(volumeFromNode(volumeNode), ThresholdPredictor())
        session.click(tuple(grid.to_world(spot)))
        assert np.array_equal(mask, session.mask())


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


def test_surfaces_follow_when_the_clicks_pause_and_only_of_the_edited_segment(segmenter, segmentationNode, volumeNode):
    from SAMMed3DSegmentLib import Surface

    neighbour, segmentId = addSegment(segmentationNode, "spleen"), addSegment(segmentationNode)
    drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    segmenter.refreshSurfaces()
    assert not Surface.isShown(segmentationNode), "nobody asked for 3-D"
    Surface.show(segmentationNode, True)

    def surface(name):
        return segmentationNode.GetSegmentation().GetSegment(name).GetRepresentation("Closed surface")

    before, theirs = surface(segmentId).GetNumberOfPoints(), surface(neighbour)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    assert surface(segmentId).GetNumberOfPoints() == before, "still the old one, not gone"
    assert segmenter.surfacesWait
    segmenter.refreshSurfaces()
    assert surface(segmentId).GetNumberOfPoints() != before
    assert surface(neighbour) is theirs
    assert not segmenter.surfacesWait


def test_surfaces_of_segments_that_lose_voxels_follow_too(segmenter, segmentationNode, volumeNode):
    from SAMMed3DSegmentLib import Surface

    neighbour, segmentId = addSegment(segmentationNode, "spleen"), addSegment(segmentationNode)
    drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    Surface.show(segmentationNode, True)
    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)

    def points():
        segment = segmentationNode.GetSegmentation().GetSegment(neighbour)
        return segment.GetRepresentation("Closed surface").GetNumberOfPoints()

    before = points()
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    assert points() == before
    segmenter.refreshSurfaces()
    assert points() > before, "it has a hole now"
    segmenter.undo(segmentId)
    segmenter.refreshSurfaces()
    assert points() == before


def test_removing_a_segment_removes_its_points(segmenter, scene, segmentationNode):
    segmentId = addSegment(segmentationNode)
    segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    segmentationNode.GetSegmentation().RemoveSegment(segmentId)
    assert not list(PointList.pointLists())


def test_without_a_usable_volume_the_reason_is_said(segmenter, scene, segmentationNode):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    segmenter.setInput(empty, segmentationNode)
    with pytest.raises(Exception, match="Empty: this volume holds no image"):
        segmenter.pointsFor(addSegment(segmentationNode))
