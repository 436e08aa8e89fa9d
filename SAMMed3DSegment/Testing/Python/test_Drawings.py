"""Scribbles and lassos of segments: curves in the scene that follow the timeline, and that users may remove."""

import numpy as np
import pytest
import slicer
import vtk

from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume, drawByHand, voxels
from sammed3d import Box, PromptError, Session
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.rasterisation import voxels_of
from SAMMed3DSegmentLib import DrawingNodes, PointList
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import SPOTS, clickAt, settle


@pytest.fixture
def segmentId(segmentationNode):
    return segmentationNode.GetSegmentation().AddEmptySegment("liver", "liver")


def frame(segmenter):
    return volumeFromNode(segmenter.volumeNode)


def drawnAt(segmenter, kind, places, positive=True):
    """A drawing through voxels (I, J, K)."""
    points = frame(segmenter).grid.to_world(np.array(places, float))
    return kind(tuple(map(tuple, points)), positive)


def stroke(segmenter, positive=True):
    return drawnAt(segmenter, Scribble, [(15, 25, 15), (20, 27, 15), (27, 25, 15)], positive)


def loop(segmenter, positive=True):
    return drawnAt(segmenter, Lasso, [(14, 18, 15), (26, 18, 15), (26, 32, 15), (14, 32, 15)], positive)


def draw(segmenter, segmentId, *drawings):
    for drawing in drawings:
        segmenter.draw(segmentId, drawing)
        settle(segmenter)


def nodes(segmentationNode, segmentId):
    return list(DrawingNodes.drawingNodes(segmentationNode, segmentId))


def test_drawings_are_curves_of_their_segment_and_the_segment_is_what_a_session_makes(
    segmenter, segmentationNode, segmentId, predictor
):
    clickAt(segmenter, segmentId, SPOTS[0])
    draw(segmenter, segmentId, stroke(segmenter), loop(segmenter, positive=False))
    scribble, lasso = nodes(segmentationNode, segmentId)
    assert scribble.IsA("vtkMRMLMarkupsCurveNode")
    assert not scribble.IsA("vtkMRMLMarkupsClosedCurveNode")
    assert lasso.IsA("vtkMRMLMarkupsClosedCurveNode")
    assert scribble.GetLocked()
    assert scribble.GetName() == "liver scribble"
    [prompts] = segmenter.objectPrompts([segmentId])
    assert [d.after for d in prompts.drawings] == [1, 1]
    session = Session(frame(segmenter), predictor)
    session.set_prompts(prompts)
    mask = voxels(segmentationNode, segmentId)
    assert np.array_equal(mask, session.mask())
    assert not mask[tuple(voxels_of(prompts.drawings[1], session.volume.grid).T)].any()


def test_undo_and_redo_take_drawings_away_and_bring_them_again(segmenter, segmentationNode, segmentId):
    draw(segmenter, segmentId, stroke(segmenter), loop(segmenter))
    masks = [voxels(segmentationNode, segmentId)]
    for count in (1, 0):
        segmenter.undo(segmentId)
        settle(segmenter)
        assert len(nodes(segmentationNode, segmentId)) == count
        masks.append(voxels(segmentationNode, segmentId))
    assert not masks[-1].any()
    for count in (1, 2):
        segmenter.redo(segmentId)
        settle(segmenter)
        assert len(nodes(segmentationNode, segmentId)) == count
        assert np.array_equal(voxels(segmentationNode, segmentId), masks[2 - count])


def test_a_curve_that_the_user_removes_is_taken_back_and_undo_brings_it_again(segmenter, segmentationNode, segmentId):
    draw(segmenter, segmentId, stroke(segmenter), loop(segmenter, positive=False))
    both = voxels(segmentationNode, segmentId)
    slicer.mrmlScene.RemoveNode(nodes(segmentationNode, segmentId)[1])
    settle(segmenter)
    assert [d.kind for d in segmenter.objectPrompts([segmentId])[0].drawings] == ["scribble"]
    assert not np.array_equal(voxels(segmentationNode, segmentId), both)
    segmenter.undo(segmentId)
    settle(segmenter)
    assert [n.IsA("vtkMRMLMarkupsClosedCurveNode") for n in nodes(segmentationNode, segmentId)] == [False, True]
    assert np.array_equal(voxels(segmentationNode, segmentId), both)


