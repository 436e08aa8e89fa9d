"""Clicks, cancelling and deletions while a prediction runs."""

import time

import numpy as np
import pytest

from helpers import make_affine, phantom
from mrmlNodes import OBLIQUE, addSegment, addVolume, drawByHand, voxels
from sammed3d import Box, Session
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import SPOTS, clickAt, clicksOf, expectedMask, newPredictor, sessionMask, settle, until, worldOf


@pytest.mark.slow
def test_twenty_quick_clicks_latest_wins_in_order(slow, segmentationNode, predictor, liver):
    rng = np.random.default_rng(3)
    spots = [worldOf(slow, rng.uniform(5, (35, 45, 25))) for _ in range(20)]
    for world in spots:
        begin = time.monotonic()
        slow.click(liver, world)
        slow.poll()
        assert time.monotonic() - begin < 1, "the caller never waits for the network"
    predictor.gate.set()
    settle(slow)
    clicks = clicksOf(slow, liver)
    assert len(clicks) == 20
    assert [tuple(np.round(volumeToWorld(slow.volumeNode, c.world), 3)) for c in clicks] == [
        tuple(np.round(world, 3)) for world in spots
    ]
    assert len(predictor.calls) < 20, "what was overtaken is not computed"
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(slow.volumeNode, clicks))
    for count in range(19, -1, -1):
        slow.undo(liver)
        settle(slow)
        assert len(clicksOf(slow, liver)) == count, "each click is its own step"


def test_cancel_takes_the_click_back_at_once(slow, segmentationNode, liver):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    begin = time.monotonic()
    slow.cancel()
    settle(slow)
    assert time.monotonic() - begin < 1
    assert clicksOf(slow, liver) == ()
    assert not voxels(segmentationNode, liver).any()
    assert slow.message == "Cancelled. 1 click of liver was taken back; Redo brings it again."


