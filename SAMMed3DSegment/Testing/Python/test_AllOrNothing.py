"""A write that Slicer refuses halfway changes nothing: not the segment, and not the neighbours that it takes from."""

import re

import numpy as np
import pytest
import slicer

from mrmlNodes import drawByHand, voxels
from refusals import refusing
from sammed3d import Box, VolumeError
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import SegmentWriter
from SAMMed3DSegmentLib.SegmentWriter import Holdings, setOverwriteMode
from segmenters import SPOTS, clickAt, clicksOf, settle, worldOf


def refusedEverywhere(failure, ask, holds):
    """Ask for something, of which one write after the other fails, until none does; returns what comes of it.

    Args:
        failure: one of `FAILURES`.
        ask: asks for it.
        holds: called after each failure.
    """
    how, kind, says = FAILURES[failure]
    for at in range(100):
        with refusing(at, **how) as logic:
            try:
                made = ask()
            except kind as error:
                refused = error
            else:
                assert at == logic.calls >= 4, "each write failed once: of the segment, and of two neighbours"
                return made
        assert re.search(says, str(refused))
        holds()
    raise AssertionError("it never ends")


def block(*corners):
    box = Box(*corners)
    return BoxedMask(box, np.ones(box.shape, np.uint8, order="F"))


@pytest.fixture
def organs(segmentationNode, volumeNode, liver):
    """Three segments that overlap what is written; all are overwritten."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.AddEmptySegment(name, name) for name in ("spleen", "kidney", "far")]
    for name, box in zip(
        ids,
        (Box((0, 0, 0), (20, 20, 20)), Box((15, 0, 0), (30, 20, 20)), Box((32, 40, 2), (38, 45, 8))),
        strict=True,
    ):
        drawByHand(segmentationNode, name, volumeNode, box)
    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    return [liver, *ids]


def seen(segmentationNode, ids):
    return [voxels(segmentationNode, name) for name in ids]


def same(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


FAILURES = {
    "refused": ({}, VolumeError, "a segment could not be changed.*All segments are as they were"),
    "halfway": ({"halfway": True}, VolumeError, "All segments are as they were"),
    "memory": ({"error": MemoryError(), "halfway": True}, VolumeError, "not enough memory.*as they were"),
    "fault": ({"error": RuntimeError("broken"), "halfway": True}, RuntimeError, "^broken$"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_write_that_fails_anywhere_changes_nothing(segmentationNode, volumeNode, organs, failure):
    place = segmentationNode, organs[0]
    first = SegmentWriter.write(*place, volumeNode, block((2, 2, 2), (12, 12, 12)), Holdings.of(*place, volumeNode))
    wanted, before = block((8, 2, 2), (25, 12, 12)), seen(segmentationNode, organs)

    def holds(masks, held):
        assert same(seen(segmentationNode, organs), masks)
        assert Holdings.of(*place).digest == held.digest

    second = refusedEverywhere(
        failure, lambda: SegmentWriter.write(*place, volumeNode, wanted, first), lambda: holds(before, first)
    )
    after = seen(segmentationNode, organs)
    assert np.array_equal(after[0], wanted.full((40, 50, 30)))
    refusedEverywhere(failure, lambda: SegmentWriter.restore(*place, first, second), lambda: holds(after, second))
    assert same(seen(segmentationNode, organs), before), "undo gives all back, after it failed so often"


def test_what_cannot_be_put_back_is_named(segmentationNode, volumeNode, organs):
    place = segmentationNode, organs[0]
    before, says = (
        Holdings.of(*place, volumeNode),
        r"could not be changed.* These are not as they were: spleen\. Open the scene",
    )
    with refusing(1, forGood=True), pytest.raises(VolumeError, match=says):
        SegmentWriter.write(*place, volumeNode, block((2, 2, 2), (12, 12, 12)), before)


def test_a_click_that_is_refused_is_taken_back_and_redo_brings_it(segmenter, segmentationNode, organs):
    clickAt(segmenter, organs[0], SPOTS[0])
    before, clicks = seen(segmentationNode, organs), clicksOf(segmenter, organs[0])
    for at in (0, 1):
        with refusing(at, halfway=True):
            segmenter.click(organs[0], worldOf(segmenter, SPOTS[1]))
            settle(segmenter)
        assert segmenter.message.endswith("as they were. 1 click of liver was taken back; Redo brings it again.")
        assert clicksOf(segmenter, organs[0]) == clicks
        assert same(seen(segmentationNode, organs), before)
        assert segmenter.canFollow(organs[0])
        assert segmenter.canRedo(organs[0])
    segmenter.redo(organs[0])
    settle(segmenter)
    assert len(clicksOf(segmenter, organs[0])) == 2
    assert not same(seen(segmentationNode, organs), before)
    segmenter.undo(organs[0])
    assert same(seen(segmentationNode, organs), before)


def test_undo_and_redo_and_reset_that_are_refused_say_so_and_work_later(segmenter, segmentationNode, organs):
    clickAt(segmenter, organs[0], SPOTS[0], SPOTS[1])
    for name, ask, clicks in (("undo", segmenter.undo, 1), ("redo", segmenter.redo, 2), ("reset", segmenter.reset, 0)):
        before, now = seen(segmentationNode, organs), clicksOf(segmenter, organs[0])
        with refusing(1, halfway=True):
            ask(organs[0])
        assert segmenter.message.endswith("All segments are as they were."), name
        assert clicksOf(segmenter, organs[0]) == now
        assert same(seen(segmentationNode, organs), before), name
        ask(organs[0])
        assert segmenter.message == ""
        assert len(clicksOf(segmenter, organs[0])) == clicks
        assert not same(seen(segmentationNode, organs), before)
