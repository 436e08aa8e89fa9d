"""Segments that somebody drew, before the first click and between clicks."""

import numpy as np
import pytest

from helpers import make_affine, phantom
from mrmlNodes import OBLIQUE, addVolume, drawByHand, linearTransform, voxels
from sammed3d import Box
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from segmenters import SPOTS, clickAt, clicksOf, expectedMask, sessionMask, settle, worldOf


def test_a_drawn_segment_is_what_the_first_click_starts_from(segmenter, segmentationNode, volumeNode, liver):
    drawByHand(segmentationNode, liver, volumeNode, Box((5, 5, 5), (25, 25, 15)))
    drawn = voxels(segmentationNode, liver)
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    expected = expectedMask(volumeNode, clicksOf(segmenter, liver), base=drawn)
    assert np.array_equal(voxels(segmentationNode, liver), expected)
    segmenter.undo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), drawn)
    assert not segmenter.canUndo(liver), "what was drawn before is not ours to undo"


def test_a_hand_edit_between_clicks_is_the_new_starting_point(segmenter, segmentationNode, volumeNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    first = voxels(segmentationNode, liver)
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    drawByHand(segmentationNode, liver, volumeNode, Box((18, 20, 10), (22, 28, 20)), value=0)
    edited = voxels(segmentationNode, liver)
    assert not np.array_equal(first, edited)
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, [click], base=edited))
    for expected in (edited, first, np.zeros_like(first)):
        segmenter.undo(liver)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, liver), expected)
    for expected in (first, edited):
        segmenter.redo(liver)
        settle(segmenter)
        assert np.array_equal(voxels(segmentationNode, liver), expected)


def test_undo_right_after_a_hand_edit_can_be_redone(segmenter, segmentationNode, volumeNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    first = voxels(segmentationNode, liver)
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    edited = voxels(segmentationNode, liver)
    segmenter.undo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), first)
    segmenter.redo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), edited)


def test_edits_that_are_taken_at_once_are_undone_one_by_one(segmenter, segmentationNode, volumeNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    states, clicks = [voxels(segmentationNode, liver)], clicksOf(segmenter, liver)
    for box, value in (
        (Box((0, 0, 0), (6, 6, 6)), 1),
        (Box((18, 20, 10), (22, 28, 20)), 0),
        (Box((3, 3, 3), (9, 9, 9)), 1),
    ):
        drawByHand(segmentationNode, liver, volumeNode, box, value)
        segmenter.takeEdit(liver)
        segmenter.takeEdit(liver)  # nothing new
        states.append(voxels(segmentationNode, liver))
        assert clicksOf(segmenter, liver) == ()
    for direction in ("undo", "redo"):
        for expected in states[-2::-1] if direction == "undo" else states[1:]:
            getattr(segmenter, direction)(liver)
            settle(segmenter)
            assert np.array_equal(voxels(segmentationNode, liver), expected)
        assert clicksOf(segmenter, liver) == (clicks if direction == "undo" else ())
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, [click], base=states[-1]))


def test_an_edit_while_a_prediction_runs_is_taken_when_it_is_done(segmenter, segmentationNode, volumeNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (4, 4, 4)))
    segmenter.takeEdit(liver)
    assert len(clicksOf(segmenter, liver)) == 1
    settle(segmenter)
    assert voxels(segmentationNode, liver)[:4, :4, :4].all()
    segmenter.takeEdit(liver)
    assert clicksOf(segmenter, liver) == ()
    segmenter.undo(liver)
    settle(segmenter)
    assert len(clicksOf(segmenter, liver)) == 1


def test_an_edit_made_while_a_prediction_runs_is_not_lost(segmenter, segmentationNode, volumeNode, liver):
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (4, 4, 4)))
    settle(segmenter)
    assert voxels(segmentationNode, liver)[:4, :4, :4].all()
    together = voxels(segmentationNode, liver)
    segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, [click], base=together))


def test_a_click_that_waits_is_kept_when_somebody_draws_and_clicks_again(
    slow, segmentationNode, volumeNode, predictor, liver
):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (4, 4, 4)))
    drawn = voxels(segmentationNode, liver)
    slow.click(liver, worldOf(slow, SPOTS[2]))
    predictor.gate.set()
    settle(slow)
    clicks = clicksOf(slow, liver)
    assert len(clicks) == 2
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, clicks, base=drawn))


