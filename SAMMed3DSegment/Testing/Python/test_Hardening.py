"""Transforms that are hardened: clicks, drawings, boxes and undo stay where the image is."""

import numpy as np
import pytest
import slicer
import vtk

from helpers import make_affine
from mrmlNodes import drawByHand, linearTransform, voxels
from sammed3d import Box, Scribble
from SAMMed3DSegmentLib import DrawingNodes, PointList, VolumeBridge
from SAMMed3DSegmentLib.MaskGrids import matrixOfVolume
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import SPOTS, clickAt, clicksOf, newPredictor, sessionMask, settle, stepsBack, worldOf

MOVED = make_affine((1, 1, 1), (0.0, 0.0, 0.4), (40, -5, 12))


@pytest.fixture(params=[MOVED, make_affine((1, 1, 1), (0, 0, 0), (40, 0, 0))], ids=["turned", "shifted"])
def transform(request, scene, volumeNode, segmentationNode):
    """A transform above the volume and its segmentation."""
    node = linearTransform(scene, request.param)
    for each in (volumeNode, segmentationNode):
        each.SetAndObserveTransformNodeID(node.GetID())
    return node


def voxelsOfClicks(segmenter, segmentId):
    """The voxels (I, J, K) in which the clicks are."""
    grid = volumeFromNode(segmenter.volumeNode).grid
    return [tuple(np.rint(grid.to_index(click.world)).astype(int)) for click in clicksOf(segmenter, segmentId)]


def placesOf(markups):
    return [markups.GetNthControlPointPositionWorld(n) for n in range(markups.GetNumberOfControlPoints())]


def stroke(segmenter):
    grid = volumeFromNode(segmenter.volumeNode).grid
    return Scribble(tuple(tuple(grid.to_world((20 + n, 25, 15))) for n in range(4)))


@pytest.mark.parametrize("order", ["volume", "volume, segmentation", "segmentation, volume"])
def test_all_stays_where_it_was_in_the_world_and_undo_goes_on(
    segmenter, models, volumeNode, segmentationNode, liver, transform, order
):
    nodes = {"volume": volumeNode, "segmentation": segmentationNode}
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (3, 3, 3)))
    masks = [voxels(segmentationNode, liver)]
    for spot in SPOTS[:2]:
        clickAt(segmenter, liver, spot)
        masks.append(voxels(segmentationNode, liver))
    segmenter.draw(liver, stroke(segmenter))
    settle(segmenter)
    masks.append(voxels(segmentationNode, liver))
    [curve], points = DrawingNodes.drawingNodes(), segmenter.pointsFor(liver)
    before, asked = (placesOf(points), placesOf(curve)), len(models.calls)
    for name in order.split(", "):
        nodes[name].HardenTransform()
        assert np.allclose(placesOf(points), before[0], atol=1e-3)
        assert np.allclose(placesOf(curve), before[1], atol=1e-3)
    assert voxelsOfClicks(segmenter, liver) == SPOTS[:2]
    [drawn] = segmenter.objectPrompts([liver])[0].drawings
    assert np.allclose(drawn.points, stroke(segmenter).points, atol=1e-3)
    for step, direction in ((2, "undo"), (1, "undo"), (0, "undo"), (1, "redo"), (2, "redo"), (3, "redo")):
        getattr(segmenter, direction)(liver)
        assert np.array_equal(voxels(segmentationNode, liver), masks[step]), (step, direction)
    assert len(models.calls) == asked, "the masks are known"
    assert not segmenter.canRedo(liver)
    assert voxelsOfClicks(segmenter, liver) == SPOTS[:2]
    clickAt(segmenter, liver, SPOTS[3])
    assert voxelsOfClicks(segmenter, liver) == [*SPOTS[:2], SPOTS[3]]
    assert stepsBack(segmenter, liver) == 4, "hardening is no step of its own"


