"""Segments that take voxels from each other: undo and redo leave the neighbours as they were, whatever overwrites."""

import numpy as np
import slicer

from mrmlNodes import drawByHand, voxels
from sammed3d import Box
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import SegmentWriter
from SAMMed3DSegmentLib.SegmentWriter import Holdings, setOverwriteMode
from segmenters import SPOTS, clickAt, settle, worldOf

EDITOR = slicer.vtkMRMLSegmentEditorNode


def test_an_undo_gives_the_neighbour_its_voxels_back(segmenter, segmentationNode, volumeNode, liver, spleen):
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    masks = [(voxels(segmentationNode, liver), voxels(segmentationNode, spleen))]
    for spot in SPOTS[:3]:
        clickAt(segmenter, liver, spot, positive=spot != SPOTS[1])
        masks.append((voxels(segmentationNode, liver), voxels(segmentationNode, spleen)))
        assert np.array_equal(masks[-1][0], 1 - masks[-1][1]), "each voxel belongs to one of both"
    for mine, theirs in reversed(masks[:-1]):
        segmenter.undo(liver)
        assert np.array_equal(voxels(segmentationNode, liver), mine)
        assert np.array_equal(voxels(segmentationNode, spleen), theirs)
    for mine, theirs in masks[1:]:
        segmenter.redo(liver)
        assert np.array_equal(voxels(segmentationNode, liver), mine)
        assert np.array_equal(voxels(segmentationNode, spleen), theirs)


def test_after_an_edit_by_hand_the_neighbour_still_gets_its_voxels_back(
    segmenter, segmentationNode, volumeNode, liver, spleen
):
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    clickAt(segmenter, liver, SPOTS[0])
    taken = voxels(segmentationNode, liver)
    inside = tuple(int(n) for n in np.argwhere(taken)[0])
    drawByHand(segmentationNode, liver, volumeNode, Box(inside, tuple(n + 1 for n in inside)), value=0)
    segmenter.reset(liver)
    settle(segmenter)
    assert not voxels(segmentationNode, liver).any()
    left = 1 - voxels(segmentationNode, spleen)
    assert np.argwhere(left).tolist() in ([], [list(inside)]), "all but what somebody took away by hand"


def test_neighbours_that_share_voxels_both_get_them_back(segmenter, segmentationNode, volumeNode, liver, spleen):
    kidney = segmentationNode.GetSegmentation().AddEmptySegment("", "kidney")
    for neighbour in (spleen, kidney):
        drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    before = [voxels(segmentationNode, neighbour) for neighbour in (spleen, kidney)]
    clickAt(segmenter, liver, SPOTS[0])
    assert all((voxels(segmentationNode, n) < b).any() for n, b in zip((spleen, kidney), before, strict=True))
    segmenter.undo(liver)
    for neighbour, theirs in zip((spleen, kidney), before, strict=True):
        assert np.array_equal(voxels(segmentationNode, neighbour), theirs)


def test_an_undo_takes_nothing_that_the_state_had_not_taken(segmenter, segmentationNode, volumeNode, liver, spleen):
    """Both held the same voxels when none was overwritten; a negative click and its undo leave the neighbour alone."""
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    clickAt(segmenter, liver, SPOTS[0])
    mine, theirs = voxels(segmentationNode, liver), voxels(segmentationNode, spleen)
    assert (mine & theirs).any()
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    clickAt(segmenter, liver, SPOTS[1], positive=False)
    assert (voxels(segmentationNode, liver) < mine).any()
    segmenter.undo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), mine)
    assert np.array_equal(voxels(segmentationNode, spleen), theirs)


def test_a_dragged_point_leaves_no_voxel_to_nobody(segmenter, segmentationNode, volumeNode, liver, spleen):
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    clickAt(segmenter, liver, SPOTS[0])
    segmenter.pointsFor(liver).SetNthControlPointPositionWorld(0, worldOf(segmenter, SPOTS[3]))
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), 1 - voxels(segmentationNode, spleen))


def test_a_hidden_segment_that_keeps_its_voxels_does_not_stop_an_undo(
    segmenter, segmentationNode, volumeNode, liver, spleen
):
    """The same voxels are the spleen's and the hidden kidney's: only the spleen loses them, and gets them back."""
    kidney = segmentationNode.GetSegmentation().AddEmptySegment("", "kidney")
    for neighbour in (spleen, kidney):
        drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    segmentationNode.GetDisplayNode().SetSegmentVisibility(kidney, False)
    setOverwriteMode(EDITOR.OverwriteVisibleSegments)
    before = [voxels(segmentationNode, neighbour) for neighbour in (spleen, kidney)]
    clickAt(segmenter, liver, SPOTS[0])
    assert np.array_equal(voxels(segmentationNode, spleen), 1 - voxels(segmentationNode, liver))
    segmenter.undo(liver)
    for neighbour, theirs in zip((spleen, kidney), before, strict=True):
        assert np.array_equal(voxels(segmentationNode, neighbour), theirs)


def test_what_the_neighbour_got_back_by_itself_stays_its_own(segmenter, segmentationNode, volumeNode, liver, spleen):
    """The liver overwrites the spleen, which is drawn again over it; a further click on the liver is undone."""
    everything = Box((0, 0, 0), (40, 50, 30))
    drawByHand(segmentationNode, spleen, volumeNode, everything)
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    clickAt(segmenter, liver, SPOTS[0])
    drawByHand(segmentationNode, spleen, volumeNode, everything)
    mine, theirs = voxels(segmentationNode, liver), voxels(segmentationNode, spleen)
    assert (mine & theirs).any()
    clickAt(segmenter, liver, SPOTS[1], positive=False)
    assert (voxels(segmentationNode, liver) < mine).any()
    segmenter.undo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), mine)
    assert np.array_equal(voxels(segmentationNode, spleen), theirs)


def test_what_a_third_segment_took_meanwhile_is_not_given_away(segmenter, segmentationNode, volumeNode, liver, spleen):
    kidney = segmentationNode.GetSegmentation().AddEmptySegment("", "kidney")
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    clickAt(segmenter, liver, SPOTS[0])
    clickAt(segmenter, kidney, SPOTS[0])
    taken = voxels(segmentationNode, kidney)
    assert taken.any()
    segmenter.undo(liver)
    assert np.array_equal(voxels(segmentationNode, kidney), taken)
    assert not (voxels(segmentationNode, spleen) & taken).any()


def test_several_steps_at_once_pass_all_that_was_exchanged(segmentationNode, volumeNode, liver, spleen):
    """From the first state to the third: what the second took and the third gave back is the neighbour's."""
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    whole = voxels(segmentationNode, spleen)
    held = [Holdings.of(segmentationNode, liver)]
    for end in ((30, 30, 20), (10, 10, 10)):
        mask = BoxedMask.of(_block((2, 2, 2), end))
        held.append(SegmentWriter.write(segmentationNode, liver, volumeNode, mask, held[-1]))
    for wanted, mine in ((0, _block((0, 0, 0), (0, 0, 0))), (2, _block((2, 2, 2), (10, 10, 10)))):
        now = SegmentWriter.restore(segmentationNode, liver, held[wanted], held[-1])
        held.append(now)
        assert np.array_equal(voxels(segmentationNode, liver), mine)
        assert np.array_equal(voxels(segmentationNode, spleen), whole & ~mine & 1)


def _block(begin, end):
    array = np.zeros((40, 50, 30), np.uint8)
    array[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))] = 1
    return array