@pytest.mark.parametrize("deleted", ["volume", "segmentation", "points", "segment", "scene"])
def test_deletions_while_a_prediction_runs(deleted, slow, scene, segmentationNode, volumeNode, predictor, liver):
    other = addSegment(segmentationNode, "other")
    drawByHand(segmentationNode, other, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    before = voxels(segmentationNode, other)
    slow.click(liver, worldOf(slow, SPOTS[0]))
    match deleted:
        case "volume":
            scene.RemoveNode(volumeNode)
        case "segmentation":
            scene.RemoveNode(segmentationNode)
        case "points":
            scene.RemoveNode(slow.pointsFor(liver))
        case "segment":
            segmentationNode.GetSegmentation().RemoveSegment(liver)
        case "scene":
            slow.forgetScene()
            scene.Clear(0)
    predictor.gate.set()
    settle(slow)
    if deleted in ("volume", "points", "segment"):
        assert np.array_equal(voxels(segmentationNode, other), before)


def test_another_volume_chosen_while_a_prediction_runs(slow, scene, segmentationNode, volumeNode, predictor, liver):
    """The result lands where it belongs, though the other volume has another grid."""
    world = worldOf(slow, SPOTS[0])
    slow.click(liver, world)
    other = addVolume(scene, phantom((25, 30, 40), seed=2), make_affine((3.0, 3.5, 2.0), (0, 0, 0), (0, 0, 0)), "MR")
    slow.setInput(other, segmentationNode)
    slow.pointsFor(liver)
    predictor.gate.set()
    settle(slow)
    session = Session(volumeFromNode(volumeNode), newPredictor())
    session.click(tuple(volumeFromNode(volumeNode).grid.to_world(SPOTS[0])))
    assert np.array_equal(voxels(segmentationNode, liver), session.mask())
    assert not slow.canUndo(liver), "what was clicked on the other volume is undone there"
    slow.click(liver, worldOf(slow, (12, 15, 20)))
    settle(slow)
    assert len(clicksOf(slow, liver)) == 1
    slow.undo(liver)
    settle(slow)
    changed = np.count_nonzero(voxels(segmentationNode, liver) != session.mask())
    assert changed < 0.25 * session.mask().sum(), "but for resampling between the grids it is what it was"


def test_results_are_shown_as_they_come(segmenter, segmentationNode, volumeNode, liver, models):
    """Clicks come faster than the network: a mask is seen when it is there, not when the clicks pause."""
    predictor, shown = models["default"], set()
    segmenter.onChanged = lambda: shown.add(int(voxels(segmentationNode, liver).sum()))
    predictor.gate.clear()
    answer = predictor.answer

    def answerOne(patch, prompts):
        predictor.gate.clear()
        return answer(patch, prompts)

    predictor.answer = answerOne
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    assert predictor.asked.wait(20), "it is under way"
    for n in range(1, 6):
        segmenter.click(liver, worldOf(segmenter, np.add(SPOTS[0], (n, -n, 0))))
    predictor.gate.set()
    until(lambda: len(shown) > 1, segmenter.poll)
    predictor.answer = answer
    predictor.gate.set()
    settle(segmenter)
    first, last = (sessionMask(volumeNode, predictor, clicksOf(segmenter, liver)[:count]) for count in (1, 6))
    assert shown == {0, int(first.sum()), int(last.sum())}, "what was overtaken before it began is not made"
    assert np.array_equal(voxels(segmentationNode, liver), last)


def test_a_failure_takes_many_clicks_back_and_redo_brings_them_again(
    segmenter, segmentationNode, volumeNode, liver, models
):
    predictor = models["default"]
    clickAt(segmenter, liver, SPOTS[0])
    first = voxels(segmentationNode, liver)
    predictor.gate.clear()
    for n in range(10):
        segmenter.click(liver, worldOf(segmenter, np.add(SPOTS[0], (n, 0, 0))), positive=n % 3 != 2)
    wanted = clicksOf(segmenter, liver)
    predictor.fail = RuntimeError("the network is unreachable")
    predictor.gate.set()
    settle(segmenter)
    assert "the network is unreachable 10 clicks of liver were taken back; Redo brings them again." in segmenter.message
    assert len(clicksOf(segmenter, liver)) == 1
    assert np.array_equal(voxels(segmentationNode, liver), first)
    predictor.fail = None
    for _ in range(10):
        assert segmenter.canRedo(liver)
        segmenter.redo(liver)
    settle(segmenter)
    assert same_clicks(clicksOf(segmenter, liver), wanted), "none was lost, and each has its kind"
    assert np.array_equal(voxels(segmentationNode, liver), sessionMask(volumeNode, predictor, wanted))


def test_cancel_loses_no_click_of_any_segment(segmenter, segmentationNode, volumeNode, liver, spleen, models):
    predictor = models["default"]
    predictor.gate.clear()
    for spot in SPOTS[:3]:
        segmenter.click(liver, worldOf(segmenter, spot))
    segmenter.click(spleen, worldOf(segmenter, SPOTS[3]))
    segmenter.cancel()
    settle(segmenter)
    assert "3 clicks of liver were taken back" in segmenter.message
    assert "1 click of spleen was taken back; Redo brings it again." in segmenter.message
    assert clicksOf(segmenter, liver) == clicksOf(segmenter, spleen) == ()
    predictor.gate.set()
    for segmentId, count in ((liver, 3), (spleen, 1)):
        for _ in range(count):
            segmenter.redo(segmentId)
        settle(segmenter)
        assert len(clicksOf(segmenter, segmentId)) == count
        expected = sessionMask(volumeNode, predictor, clicksOf(segmenter, segmentId))
        assert np.array_equal(voxels(segmentationNode, segmentId), expected)


def test_nobody_waits_for_what_was_clicked_in_a_volume_that_is_gone(slow, predictor, scene, volumeNode, liver):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    node = slow.segmentationNode
    scene.RemoveNode(volumeNode)
    assert slow.underWay == [], "the next click would have to wait for it"
    settle(slow)
    assert "was removed before liver was segmented" in slow.message
    slow.setInput(addVolume(scene, phantom((40, 50, 30)), OBLIQUE), node)
    predictor.gate.set()
    clickAt(slow, liver, SPOTS[1])
    assert len(clicksOf(slow, liver)) == 1, "the first one was taken back"
    assert np.array_equal(voxels(node, liver), expectedMask(slow.volumeNode, clicksOf(slow, liver)))


def test_undo_of_a_click_that_is_under_way_stops_it(slow, predictor, segmentationNode, liver):
    predictor.gate.set()
    clickAt(slow, liver, SPOTS[0])
    before = voxels(segmentationNode, liver)
    predictor.gate.clear()
    slow.click(liver, worldOf(slow, SPOTS[1]))
    slow.undo(liver)
    slow.poll()
    assert not slow.busy, "the model has better things to do"
    predictor.gate.set()
    settle(slow)
    assert np.array_equal(voxels(segmentationNode, liver), before)
    assert slow.canRedo(liver)
