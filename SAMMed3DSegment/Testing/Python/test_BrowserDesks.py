"""Series of one folder in the page: work on one is put aside while another one is shown, and taken up again."""

import pytest
import slicer

from helpers import make_affine, phantom
from mrmlNodes import voxels
from sammed3d import Grid, Volume
from sammed3d.core.drawings import Scribble
from sammed3d.web import results
from sammed3d.web.desks import PromptsShown, all_masks, put_aside, take_up
from SAMMed3DSegmentLib import DrawingNodes, PointList
from segmenters import SPOTS, until

AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))


def series(name):
    shape = (40, 50, 30)
    return Volume(phantom(shape, seed=len(name)), Grid(shape, AFFINE), name)


def clicked(work, spot):
    work.segmenter.click(work.segment_id, (AFFINE @ [*spot, 1])[:3])
    until(lambda: not work.segmenter.busy, work.poll)


@pytest.fixture
def first(work):
    """Work on a series, with a click, a drawing and a step back."""
    work.open(series("venous"))
    clicked(work, SPOTS[0])
    work.add()
    clicked(work, SPOTS[1])
    places = tuple((AFFINE @ [20 + n, 25, 15, 1])[:3] for n in range(4))
    work.segmenter.draw(work.segment_id, Scribble(places, True))
    until(lambda: not work.segmenter.busy, work.poll)
    work.undo()
    return work


def masks(work):
    return {row.id: voxels(work.segmentation_node, row.id).copy() for row in work.rows()}


def test_work_that_is_put_aside_goes_on_as_it_was(first):
    work, before, selected = first, masks(first), first.segment_id
    desk = put_aside(work)
    work.open(series("arterial"), beside=True)
    assert work.volume_node.GetName() == "arterial"
    assert [row.ml for row in work.rows()] == [None]
    assert (work.can_undo, work.can_redo) == (False, False)
    clicked(work, SPOTS[2])
    other = put_aside(work)
    take_up(work, desk)
    assert work.volume_node.GetName() == "venous"
    assert work.segment_id == selected
    assert {key: mask.tolist() for key, mask in masks(work).items()} == {k: m.tolist() for k, m in before.items()}
    work.redo()
    assert len(list(DrawingNodes.drawingNodes(work.segmentation_node, selected))) == 1
    work.undo()
    work.undo()
    assert [row.ml is None for row in work.rows()] == [False, True]
    put_aside(work)
    take_up(work, other)
    assert work.volume_node.GetName() == "arterial"
    assert work.can_undo


def test_of_what_is_put_aside_nothing_is_seen(first):
    work, shown = first, PromptsShown(first)
    work.redo()
    hidden = work.segmentation_node
    desk = put_aside(work)
    work.open(series("arterial"), beside=True)
    clicked(work, SPOTS[2])
    shown.keep()

    def visible():
        nodes = (*PointList.pointLists(), *DrawingNodes.drawingNodes())
        return [PointList.segmentationOf(node) for node in nodes if node.GetDisplayVisibility()]

    assert not hidden.GetDisplayNode().GetVisibility()
    assert visible() == [work.segmentation_node], "the new list of clicks is seen, though all others are hidden"
    shown.show(False)
    put_aside(work)
    take_up(work, desk)
    shown.keep()
    assert visible() == []
    shown.show(True)
    assert visible() == [hidden] * 3
    assert hidden.GetDisplayNode().GetVisibility()


def test_a_prediction_that_is_under_way_ends_in_the_series_that_it_is_of(work, models):
    work.open(series("venous"))
    node, segment_id = work.segmentation_node, work.segment_id
    models.predictors["default"].gate.clear()
    work.segmenter.click(segment_id, (AFFINE @ [*SPOTS[0], 1])[:3])
    assert put_aside(work) is not None
    work.open(series("arterial"), beside=True)
    models.predictors["default"].gate.set()
    until(lambda: not work.segmenter.busy, work.poll)
    assert voxels(node, segment_id).any()
    assert [row.ml for row in work.rows()] == [None]


def test_what_nobody_worked_on_is_not_kept(work):
    work.open(series("venous"))
    assert put_aside(work) is None
    work.open(series("arterial"), beside=True)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_another_file_is_the_end_of_all_of_them(first):
    put_aside(first)
    first.open(series("arterial"), beside=True)
    first.open(series("knee"))
    assert first.aside == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert list(PointList.pointLists()) == []


def test_a_download_holds_the_masks_of_its_series_and_a_scene_those_of_all(first):
    of_first = results.masks_in(first, "nii.gz")
    put_aside(first)
    first.open(series("arterial"), beside=True)
    clicked(first, SPOTS[2])
    of_second = results.masks_in(first, "seg.nrrd")
    assert of_first
    assert of_second
    assert not of_first & of_second
    assert results.masks_in(first, "mrb") == all_masks(first) == of_first | of_second
    assert results.masks_in(first, "stl.zip") == frozenset()
