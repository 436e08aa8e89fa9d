"""From points to segments on real MRML nodes, with predictions in the background."""

import numpy as np
import pytest
import slicer

from helpers import RegionPredictor, make_affine, phantom
from mrmlNodes import addSegment, addVolume, drawByHand, voxels
from sammed3d import Box, Session
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib import PointList, SegmentWriter
from SAMMed3DSegmentLib.Following import FollowChoice
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import SPOTS, clicksOf, expectedMask, newPredictor, sessionMask, settle, worldOf


def test_placing_points_segments_as_a_session_does(segmenter, segmentationNode, liver):
    for n, spot in enumerate(SPOTS):
        segmenter.click(liver, worldOf(segmenter, spot), positive=n % 3 != 2)
        settle(segmenter)
        expected = expectedMask(segmenter.volumeNode, clicksOf(segmenter, liver))
        assert expected.any()
        assert np.array_equal(voxels(segmentationNode, liver), expected)


def test_a_2d_model_is_a_model_like_any_other(makeSegmenter, volumeNode, segmentationNode, liver):
    predictor = RegionPredictor()
    segmenter = makeSegmenter(loadPredictor=lambda name: predictor)
    masks = []
    for spot, positive in ((SPOTS[0], True), (SPOTS[2], True), (SPOTS[3], False)):
        segmenter.click(liver, worldOf(segmenter, spot), positive)
        settle(segmenter)
        masks.append(sessionMask(volumeNode, RegionPredictor(), clicksOf(segmenter, liver)))
        assert np.array_equal(voxels(segmentationNode, liver), masks[-1])
    assert np.count_nonzero(masks[0].any(axis=(0, 1))) > 1, "it was followed to further slices"
    segmenter.undo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), masks[1])


def test_a_segment_in_work_says_so(segmenter, segmentationNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = segmentationNode.GetSegmentation().GetSegment(liver)
    assert logic.GetSegmentStatus(segment) == logic.InProgress


def test_a_placed_point_takes_the_kind_that_is_switched_on(segmenter, liver):
    points = segmenter.pointsFor(liver)
    points.AddControlPointWorld(worldOf(segmenter, SPOTS[0]))
    segmenter.positive = False
    points.AddControlPointWorld(worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    assert [c.positive for c in clicksOf(segmenter, liver)] == [True, False]
    assert [bool(points.GetNthControlPointSelected(n)) for n in range(2)] == [True, False], "their colour follows"


def test_moving_and_deleting_a_point_replays(segmenter, segmentationNode, liver):
    for spot in SPOTS[:3]:
        segmenter.click(liver, worldOf(segmenter, spot))
    settle(segmenter)
    points = segmenter.pointsFor(liver)
    points.SetNthControlPointPositionWorld(1, worldOf(segmenter, SPOTS[3]))
    settle(segmenter)
    moved = clicksOf(segmenter, liver)
    assert len(moved) == 3
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(segmenter.volumeNode, moved))
    points.RemoveNthControlPoint(0)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(segmenter.volumeNode, moved[1:]))


def test_a_drag_is_one_step(segmenter, predictor, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    points, calls = segmenter.pointsFor(liver), len(predictor.calls)
    points.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    for offset in range(5):
        points.SetNthControlPointPositionWorld(0, worldOf(segmenter, (20 + offset, 25, 15)))
    points.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    settle(segmenter)
    assert len(predictor.calls) == calls + 1
    segmenter.undo(liver)
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.allclose(volumeToWorld(segmenter.volumeNode, click.world), worldOf(segmenter, SPOTS[0]))


@pytest.mark.slow
def test_undo_and_redo_go_all_the_way_and_back(segmenter, segmentationNode, liver):
    masks, clicks = [voxels(segmentationNode, liver)], [()]
    for n, spot in enumerate(SPOTS * 3):
        segmenter.click(liver, worldOf(segmenter, np.add(spot, n % 5)), positive=n % 4 != 3)
        settle(segmenter)
        masks.append(voxels(segmentationNode, liver))
        clicks.append(clicksOf(segmenter, liver))
    for step in range(len(masks) - 2, -1, -1):
        assert segmenter.canUndo(liver)
        segmenter.undo(liver)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, liver), masks[step])
        assert same_clicks(clicksOf(segmenter, liver), clicks[step])
    assert not segmenter.canUndo(liver)
    for step in range(1, len(masks)):
        segmenter.redo(liver)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, liver), masks[step])
    assert not segmenter.canRedo(liver)


def test_reset_empties_and_can_be_undone(segmenter, segmentationNode, volumeNode, liver):
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before, clicks = voxels(segmentationNode, liver), clicksOf(segmenter, liver)
    segmenter.reset(liver)
    settle(segmenter)
    assert not voxels(segmentationNode, liver).any()
    assert clicksOf(segmenter, liver) == ()
    segmenter.undo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), before)
    assert same_clicks(clicksOf(segmenter, liver), clicks)