def test_a_scene_that_was_only_opened_is_followed_too(
    makeSegmenter, volumeNode, segmentationNode, liver, transform, scene
):
    first = makeSegmenter()
    drawByHand(segmentationNode, liver, volumeNode, Box((5, 5, 5), (9, 9, 9)))
    clickAt(first, liver, SPOTS[0])
    first.draw(liver, stroke(first))
    settle(first)
    before = voxels(segmentationNode, liver)
    first.forgetScene()
    later = makeSegmenter()  # knows only what is in the scene, and nothing of this segment yet
    volumeNode.HardenTransform()
    segmentationNode.HardenTransform()
    assert voxelsOfClicks(later, liver) == SPOTS[:1]
    assert stepsBack(later, liver) >= 2
    start = np.zeros_like(before)
    start[5:9, 5:9, 5:9] = 1
    assert np.array_equal(voxels(segmentationNode, liver), start)


def test_a_click_that_is_being_evaluated_is_taken_back_and_redo_brings_it(
    slow, predictor, volumeNode, segmentationNode, liver, transform
):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    volumeNode.HardenTransform()
    assert "CT: its transform was hardened while liver was being segmented" in slow.message
    segmentationNode.HardenTransform()
    predictor.gate.set()
    settle(slow)
    assert clicksOf(slow, liver) == ()
    slow.redo(liver)
    settle(slow)
    assert voxelsOfClicks(slow, liver) == SPOTS[:1]
    assert voxels(segmentationNode, liver).any()


def test_taken_out_of_its_transform_the_volume_takes_its_clicks_along(
    segmenter, volumeNode, segmentationNode, liver, transform
):
    clickAt(segmenter, liver, SPOTS[0])
    for each in (volumeNode, segmentationNode):
        each.SetAndObserveTransformNodeID(None)
    assert voxelsOfClicks(segmenter, liver) == SPOTS[:1]
    assert stepsBack(segmenter, liver) == 1


def test_a_bent_volume_is_another_image_and_its_clicks_stay_in_the_world(
    segmenter, scene, volumeNode, segmentationNode, liver
):
    bend = vtk.vtkThinPlateSplineTransform()
    points = [vtk.vtkPoints(), vtk.vtkPoints()]
    for index, place in enumerate(np.random.default_rng(0).uniform(-60, 160, (12, 3))):
        points[0].InsertNextPoint(place)
        points[1].InsertNextPoint(np.add(place, (3 * (index % 3), 4, -2 * (index % 2))))
    bend.SetBasisToR()
    bend.SetSourceLandmarks(points[0])
    bend.SetTargetLandmarks(points[1])
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    node.SetAndObserveTransformToParent(bend)
    volumeNode.SetAndObserveTransformNodeID(node.GetID())
    clickAt(segmenter, liver, SPOTS[0])
    [clicks] = PointList.pointLists()
    before = placesOf(clicks)
    volumeNode.HardenTransform()
    assert np.allclose(placesOf(clicks), before, atol=1e-3)
    assert not segmenter.canUndo(liver)


def test_a_box_is_round_where_the_image_is_now(segmenter, scene, volumeNode, segmentationNode, liver, transform):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetCenter(worldOf(segmenter, SPOTS[0]))
    roi.SetSize((30, 35, 20))
    segmenter.setBox(liver, roi)
    settle(segmenter)
    volumeNode.HardenTransform()
    assert segmenter.objectPrompts([liver])[0].box.middle == pytest.approx(worldOf(segmenter, SPOTS[0]), abs=1e-3)
    assert stepsBack(segmenter, liver) == 1


