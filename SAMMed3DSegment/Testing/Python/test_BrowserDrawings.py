"""Scribbles and lassos in the page: drawn in slice views, listed, removed, undone, saved."""

import numpy as np
import pytest
import slicer

from helpers import make_affine, phantom
from mrmlNodes import drawByHand, voxels
from sammed3d import Box, Grid, Session, Volume
from sammed3d.core import prompt_files
from sammed3d.web import results
from sammed3d.web.crosshair import at_crosshair
from sammed3d.web.desks import PromptsShown
from sammed3d.web.drawings import HINTS, Drawings
from sammed3d.web.work import Work
from SAMMed3DSegmentLib import DrawingNodes
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import newSegmenter, settle, until
from slicerHarness.views import SliceView

AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
MIDDLE = tuple((AFFINE @ [20, 25, 15, 1])[:3])


@pytest.fixture
def said():
    """What the page says."""
    return []


@pytest.fixture
def view(work):
    """A slice through something."""
    work.open(Volume(phantom((40, 50, 30)), Grid((40, 50, 30), AFFINE), "CT 7"))
    view = SliceView("ViewBrowserDrawings")
    view.show(work.volume_node, through=MIDDLE)
    return view


@pytest.fixture
def drawings(work, view, said):
    return Drawings(work, said.append, lambda: [(view.interactor, view.node)])


def wait(work):
    until(lambda: not work.segmenter.busy, work.poll)


def line(view, reach=25):
    return np.add(view.pixelOf(MIDDLE), [(n, n / 3) for n in range(-reach, reach, 3)])


def circle(view, radius=12):
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.add(view.pixelOf(MIDDLE), radius * np.stack([np.cos(turn), np.sin(turn)], axis=1))


def worlds(view, pixels):
    return [view.worldAt(int(x), int(y)) for x, y in pixels]


def made(work):
    return voxels(work.segmentation_node, work.segment_id)


def curves():
    return list(DrawingNodes.drawingNodes())


def test_strokes_and_loops_are_what_a_session_makes_of_them(work, view, drawings, predictor, said):
    drawings.use("scribble", True)
    assert (drawings.kind, drawings.positive, said) == ("scribble", True, [HINTS["scribble"]])
    view.draw(line(view))
    wait(work)
    session = Session(volumeFromNode(work.volume_node), predictor)
    session.scribble(worlds(view, line(view)))
    first = made(work)
    assert first.any()
    assert np.array_equal(first, session.mask())
    assert drawings.kind == "scribble", "drawing goes on"
    drawings.use("lasso", False)
    view.draw(circle(view))
    wait(work)
    session.lasso(worlds(view, circle(view)), positive=False)
    assert np.array_equal(made(work), session.mask())
    assert not np.array_equal(made(work), first)
    assert [(row.kind, row.positive) for row in drawings.rows()] == [("scribble", True), ("lasso", False)]
    work.undo()
    assert np.array_equal(made(work), first)
    assert [row.kind for row in drawings.rows()] == ["scribble"]
    work.redo()
    assert np.array_equal(made(work), session.mask())
    assert len(drawings.rows()) == 2


def test_one_is_removed_and_comes_back_with_undo(work, view, drawings):
    for kind, positive, pixels in (("scribble", True, line(view)), ("lasso", False, circle(view))):
        drawings.use(kind, positive)
        view.draw(pixels)
        wait(work)
    both, (scribble, _) = made(work), drawings.rows()
    drawings.remove("no such drawing")
    drawings.remove(scribble.id)
    wait(work)
    assert [(row.kind, row.positive) for row in drawings.rows()] == [("lasso", False)]
    assert not made(work).any(), "nothing says any more what the object is"
    work.undo()
    assert np.array_equal(made(work), both)
    assert [row.kind for row in drawings.rows()] == ["scribble", "lasso"]
    assert np.allclose(drawings.middle(drawings.rows()[0].id), worlds(view, line(view))[8], atol=1e-3)
    assert drawings.middle("no such drawing") is None


def test_the_segment_need_not_keep_to_what_is_drawn(work, view, drawings):
    drawings.use("scribble", True)
    view.draw(line(view))
    wait(work)
    assert drawings.honour
    drawings.keep_to_them(False)
    wait(work)
    assert not drawings.honour
    assert not work.segmenter.objectPrompts([work.segment_id])[0].honour
    work.undo()
    assert drawings.honour


def test_after_a_stroke_of_the_brush_drawings_are_done_and_come_back_when_it_is_undone(work, view, drawings):
    drawings.use("scribble", True)
    view.draw(line(view))
    wait(work)
    before = made(work)
    drawByHand(work.segmentation_node, work.segment_id, work.volume_node, Box((0, 0, 0), (5, 5, 5)))
    work.segmenter.takeEdit(work.segment_id)
    painted = made(work)
    assert not np.array_equal(painted, before)
    assert drawings.rows() == []
    work.undo()
    assert np.array_equal(made(work), before)
    assert [row.kind for row in drawings.rows()] == ["scribble"]
    work.redo()
    assert np.array_equal(made(work), painted)