def test_a_click_outside_the_volume_is_taken_back_with_a_word(segmenter, segmentationNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before = voxels(segmentationNode, liver)
    segmenter.click(liver, (5000.0, 0.0, 0.0))
    settle(segmenter)
    assert "outside CT" in segmenter.message
    assert len(clicksOf(segmenter, liver)) == 1
    assert np.array_equal(voxels(segmentationNode, liver), before)


def test_a_failed_prediction_takes_its_click_back(segmenter, segmentationNode, predictor, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before = voxels(segmentationNode, liver)
    predictor.fail = RuntimeError("CUDA out of memory")
    segmenter.click(liver, worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    assert "CUDA out of memory" in segmenter.message
    assert len(clicksOf(segmenter, liver)) == 1
    assert np.array_equal(voxels(segmentationNode, liver), before)
    predictor.fail = None
    segmenter.click(liver, worldOf(segmenter, SPOTS[1]))
    settle(segmenter)
    assert segmenter.message == ""
    assert len(clicksOf(segmenter, liver)) == 2


def test_deleting_the_point_list_leaves_the_segment(segmenter, scene, segmentationNode, volumeNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    before = voxels(segmentationNode, liver)
    scene.RemoveNode(segmenter.pointsFor(liver))
    assert np.array_equal(voxels(segmentationNode, liver), before)
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, [click], base=before))


def test_another_frame_or_volume_keeps_what_was_segmented(segmenter, scene, segmentationNode, volumeNode, liver):
    """A sequence moves on: the node gets another image. The clicks of the first frame are not replayed on it."""
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    first = voxels(segmentationNode, liver)
    affine = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    frame = addVolume(scene, phantom((40, 50, 30), seed=5), affine, "frame")
    volumeNode.SetAndObserveImageData(frame.GetImageData())
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, [click], base=first))


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
        session = Session(volumeFromNode(volumeNode), newPredictor())
        session.click(tuple(grid.to_world(spot)))
        assert np.array_equal(mask, session.mask())


def test_removing_a_segment_removes_its_points(segmenter, scene, segmentationNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    segmentationNode.GetSegmentation().RemoveSegment(liver)
    assert not list(PointList.pointLists())


def test_without_a_usable_volume_the_reason_is_said(segmenter, scene, segmentationNode):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    segmenter.setInput(empty, segmentationNode)
    with pytest.raises(Exception, match="Empty: this volume holds no image"):
        segmenter.pointsFor(addSegment(segmentationNode))


@pytest.mark.parametrize(
    ("error", "said"), [(MemoryError(), "not enough memory to write"), (RuntimeError("no disk"), "written: no disk")]
)
def test_a_result_that_cannot_be_written_keeps_no_other_waiting(
    segmenter, segmentationNode, liver, spleen, monkeypatch, caplog, error, said
):
    written = SegmentWriter.write

    def write(node, segmentId, *arguments, **further):
        if segmentId == liver:
            raise error
        return written(node, segmentId, *arguments, **further)

    monkeypatch.setattr(SegmentWriter, "write", write)
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    assert said in segmenter.message
    assert clicksOf(segmenter, liver) == (), "what is not written is not clicked"
    segmenter.click(liver, worldOf(segmenter, SPOTS[1]))
    segmenter.click(spleen, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    assert voxels(segmentationNode, spleen).any()
    assert not segmenter.canUndo(liver)
    monkeypatch.setattr(SegmentWriter, "write", written)
    caplog.clear()
    segmenter.redo(liver)
    settle(segmenter)
    clicks = clicksOf(segmenter, liver)
    assert len(clicks) == 1
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(segmenter.volumeNode, clicks))


def test_only_a_new_click_is_followed_beyond_its_patch(segmenter, liver, monkeypatch):
    """Not one that is moved or taken away: what was followed then is known."""
    asked, submit = [], InferenceThread.submit

    def remembered(thread, job):
        asked.append(job.following.mode)
        submit(thread, job)

    monkeypatch.setattr(InferenceThread, "submit", remembered)
    segmenter.followChoice = lambda: FollowChoice("always", 2)
    for spot in SPOTS[:2]:
        segmenter.click(liver, worldOf(segmenter, spot))
        settle(segmenter)
    points = segmenter.pointsFor(liver)
    points.SetNthControlPointPositionWorld(0, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    points.RemoveNthControlPoint(1)
    settle(segmenter)
    assert asked == ["always", "always", "never", "never"]


@pytest.mark.parametrize("other", ["segmentation", "nothing", "segmentation, then a restart"])
def test_a_point_moved_while_something_else_is_chosen_counts_once_its_own_is_chosen_again(
    segmenter, makeSegmenter, scene, volumeNode, segmentationNode, liver, predictor, other
):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    points, moved = segmenter.pointsFor(liver), worldOf(segmenter, SPOTS[3])
    if other != "nothing":
        segmenter.setInput(volumeNode, scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other"))
    else:
        segmenter.setInput(None, segmentationNode)
    points.SetNthControlPointPositionWorld(0, moved)
    settle(segmenter)
    if "restart" in other:
        segmenter.forgetScene()
        segmenter = makeSegmenter(segmentation=segmentationNode)
    segmenter.setInput(volumeNode, segmentationNode)
    settle(segmenter)
    grid = volumeFromNode(volumeNode).grid
    assert np.allclose(clicksOf(segmenter, liver)[0].world, grid.to_world(SPOTS[3]), atol=0.01)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, clicksOf(segmenter, liver)))
    asked = len(predictor.calls)
    segmenter.setInput(volumeNode, segmentationNode)
    settle(segmenter)
    assert len(predictor.calls) == asked, "and is taken once"
    segmenter.undo(liver)
    settle(segmenter)
    assert np.allclose(clicksOf(segmenter, liver)[0].world, grid.to_world(SPOTS[0]), atol=0.01)