def test_drawings_move_with_the_transform_of_their_volume(segmenter, segmentationNode, segmentId, scene):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    transform.SetMatrixTransformToParent(matrix)
    drawn = stroke(segmenter)
    draw(segmenter, segmentId, drawn)
    [node] = nodes(segmentationNode, segmentId)
    before = np.array(node.GetNthControlPointPositionWorld(0))
    segmenter.volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    assert np.allclose(node.GetNthControlPointPositionWorld(0), np.add(before, (25, 0, 0)))
    world = [tuple(np.add(point, (25, 0, 0))) for point in drawn.points]
    again = DrawingNodes.fromWorld(Scribble, world, True, segmenter.volumeNode)
    assert np.allclose(again.array, drawn.array)


def test_drawings_survive_the_scene_and_another_segmenter_goes_on(
    segmenter, makeSegmenter, segmentationNode, segmentId
):
    clickAt(segmenter, segmentId, SPOTS[0])
    draw(segmenter, segmentId, stroke(segmenter), loop(segmenter, positive=False))
    segmenter.setHonour(segmentId, False)
    settle(segmenter)
    before = segmenter.objectPrompts([segmentId])
    mask = voxels(segmentationNode, segmentId)
    other = makeSegmenter()
    assert other.objectPrompts([segmentId]) == before
    other.undo(segmentId)
    settle(other)
    assert other.objectPrompts([segmentId])[0].honour
    other.redo(segmentId)
    settle(other)
    assert np.array_equal(voxels(segmentationNode, segmentId), mask)
    assert len(nodes(segmentationNode, segmentId)) == 2


def test_removing_a_segment_removes_its_drawings_and_leaves_the_others(segmenter, segmentationNode, segmentId):
    other = segmentationNode.GetSegmentation().AddEmptySegment("spleen", "spleen")
    draw(segmenter, segmentId, stroke(segmenter))
    draw(segmenter, other, loop(segmenter))
    segmentationNode.GetSegmentation().RemoveSegment(segmentId)
    assert nodes(segmentationNode, segmentId) == []
    assert len(nodes(segmentationNode, other)) == 1


def test_a_drawing_outside_is_refused_in_one_line_and_changes_nothing(segmenter, segmentationNode, segmentId):
    draw(segmenter, segmentId, stroke(segmenter))
    with pytest.raises(PromptError, match="scribble lies outside"):
        segmenter.draw(segmentId, Scribble(((9000.0, 0.0, 0.0),)))
    assert len(nodes(segmentationNode, segmentId)) == 1
    assert len(segmenter.objectPrompts([segmentId])[0].drawings) == 1


def test_a_failure_takes_the_drawing_back_and_redo_brings_it_again(segmenter, segmentationNode, segmentId, predictor):
    predictor.fail = RuntimeError("out of memory")
    draw(segmenter, segmentId, stroke(segmenter))
    assert nodes(segmentationNode, segmentId) == []
    assert "taken back" in segmenter.message
    predictor.fail = None
    segmenter.redo(segmentId)
    settle(segmenter)
    assert len(nodes(segmentationNode, segmentId)) == 1
    assert voxels(segmentationNode, segmentId).any()


def test_another_model_goes_on_from_the_mask_with_new_drawings_alone(segmenter, segmentationNode, segmentId):
    draw(segmenter, segmentId, stroke(segmenter))
    mask = voxels(segmentationNode, segmentId)
    segmenter.model = "other"
    draw(segmenter, segmentId, loop(segmenter, positive=False))
    [prompts] = segmenter.objectPrompts([segmentId])
    assert [d.kind for d in prompts.drawings] == ["lasso"]
    assert prompts.initial_mask is not None
    segmenter.undo(segmentId)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, segmentId), mask)