def test_what_is_no_loop_is_said_and_what_is_dropped_is_not_taken(work, view, drawings, said):
    drawings.use("lasso", True)
    view.draw([view.pixelOf(MIDDLE)] * 3)
    assert said[-1] == "A lasso needs at least 3 points, not 1."
    view.interactor.SetEventInformation(*map(int, view.pixelOf(MIDDLE)))
    view.interactor.InvokeEvent("LeftButtonPressEvent")
    drawings.drop()
    view.interactor.InvokeEvent("LeftButtonReleaseEvent")
    assert (drawings.rows(), work.can_undo, drawings.kind) == ([], False, "lasso")
    assert said[-1].startswith("A lasso"), "of what was dropped nothing is said"
    view.draw(circle(view))
    wait(work)
    assert len(drawings.rows()) == 1


def test_it_takes_turns_with_clicks_and_the_same_again_ends_it(work, view, drawings):
    work.place("positive")
    drawings.use("scribble", False)
    assert (work.placing, drawings.kind, drawings.positive) == ("", "scribble", False)
    drawings.use("scribble", False)
    assert drawings.kind == ""
    drawings.use("circle", True)
    assert drawings.kind == ""
    view.draw(line(view))
    assert drawings.rows() == []
    nothing = Drawings(Work(lambda _choice: None), print, list)
    nothing.use("scribble", True)
    assert (nothing.kind, nothing.rows()) == ("", [])


def test_drawings_are_hidden_with_the_clicks_and_go_with_the_volume(work, view, drawings):
    shown = PromptsShown(work)
    shown.show(False)
    drawings.use("scribble", True)
    view.draw(line(view))
    wait(work)
    shown.keep()
    assert [node.GetDisplayVisibility() for node in curves()] == [0]
    shown.show(True)
    assert [node.GetDisplayVisibility() for node in curves()] == [1]
    work.add()
    assert drawings.rows() == [], "those of the selected segment"
    work.open(Volume(phantom((30, 50, 30)), Grid((30, 50, 30), AFFINE), "second"))
    assert curves() == []


def test_they_are_drawn_in_the_views_that_there_are(work, view, said):
    views = []
    drawings = Drawings(work, said.append, lambda: views)
    drawings.use("scribble", True)
    assert (drawings.kind, said) == ("", ["There is no slice view to draw in. Choose other views."])
    other = SliceView("ViewOther")
    views.append((other.interactor, other.node))
    drawings.use("scribble", True)
    views[:] = [(view.interactor, view.node)]
    drawings.follow()
    view.draw(line(view))
    wait(work)
    assert len(drawings.rows()) == 1


def test_prompts_and_scene_keep_them_and_slicer_goes_on(work, view, drawings, models, tmp_path):
    work.segmenter.click(work.segment_id, MIDDLE)
    wait(work)
    for kind, positive, pixels in (("scribble", True, line(view)), ("lasso", False, circle(view))):
        drawings.use(kind, positive)
        view.draw(pixels)
        wait(work)
    mask = made(work)
    [saved] = prompt_files.read(results.write(work, "prompts.json", tmp_path))
    assert [(d.kind, d.positive, d.after) for d in saved.drawings] == [("scribble", True, 1), ("lasso", False, 1)]
    assert np.allclose(saved.drawings[0].array, worlds(view, line(view)), atol=1e-3)
    file = results.write(work, "mrb", tmp_path)
    work.close()
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(file))
    volume_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentation_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    [segment_id] = segmentation_node.GetSegmentation().GetSegmentIDs()
    kept = [DrawingNodes.drawingOf(node) for node in DrawingNodes.drawingNodes(segmentation_node, segment_id)]
    assert [(d.kind, d.positive) for d in kept] == [("scribble", True), ("lasso", False)]
    segmenter, thread = newSegmenter(volume_node, segmentation_node, models)
    try:
        segmenter.undo(segment_id)
        settle(segmenter)
        assert not np.array_equal(voxels(segmentation_node, segment_id), mask)
        segmenter.redo(segment_id)
        settle(segmenter)
        assert np.array_equal(voxels(segmentation_node, segment_id), mask)
        segmenter.click(segment_id, (AFFINE @ [10, 12, 8, 1])[:3], False)
        settle(segmenter)
        [now] = segmenter.objectPrompts([segment_id])
        assert (len(now.clicks), len(now.drawings)) == (2, 2)
    finally:
        segmenter.forgetScene()
        thread.stop()


def test_those_who_hear_the_page_hear_of_them(work, view, drawings):
    cursor = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if cursor is None:
        cursor = slicer.vtkMRMLCrosshairNode()
        cursor.SetSingletonTag("default")
        cursor = slicer.mrmlScene.AddNode(cursor)
    drawings.use("scribble", False)
    view.draw(line(view))
    wait(work)
    cursor.SetCursorPositionRAS(worlds(view, line(view))[0])
    assert at_crosshair(work).endswith("no segment, a negative scribble.")
