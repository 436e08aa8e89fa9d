"""What went wrong in use once, and must not again."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
import slicer

from helpers import make_affine, phantom
from mrmlNodes import OBLIQUE, addVolume, drawByHand, linearTransform, voxels
from sammed3d import Box, VolumeError
from sammed3d.errors import ModelReplacedError
from sammed3d.inference.object_timeline import same_clicks
from SAMMed3DSegmentLib import PointList, SceneRecord
from SAMMed3DSegmentLib.PlaceMode import PlaceMode
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import SPOTS, clickAt, clicksOf, newPredictor, sessionMask, settle, stepsBack, worldOf
from slicerHarness.views import SliceView

# Kinds of points


@pytest.mark.parametrize("changed", ["nothing", "a hand edit", "the next frame"])
def test_a_negative_click_in_a_slice_view_is_negative(
    segmenter, scene, volumeNode, segmentationNode, liver, models, changed
):
    """A point is modified before it is placed: its kind must be known by then, also where that starts anew."""
    mode = PlaceMode()
    mode.start(lambda: segmenter.pointsFor(liver))
    centre = worldOf(segmenter, SPOTS[0])
    view = SliceView(f"View{changed}")
    view.show(volumeNode, through=centre)
    start = view.pixelOf(centre)
    view.click(*start)
    settle(segmenter)
    if changed == "a hand edit":
        drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (4, 4, 4)))
    elif changed == "the next frame":
        volumeNode.SetAndObserveImageData(addVolume(scene, phantom((40, 50, 30), 3), OBLIQUE, "next").GetImageData())
    segmenter.positive = False
    calls = len(models.calls)
    view.click(*np.add(start, (25, 15)))
    settle(segmenter)
    mode.close()
    kinds = [click.positive for click in clicksOf(segmenter, liver)]
    assert kinds == ([True, False] if changed == "nothing" else [False])
    assert len(models.calls) == calls + 1, "one click, one prediction"
    steps = {"nothing": 2, "a hand edit": 3, "the next frame": 1}
    assert stepsBack(segmenter, liver) == steps[changed], "one click, one step"


@pytest.mark.parametrize("event", ["PointAddedEvent", "PointModifiedEvent", "PointPositionDefinedEvent"])
def test_nobody_sees_a_placed_point_without_its_kind(segmenter, liver, event):
    points, seen = segmenter.pointsFor(liver), []
    segmenter.positive = False

    def look(*_):
        count = points.GetNumberOfControlPoints()
        seen.extend(PointList.isPositive(points, n) for n in range(count) if PointList.isPlaced(points, n))

    tag = points.AddObserver(getattr(slicer.vtkMRMLMarkupsNode, event), look)
    points.AddControlPointWorld(worldOf(segmenter, SPOTS[0]))
    points.RemoveObserver(tag)
    settle(segmenter)
    assert seen
    assert not any(seen)


# Models


def test_after_a_server_got_another_model_the_next_click_asks_that_one(
    segmenter, segmentationNode, volumeNode, liver, models
):
    clickAt(segmenter, liver, SPOTS[0])
    first = voxels(segmentationNode, liver)
    models["default"].fail = ModelReplacedError("the model was replaced")
    clickAt(segmenter, liver, SPOTS[1])
    assert "replaced" in segmenter.message
    assert np.array_equal(voxels(segmentationNode, liver), first)
    models.predictors["default"] = newPredictor(0.6)
    clickAt(segmenter, liver, SPOTS[1])
    assert models.loaded == ["default", "default"]
    expected = sessionMask(volumeNode, models["default"], clicksOf(segmenter, liver))
    assert np.array_equal(voxels(segmentationNode, liver), expected), "about all clicks"


def test_masks_stay_when_the_model_changes_and_undo_brings_all_back(
    segmenter, segmentationNode, volumeNode, liver, models
):
    clickAt(segmenter, liver, SPOTS[0], SPOTS[2])
    first, clicks = voxels(segmentationNode, liver), clicksOf(segmenter, liver)
    segmenter.model = "other"
    clickAt(segmenter, liver, SPOTS[1])
    assert models.loaded == ["default", "other"]
    second = voxels(segmentationNode, liver)
    [click] = clicksOf(segmenter, liver)
    assert np.array_equal(second, sessionMask(volumeNode, models["other"], [click], base=first)), (
        "it starts from the mask"
    )
    assert "other goes on from the mask that default made" in segmenter.message
    segmenter.undo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), first), "at once"
    assert same_clicks(clicksOf(segmenter, liver), clicks)
    segmenter.redo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), second)
    assert models.loaded == ["default", "other"], "neither of both needs a model"


def test_a_scene_whose_model_is_missing_keeps_its_mask(
    segmenter, makeSegmenter, segmentationNode, volumeNode, liver, models
):
    segmenter.model = "other"
    clickAt(segmenter, liver, SPOTS[0], SPOTS[2])
    before = voxels(segmentationNode, liver)
    segmenter.forgetScene()
    del models.predictors["other"]
    later = makeSegmenter()
    clickAt(later, liver, SPOTS[1])
    [click] = clicksOf(later, liver)
    assert np.array_equal(
        voxels(segmentationNode, liver), sessionMask(volumeNode, models["default"], [click], base=before)
    )
    assert later.message == "default goes on from the mask that other made."
    later.undo(liver)
    settle(later)
    assert np.array_equal(voxels(segmentationNode, liver), before)
    later.undo(liver)
    settle(later)
    assert "no model 'other'" in later.message
    assert np.array_equal(voxels(segmentationNode, liver), before), "what cannot be made again stays"


# Volumes and their place


def test_clicks_inside_a_smaller_volume_are_taken_though_old_ones_lie_outside(
    segmenter, scene, segmentationNode, liver, models
):
    clickAt(segmenter, liver, (5, 5, 5), SPOTS[0])
    corner = OBLIQUE @ [10, 10, 8, 1]
    affine = OBLIQUE.copy()
    affine[:3, 3] = corner[:3]
    crop = addVolume(scene, volumeFromNode(segmenter.volumeNode).array[10:, 10:, 8:], affine, "crop")
    before = maskOfSegment(segmentationNode, liver, crop)
    segmenter.setInput(crop, segmentationNode)
    clickAt(segmenter, liver, (8, 9, 7))
    assert segmenter.message == ""
    [click] = clicksOf(segmenter, liver)
    expected = sessionMask(crop, models["default"], [click], base=before.full((30, 40, 22)))
    assert np.array_equal(maskOfSegment(segmentationNode, liver, crop).full((30, 40, 22)), expected)


@pytest.mark.parametrize("pending", [False, True])
def test_a_volume_that_is_moved_between_clicks_leaves_no_stale_voxels(
    segmenter, scene, segmentationNode, volumeNode, liver, models, pending
):
    clickAt(segmenter, liver, SPOTS[0])
    if pending:
        models["default"].gate.clear()
        segmenter.click(liver, worldOf(segmenter, SPOTS[2]))
    shift = np.eye(4)
    shift[:3, 3] = OBLIQUE[:3, :3] @ [2, -2, 1]
    before = maskOfSegment(segmentationNode, liver, volumeNode)
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    if not pending:
        seen = maskOfSegment(segmentationNode, liver, volumeNode)
        assert seen.box.begin == tuple(np.subtract(before.box.begin, (2, -2, 1))), "it stays where it is in the world"
        clickAt(segmenter, liver, SPOTS[2])
        [click] = clicksOf(segmenter, liver)
        expected = sessionMask(volumeNode, models["default"], [click], base=seen.full((40, 50, 30)))
    else:
        models["default"].gate.set()
        settle(segmenter)
        expected = sessionMask(volumeNode, models["default"], clicksOf(segmenter, liver))
        assert len(clicksOf(segmenter, liver)) == 2, "the clicks went with the volume"
    assert np.array_equal(maskOfSegment(segmentationNode, liver, volumeNode).full((40, 50, 30)), expected)
    while segmenter.canUndo(liver):
        segmenter.undo(liver)
        settle(segmenter)
    assert not voxels(segmentationNode, liver, (60, 60, 60)).any(), "nothing is left over"


def test_clicks_go_with_their_volume(segmenter, scene, volumeNode, segmentationNode, liver, models):
    clickAt(segmenter, liver, SPOTS[0])
    before, calls = clicksOf(segmenter, liver), len(models.calls)
    transform = linearTransform(scene, make_affine((1, 1, 1), (0.3, 0.2, 0.1), (5, 6, 7)))
    for node in (volumeNode, segmentationNode):
        node.SetAndObserveTransformNodeID(transform.GetID())
    assert same_clicks(clicksOf(segmenter, liver), before)
    shown = PointList.pointListOf(segmentationNode, liver).GetNthControlPointPositionWorld(0)
    assert np.allclose(shown, volumeToWorld(volumeNode, before[0].world)), "and are seen where it is seen"
    clickAt(segmenter, liver, SPOTS[2])
    assert len(clicksOf(segmenter, liver)) == 2
    assert len(models.calls) == calls + 1
    assert np.array_equal(
        voxels(segmentationNode, liver), sessionMask(volumeNode, models["default"], clicksOf(segmenter, liver))
    )


def test_a_transform_that_flattens_the_volume_is_refused_by_name(segmenter, scene, volumeNode, liver):
    transform = linearTransform(scene, np.diag([1.0, 0.0, 1.0, 1.0]))
    transform.SetName("Flat")
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(VolumeError, match="CT: its transform Flat flattens the volume"):
        segmenter.pointsFor(liver)


def test_what_needs_a_usable_volume_says_so(segmenter, scene, volumeNode, segmentationNode, liver):
    clickAt(segmenter, liver, SPOTS[0])
    before = voxels(segmentationNode, liver)
    segmenter.setInput(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"), segmentationNode)
    for operation in (segmenter.reset, segmenter.undo, segmenter.redo):
        segmenter.message = ""
        operation(liver)
        assert "Empty: this volume holds no image" in segmenter.message
    assert not segmenter.canUndo(liver)
    assert np.array_equal(voxels(segmentationNode, liver), before)


@pytest.mark.slow
def test_a_deleted_volume_is_let_go(segmenter, scene, segmentationNode, liver):
    images = []
    for n in range(3):
        volume = addVolume(scene, phantom((40, 50, 30), seed=n), OBLIQUE, f"CT {n}")
        images.append(weakref.ref(volume.GetImageData()))
        segmenter.setInput(volume, segmentationNode)
        clickAt(segmenter, liver, SPOTS[n])
        scene.RemoveNode(volume)
        assert segmenter.volumeNode is None
    del volume
    segmenter.poll()
    gc.collect()
    assert [image() for image in images] == [None, None, None]


# Quick clicks, failures, cancellation


def test_a_negative_click_on_nothing_says_what_to_do(segmenter, segmentationNode, liver):
    clickAt(segmenter, liver, SPOTS[0], positive=False)
    assert "there is nothing yet" in segmenter.message
    assert len(clicksOf(segmenter, liver)) == 1, "it counts as soon as there is something"


# Scenes


# What goes away


def test_a_segment_removed_elsewhere_takes_its_points_and_starting_masks_along(
    segmenter, segmentationNode, volumeNode, liver, spleen
):
    drawByHand(segmentationNode, liver, volumeNode, Box((0, 0, 0), (6, 6, 6)))
    clickAt(segmenter, liver, SPOTS[0])
    clickAt(segmenter, spleen, SPOTS[2])
    segmentationNode.GetSegmentation().RemoveSegment(liver)
    assert [points.GetAttribute(PointList.SEGMENT_ATTRIBUTE) for points in PointList.pointLists()] == [spleen]
    store = segmentationNode.GetNodeReference(SceneRecord.ROLE)
    assert store.GetSegmentation().GetNumberOfSegments() == 0


def test_a_point_list_follows_the_name_of_its_segment(segmenter, segmentationNode, liver):
    points = segmenter.pointsFor(liver)
    assert points.GetName() == "liver clicks"
    segmentationNode.GetSegmentation().GetSegment(liver).SetName("Left lobe")
    assert points.GetName() == "Left lobe clicks"


def test_nothing_is_observed_any_more_after_the_scene_was_left(segmenter, scene, segmentationNode, volumeNode, liver):
    clickAt(segmenter, liver, SPOTS[0])
    points = segmenter.pointsFor(liver)
    segmenter.forgetScene()
    told = []
    segmenter.onChanged = lambda: told.append(1)
    points.AddControlPointWorld((0, 0, 0))
    segmentationNode.GetSegmentation().GetSegment(liver).SetName("other")
    with contextlib.suppress(AttributeError):
        scene.RemoveNode(volumeNode)
    assert points.GetName() == "liver clicks"
    assert not told


def test_what_a_failure_takes_back_is_counted_also_where_the_model_changed(segmenter, liver, models):
    clickAt(segmenter, liver, SPOTS[0], SPOTS[2])
    segmenter.model = "other"
    models["other"].fail = RuntimeError("the network is away")
    clickAt(segmenter, liver, SPOTS[1])
    assert "1 click of liver was taken back; Redo brings it again." in segmenter.message
    assert len(clicksOf(segmenter, liver)) == 2


def test_a_copy_of_the_volume_under_another_transform_goes_on_with_the_same_clicks(
    segmenter, scene, volumeNode, segmentationNode, liver
):
    """The old clicks stay at their places in the image, though these are outside it in the world of before."""
    clickAt(segmenter, liver, SPOTS[0])
    copy = addVolume(scene, volumeFromNode(volumeNode).array, OBLIQUE, "copy")
    copy.SetAndObserveTransformNodeID(linearTransform(scene, make_affine((1, 1, 1), (0, 0, 0), (150, 0, 0))).GetID())
    scene.RemoveNode(volumeNode)
    segmenter.setInput(copy, segmentationNode)
    clickAt(segmenter, liver, SPOTS[2])
    assert segmenter.message == ""
    grid = volumeFromNode(copy).grid
    places = [grid.to_index(click.world) for click in clicksOf(segmenter, liver)]
    assert np.allclose(places[-1], SPOTS[2], atol=0.01)
    assert len(places) == 1 or np.allclose(places, [SPOTS[0], SPOTS[2]], atol=0.01)


def test_a_click_outside_another_volume_moves_no_click_of_the_first(segmenter, scene, segmentationNode, liver):
    clickAt(segmenter, liver, SPOTS[0], SPOTS[2])
    other = addVolume(scene, phantom((40, 50, 30), 4), OBLIQUE, "MR")
    other.SetAndObserveTransformNodeID(linearTransform(scene, make_affine((1, 1, 1), (0, 0, 0), (4, 5, 6))).GetID())
    segmenter.setInput(other, segmentationNode)
    points = segmenter.pointsFor(liver)
    before = [tuple(points.GetNthControlPointPositionWorld(n)) for n in range(2)]
    segmenter.click(liver, (5000.0, 0.0, 0.0))
    assert "lies outside MR" in segmenter.message
    after = [tuple(points.GetNthControlPointPositionWorld(n)) for n in range(points.GetNumberOfControlPoints())]
    assert np.allclose(after, before)
