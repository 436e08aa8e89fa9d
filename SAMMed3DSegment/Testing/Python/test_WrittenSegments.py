"""What clicks write into a scene: grids, transforms, neighbours, masking, surfaces."""

import numpy as np
import pytest
import slicer

from helpers import make_affine, phantom
from mrmlNodes import addSegment, addVolume, drawByHand, linearTransform, voxels
from sammed3d import Box
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import SPOTS, clicksOf, expectedMask, settle, worldOf


@pytest.mark.slow
def test_neighbours_stay_bit_identical_after_100_clicks(segmenter, segmentationNode, volumeNode, liver):
    rng = np.random.default_rng(0)
    neighbours = [addSegment(segmentationNode, name) for name in ("spleen", "kidney", "bone")]
    for n, neighbour in enumerate(neighbours):
        begin = np.array((8 * n, 10, 5))
        drawByHand(segmentationNode, neighbour, volumeNode, Box(tuple(begin), tuple(begin + 12)))
    before = [voxels(segmentationNode, neighbour) for neighbour in neighbours]
    for n in range(100):
        segmenter.click(liver, worldOf(segmenter, rng.uniform(1, (38, 48, 28))), positive=n % 4 != 3)
        if n % 10 == 0:
            settle(segmenter)
    settle(segmenter)
    assert all((voxels(segmentationNode, liver) & b).any() for b in before), "they overlap it"
    for neighbour, mask in zip(neighbours, before, strict=True):
        assert np.array_equal(voxels(segmentationNode, neighbour), mask)


def test_the_segment_editors_area_and_range_are_honoured(segmenter, segmentationNode, volumeNode, liver):
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
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    whole = expectedMask(volumeNode, clicksOf(segmenter, liver))
    array = volumeFromNode(volumeNode).array
    expected = whole * ((array >= 300) & (array <= 500))
    expected[:, :, 15:] = 0
    assert expected.any()
    assert expected.sum() < whole.sum()
    assert np.array_equal(voxels(segmentationNode, liver), expected)


def test_masking_of_another_segmentation_does_not_hold(scene, segmenter, segmentationNode, volumeNode, liver):
    """The Segment Editor was left with something else in it."""
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = scene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "another"))
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(300, 310)
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, clicksOf(segmenter, liver)))


def test_a_segment_counts_as_begun_and_what_somebody_said_of_it_stays(segmenter, segmentationNode, liver):
    logic, segment = slicer.vtkSlicerSegmentationsModuleLogic, segmentationNode.GetSegmentation().GetSegment(liver)
    assert logic.GetSegmentStatus(segment) == logic.NotStarted
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    assert logic.GetSegmentStatus(segment) == logic.InProgress
    for status in (logic.Completed, logic.Flagged):
        logic.SetSegmentStatus(segment, status)
        segmenter.click(liver, worldOf(segmenter, SPOTS[1 + status % 2]))
        settle(segmenter)
        assert logic.GetSegmentStatus(segment) == status


def test_overwriting_is_possible_where_asked_for(segmenter, segmentationNode, volumeNode, liver):
    from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode

    neighbour = addSegment(segmentationNode, "spleen")
    drawByHand(segmentationNode, neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    segmenter.click(liver, worldOf(segmenter, SPOTS[0]))
    settle(segmenter)
    mine, theirs = voxels(segmentationNode, liver), voxels(segmentationNode, neighbour)
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


def test_volume_and_segmentation_under_different_transforms(scene, segmenter, volumeNode, segmentationNode, liver):
    shift = np.eye(4)
    shift[:3, 3] = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3))[:3, :3] @ [2, 3, -1]
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    world = worldOf(segmenter, SPOTS[0])
    segmenter.click(liver, world)
    settle(segmenter)
    [click] = clicksOf(segmenter, liver)
    assert np.allclose(click.world, volumeFromNode(volumeNode).grid.to_world(SPOTS[0]))
    mask = expectedMask(volumeNode, [click])
    seen = np.argwhere(voxels(segmentationNode, liver, (45, 55, 30))).mean(axis=0)
    assert np.allclose(seen, np.argwhere(mask).mean(axis=0) + np.array((2, 3, -1)), atol=0.2)


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