@pytest.fixture(params=[False, True], ids=["", "moved"])
def crop(request, scene):
    """A part of the phantom as a volume of its own, which begins at voxel (15, 20, 10); perhaps under a transform."""
    affine, begin = OBLIQUE.copy(), (15, 20, 10)
    affine[:3, 3] = (OBLIQUE @ (*begin, 1))[:3]
    array = phantom((40, 50, 30))[15:, 20:, 10:]
    if not request.param:
        return addVolume(scene, array, affine, "crop")
    turned = make_affine((1, 1, 1), (0.1, 0.2, 0.3), (3, 4, 5))
    node = addVolume(scene, array, np.linalg.inv(turned) @ affine, "crop")
    node.SetAndObserveTransformNodeID(linearTransform(scene, turned).GetID())
    return node


def test_what_lies_beyond_a_smaller_volume_stays(segmenter, segmentationNode, volumeNode, liver, crop, models):
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (30, 30, 20)))
    drawn = voxels(segmentationNode, liver)
    inside = np.zeros_like(drawn)
    inside[15:, 20:, 10:] = 1
    segmenter.setInput(crop, segmentationNode)
    base = maskOfSegment(segmentationNode, liver, crop).full((25, 30, 20))
    for count, spot in enumerate(((5, 5, 5), (10, 8, 6)), start=1):
        clickAt(segmenter, liver, spot)
        made = voxels(segmentationNode, liver)
        assert len(clicksOf(segmenter, liver)) == count, "nobody edited it"
        assert np.array_equal(made[inside == 0], drawn[inside == 0])
        expected = sessionMask(crop, models["default"], clicksOf(segmenter, liver), base=base)
        assert np.array_equal(maskOfSegment(segmentationNode, liver, crop).full((25, 30, 20)), expected)
    segmenter.undo(liver)
    segmenter.redo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), made)
    segmenter.reset(liver)
    settle(segmenter)
    assert not voxels(segmentationNode, liver).any(), "emptied everywhere"
    for _ in range(3):
        segmenter.undo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), drawn)
    segmenter.redo(liver)
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 40, 0), (3, 43, 3)))
    clickAt(segmenter, liver, (6, 6, 6))
    assert voxels(segmentationNode, liver)[:3, 40:43, :3].all(), "an edit beyond it stays, too"


def test_an_edit_that_was_saved_can_be_undone_after_reopening(
    segmenter, makeSegmenter, segmentationNode, volumeNode, liver
):
    """What was saved is the edited mask; what the clicks before it make, the model makes again."""
    clickAt(segmenter, liver, SPOTS[0], SPOTS[1])
    made, clicks = voxels(segmentationNode, liver), clicksOf(segmenter, liver)
    drawByHand(segmentationNode, liver, volumeNode, Box((5, 5, 5), (15, 15, 15)), value=0)
    edited = voxels(segmentationNode, liver)
    assert not np.array_equal(edited, made)
    segmenter.forgetScene()
    later = makeSegmenter()
    later.undo(liver)
    settle(later)
    assert np.array_equal(voxels(segmentationNode, liver), made)
    assert same_clicks(clicksOf(later, liver), clicks)
    later.redo(liver)
    settle(later)
    assert np.array_equal(voxels(segmentationNode, liver), edited)


def test_redo_leaves_an_edit_alone_and_is_there_when_the_edit_is_gone(segmenter, segmentationNode, volumeNode, liver):
    """The Segment Editor may take it back."""
    for spot in SPOTS[:2]:
        clickAt(segmenter, liver, spot)
    wanted = voxels(segmentationNode, liver)
    segmenter.undo(liver)
    before, corner = voxels(segmentationNode, liver), Box((0, 0, 0), (3, 3, 3))
    assert not before[:3, :3, :3].any()
    drawByHand(segmentationNode, liver, volumeNode, corner)
    edited = voxels(segmentationNode, liver)
    segmenter.redo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), edited)
    drawByHand(segmentationNode, liver, volumeNode, corner, value=0)
    assert segmenter.canRedo(liver)
    segmenter.redo(liver)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), wanted)