@pytest.mark.parametrize("meanwhile", ["nothing", "a prediction"])
def test_removing_a_segmentation_removes_all_that_belongs_to_it(
    segmenter, predictor, scene, volumeNode, segmentationNode, segmentId, meanwhile
):
    drawByHand(segmentationNode, segmentId, volumeNode, Box((5, 5, 5), (9, 9, 9)))  # what it starts from is kept aside
    clickAt(segmenter, segmentId, SPOTS[0])
    draw(segmenter, segmentId, stroke(segmenter))
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    segmenter.setInput(volumeNode, other)
    spleen = other.GetSegmentation().AddEmptySegment("liver", "liver")
    clickAt(segmenter, spleen, SPOTS[1])
    segmenter.setInput(volumeNode, segmentationNode)
    if meanwhile == "a prediction":
        predictor.gate.clear()
        segmenter.click(segmentId, tuple(frame(segmenter).grid.to_world(SPOTS[2])))
    scene.RemoveNode(segmentationNode)
    predictor.gate.set()
    settle(segmenter)
    assert ("was removed before liver was segmented" in segmenter.message) == (meanwhile == "a prediction")
    left = {scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())}
    markups = [node for node in left if node.IsA("vtkMRMLMarkupsNode")]
    assert [PointList.segmentationOf(points) for points in markups] == [other]
    assert {node.GetID() for node in left if node.IsA("vtkMRMLSegmentationNode")} == {other.GetID()}
    segmenter.setInput(volumeNode, other)
    assert len(segmenter.objectPrompts([spleen])[0].clicks) == 1


def test_whether_drawings_hold_says_nothing_about_voxels_beyond_the_volume(
    segmenter, scene, segmentationNode, volumeNode, liver
):
    drawByHand(segmentationNode, liver, volumeNode, Box((35, 40, 25), (39, 44, 29)))
    before = voxels(segmentationNode, liver)
    small = addVolume(scene, phantom((20, 20, 20)), OBLIQUE, "small")
    segmenter.setInput(small, segmentationNode)
    segmenter.setHonour(liver, False)
    settle(segmenter)
    assert not segmenter.honours(liver)
    assert np.array_equal(voxels(segmentationNode, liver), before)


def test_whether_drawings_hold_is_not_said_about_clicks_in_another_volume(
    segmenter, scene, segmentationNode, liver, models
):
    clickAt(segmenter, liver, SPOTS[0])
    before, asked = voxels(segmentationNode, liver), len(models.calls)
    segmenter.setInput(addVolume(scene, phantom((40, 50, 30), 5), OBLIQUE, "other"), segmentationNode)
    segmenter.setHonour(liver, False)
    settle(segmenter)
    assert not segmenter.honours(liver)
    assert np.array_equal(voxels(segmentationNode, liver), before)
    assert len(models.calls) == asked


@pytest.mark.parametrize("other", [True, False], ids=["another", "none"])
def test_a_drawing_removed_while_another_volume_is_chosen_leaves_the_mask(
    segmenter, scene, volumeNode, segmentationNode, liver, models, other
):
    grid = volumeFromNode(volumeNode).grid
    segmenter.draw(liver, Scribble(tuple(map(tuple, grid.to_world([(20, 25, 15), (24, 25, 15)])))))
    settle(segmenter)
    before, asked = voxels(segmentationNode, liver), len(models.calls)
    chosen = addVolume(scene, phantom((40, 50, 30), 5), OBLIQUE, "other") if other else None
    segmenter.setInput(chosen, segmentationNode)
    [curve] = DrawingNodes.drawingNodes(segmentationNode, liver)
    scene.RemoveNode(curve)
    settle(segmenter)
    assert np.array_equal(voxels(segmentationNode, liver), before)
    assert len(models.calls) == asked
    segmenter.setInput(volumeNode, segmentationNode)
    drawings = segmenter.objectPrompts([liver])[0].drawings
    curves = list(DrawingNodes.drawingNodes(segmentationNode, liver))
    assert len(curves) == len(drawings) == (0 if other else 1), "curves are what is in force"


def test_drawings_that_undo_brings_back_are_hidden_where_the_clicks_are(segmenter, segmentationNode, volumeNode, liver):
    grid = volumeFromNode(volumeNode).grid
    clickAt(segmenter, liver, SPOTS[0])
    segmenter.pointsFor(liver).SetDisplayVisibility(False)
    segmenter.draw(liver, Scribble(tuple(map(tuple, grid.to_world([(20, 25, 15), (24, 25, 15)])))))
    settle(segmenter)
    for step in (segmenter.undo, segmenter.redo):
        step(liver)
    [curve] = DrawingNodes.drawingNodes(segmentationNode, liver)
    assert not curve.GetDisplayVisibility()
    other = segmentationNode.GetSegmentation().AddEmptySegment("", "other")
    assert not segmenter.pointsFor(other).GetDisplayVisibility()
    segmenter.pointsFor(liver).SetDisplayVisibility(True)
    third = segmentationNode.GetSegmentation().AddEmptySegment("", "third")
    assert segmenter.pointsFor(third).GetDisplayVisibility()