def test_neighbours_are_left_as_they_are(segmenter, volumeNode, segmentationNode, liver, spleen, transform):
    """What was taken from them is not given back in the wrong place."""
    drawByHand(segmentationNode, spleen, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    clickAt(segmenter, liver, SPOTS[0])
    theirs = voxels(segmentationNode, spleen)
    for each in (volumeNode, segmentationNode):
        each.HardenTransform()
    segmenter.undo(liver)
    assert not voxels(segmentationNode, liver).any()
    assert np.array_equal(voxels(segmentationNode, spleen), theirs)


def test_a_volume_is_not_read_before_it_is_clicked_in(segmenter, volumeNode, segmentationNode, liver, monkeypatch):
    read, digest = [], VolumeBridge.volumeDigest
    monkeypatch.setattr(VolumeBridge, "volumeDigest", lambda volume: read.append(volume) or digest(volume))
    segmenter.setInput(None, None)
    volumeNode.Modified()  # what was known of it is out of date
    segmenter.setInput(volumeNode, segmentationNode)
    assert not read
    segmenter.pointsFor(liver)
    assert len(read) == 1


# The segmentation's own transform


@pytest.mark.parametrize("bent", [False, True], ids=["linear", "bent"])
def test_undo_after_a_segmentation_was_hardened_leaves_no_mask_where_it_lay_before(
    segmenter, scene, volumeNode, segmentationNode, liver, spleen, bent
):
    """In the world nothing moves: what undo and redo bring lies on the volume as it did."""
    node = bentTransform(scene) if bent else linearTransform(scene, MOVED)
    segmentationNode.SetAndObserveTransformNodeID(node.GetID())
    seen = [None]
    for spot in SPOTS[:2]:
        clickAt(segmenter, liver, spot)
        seen.append(onVolume(segmentationNode, liver, volumeNode))
    clickAt(segmenter, spleen, SPOTS[2])
    segmenter.undo(spleen)  # it is empty, and what is done again was made before
    segmentationNode.HardenTransform()
    assert overlap(onVolume(segmentationNode, liver, volumeNode), seen[2]) > 0.97
    for _ in range(stepsBack(segmenter, liver)):
        segmenter.redo(liver)
        settle(segmenter)
    assert len(clicksOf(segmenter, liver)) == 2 or bent, "a bent one makes other voxels, from which clicks start anew"
    assert overlap(onVolume(segmentationNode, liver, volumeNode), seen[2]) > 0.97
    segmenter.undo(liver)
    settle(segmenter)
    if not bent:
        assert overlap(onVolume(segmentationNode, liver, volumeNode), seen[1]) > 0.97
    segmenter.redo(spleen)
    settle(segmenter)
    expected = sessionMask(volumeNode, newPredictor(), clicksOf(segmenter, spleen))
    assert overlap(onVolume(segmentationNode, spleen, volumeNode), expected) > 0.9


def test_an_edit_before_a_segmentation_is_hardened_is_an_edit_after_it(
    segmenter, scene, volumeNode, segmentationNode, liver
):
    segmentationNode.SetAndObserveTransformNodeID(linearTransform(scene, MOVED).GetID())
    clickAt(segmenter, liver, SPOTS[0])
    made = onVolume(segmentationNode, liver, volumeNode)
    drawByHand(segmentationNode, liver, volumeNode, Box((5, 5, 5), (12, 12, 12)))
    edited = onVolume(segmentationNode, liver, volumeNode)
    segmentationNode.HardenTransform()
    segmenter.undo(liver)
    settle(segmenter)
    assert overlap(onVolume(segmentationNode, liver, volumeNode), made) > 0.97
    segmenter.redo(liver)
    settle(segmenter)
    assert overlap(onVolume(segmentationNode, liver, volumeNode), edited) > 0.97


def test_a_segmentation_that_was_moved_away_and_hardened_is_what_the_next_click_starts_from(
    segmenter, scene, volumeNode, segmentationNode, liver
):
    clickAt(segmenter, liver, SPOTS[0])
    shift = np.eye(4)
    shift[:3, 3] = matrixOfVolume(volumeNode)[:3, :3] @ (3, 2, 1)
    segmentationNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    segmentationNode.HardenTransform()
    moved = onVolume(segmentationNode, liver, volumeNode)
    assert not segmenter.canFollow(liver), "it does not show what clicks made"
    clickAt(segmenter, liver, SPOTS[1])
    clicks = clicksOf(segmenter, liver)
    assert len(clicks) == 1
    assert np.array_equal(
        onVolume(segmentationNode, liver, volumeNode), sessionMask(volumeNode, newPredictor(), clicks, base=moved)
    )


def onVolume(segmentationNode, segmentId, volumeNode):
    """What a segment holds, on the volume's grid, through all transforms."""
    mask = maskOfSegment(segmentationNode, segmentId, volumeNode)
    shape = volumeNode.GetImageData().GetDimensions()
    return np.zeros(shape, np.uint8) if mask is None else mask.full(shape)


def overlap(a, b):
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def bentTransform(scene):
    """A warp of up to a few voxels."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for place in ((0, 0, 0), (60, 0, 0), (0, 80, 0), (0, 0, 70), (50, 60, 60), (20, 20, 30)):
        source.InsertNextPoint(place)
        target.InsertNextPoint([value + 4 * np.sin(value) for value in place])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(spline)
    return node
