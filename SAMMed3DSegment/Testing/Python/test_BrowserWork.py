"""What the page in a browser does with the scene: another front end on the module's code, without a window."""

import time
import zipfile

import numpy as np
import pytest
import slicer

from helpers import ThresholdPredictor, make_affine, phantom
from mrmlNodes import voxels
from sammed3d import Grid, ModelError, Session, Volume, VolumeError
from sammed3d.core import prompt_files
from sammed3d.predictors.remote import served_models
from sammed3d.web import results
from sammed3d.web.desks import PromptsShown
from sammed3d.web.places import Offer, Places
from sammed3d.web.segments import COLORS
from sammed3d.web.work import Work
from SAMMed3DSegmentLib import PointList, Surface
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import SPOTS, newSegmenter, settle, until
from servers import serving

AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))


@pytest.fixture
def volume():
    return Volume(phantom((40, 50, 30)), Grid((40, 50, 30), AFFINE), "/somewhere/CT 7.nii.gz")


@pytest.fixture
def opened(work, volume):
    work.open(volume)
    return work


def place(work, *spots, kind="positive"):
    """Place points as a browser's clicks do: through place mode, into the active list."""
    if work.placing != kind:
        work.place(kind)
    active = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
    points = slicer.mrmlScene.GetNodeByID(active)
    for spot in spots:
        points.AddControlPointWorld(*(AFFINE @ [*spot, 1])[:3])
        until(lambda: not work.segmenter.busy, work.poll)
    assert work.segmenter.message == ""


def made(work, segment_id=None):
    """Voxels of a segment."""
    return voxels(work.segmentation_node, segment_id or work.segment_id)


def test_a_volume_becomes_a_node_with_its_voxels_and_geometry(opened, volume):
    shown = volumeFromNode(opened.volume_node)
    assert np.array_equal(shown.array, volume.array)
    assert np.allclose(shown.grid.index_to_world, AFFINE)
    assert opened.volume_node.GetName() == "CT 7"


def test_the_model_is_loaded_while_the_first_click_is_aimed(scene, volume, predictor):
    loaded = []
    work = Work(lambda choice: loaded.append(choice) or predictor)
    work.open(volume)
    assert loaded == []
    work.place("positive")
    until(lambda: loaded, work.poll)
    place(work, SPOTS[0])
    assert loaded == ["default"]
    work.close()


@pytest.mark.parametrize("dtype", [">i2", "<f4", "u1"])
def test_voxels_of_every_byte_order_are_shown(work, volume, dtype):
    array = np.ascontiguousarray((volume.array // 8).astype(dtype))
    work.open(Volume(array, volume.grid, "other"))
    assert np.array_equal(volumeFromNode(work.volume_node).array, array)


def test_clicks_make_what_a_session_makes_of_them(opened, predictor):
    place(opened, SPOTS[0], SPOTS[1])
    place(opened, SPOTS[2], kind="negative")
    session = Session(volumeFromNode(opened.volume_node), predictor)
    session.set_clicks(PointList.clicksFromPointList(opened.segmenter.pointsFor(opened.segment_id), opened.volume_node))
    assert [click.positive for click in session.current.prompts.clicks] == [True, True, False]
    assert np.array_equal(made(opened), session.mask())
    assert opened.rows()[0].ml == pytest.approx(session.mask().sum() * 15 / 1000, rel=1e-3)
    assert " ms (" in opened.status


def test_undo_redo_and_reset_are_the_modules(opened):
    assert (opened.can_undo, opened.can_redo) == (False, False)
    place(opened, SPOTS[0])
    first = made(opened)
    place(opened, SPOTS[1])
    second = made(opened)
    opened.undo()
    assert np.array_equal(made(opened), first)
    opened.redo()
    assert np.array_equal(made(opened), second)
    opened.reset()
    assert not made(opened).any()
    assert opened.rows()[0].ml is None
    opened.undo()
    assert np.array_equal(made(opened), second)


def test_keys_of_place_mode(opened):
    opened.toggle()
    assert opened.placing == ""
    opened.place("negative")
    opened.toggle()
    assert opened.placing == "positive"
    opened.place("positive")  # again: back to looking around
    assert opened.placing == ""
    opened.place("sideways")
    assert opened.placing == ""


def test_clicks_go_into_the_selected_segment(opened):
    place(opened, SPOTS[0])
    first, before = opened.segment_id, made(opened)
    opened.add()
    assert opened.placing == "positive"
    place(opened, SPOTS[1])
    assert opened.segment_id != first
    assert np.array_equal(made(opened, first) | made(opened), before | made(opened))
    assert [row.color for row in opened.rows()] == list(COLORS[:2])
    opened.select("no such segment")
    opened.select(first)
    place(opened, SPOTS[3])
    assert len(PointList.placed(PointList.pointListOf(opened.segmentation_node, first))) == 2


def test_segments_are_named_coloured_hidden_and_removed(opened):
    place(opened, SPOTS[0])
    [row] = opened.rows()
    opened.segments.rename(row.id, "  left kidney ")
    opened.segments.rename(row.id, "   ")
    opened.segments.recolor(row.id, "#102030")
    opened.segments.recolor(row.id, "red; background: url(x)")
    opened.segments.show(row.id, False)
    [row] = opened.rows()
    assert (row.name, row.color, row.visible) == ("left kidney", "#102030", False)
    assert opened.segments.middle(row.id) is not None
    opened.remove(row.id)
    [left] = opened.rows()
    assert left.id != row.id
    assert left.ml is None
    assert not [
        points for points in PointList.pointLists() if points.GetAttribute(PointList.SEGMENT_ATTRIBUTE) == row.id
    ]
    place(opened, SPOTS[1])
    assert Surface.isShown(opened.segmentation_node)


def test_surfaces_follow_when_the_clicks_pause(opened, monkeypatch):
    monkeypatch.setattr("sammed3d.web.work.SURFACE_PAUSE", 0.05)
    place(opened, SPOTS[0])
    assert not opened.has_surface
    until(lambda: opened.has_surface, lambda: (time.sleep(0.01), opened.poll()))
    segment = opened.segmentation_node.GetSegmentation().GetSegment(opened.segment_id)
    surface = segment.GetRepresentation("Closed surface")
    assert surface.GetNumberOfPoints() > 100
    assert not surface.GetFieldData().HasArray(Surface.STALE)


def test_another_volume_takes_the_place_of_the_first_with_all_that_was_made(opened, volume):
    place(opened, SPOTS[0])
    opened.open(Volume(volume.array[:30].copy(), Grid((30, 50, 30), AFFINE), "second.nrrd"))
    scene = slicer.mrmlScene
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert list(PointList.pointLists()) == []
    assert [row.ml for row in opened.rows()] == [None]
    assert opened.placing == ""
    place(opened, SPOTS[0])
    assert made(opened).any()


def test_the_clicks_can_be_hidden(opened):
    place(opened, SPOTS[0])
    shown = PromptsShown(opened)
    shown.show(False)
    assert [points.GetDisplayNode().GetVisibility() for points in PointList.pointLists()] == [0]
    shown.show(True)
    assert [points.GetDisplayNode().GetVisibility() for points in PointList.pointLists()] == [1]


def test_before_a_volume_nothing_happens(work, tmp_path):
    work.place("positive")
    work.add()
    work.undo()
    work.redo()
    work.reset()
    work.remove("x")
    work.segments.rename("x", "y")
    work.segments.show("x", True)
    assert (work.placing, work.rows(), work.segments.middle("x"), work.can_undo) == ("", [], None, False)
    with pytest.raises(VolumeError, match="no segment with anything in it"):
        results.write(work, "seg.nrrd", tmp_path)


def test_a_cancelled_prediction_leaves_the_segment_and_can_be_had_again(opened, predictor):
    place(opened, SPOTS[0])
    before = made(opened)
    predictor.gate.clear()
    active = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
    slicer.mrmlScene.GetNodeByID(active).AddControlPointWorld(*(AFFINE @ [*SPOTS[1], 1])[:3])
    assert opened.segmenter.busy
    opened.segmenter.cancel()
    predictor.gate.set()
    assert np.array_equal(made(opened), before)
    assert opened.can_redo


@pytest.mark.parametrize("kind", results.KINDS)
def test_every_download_is_one_file_with_content(opened, tmp_path, kind):
    with pytest.raises(VolumeError, match="no segment with anything in it"):
        results.write(opened, kind, tmp_path)
    place(opened, SPOTS[0])
    opened.add()
    opened.segments.rename(opened.segment_id, "../segment_1")
    place(opened, SPOTS[1])
    opened.add()  # an empty one is left out
    if kind == "nii.gz":
        with pytest.raises(VolumeError, match="voxels, which a label map cannot hold"):
            results.write(opened, kind, tmp_path)
        opened.remove(opened.rows()[1].id)
    file = results.write(opened, kind, tmp_path)
    assert file.parent == tmp_path
    assert file.name.endswith(kind.removeprefix("prompts").removeprefix("stl"))
    if kind == "stl.zip":
        with zipfile.ZipFile(file) as archive:
            assert len(archive.namelist()) == 2
            assert not any("/" in name for name in archive.namelist())
    elif kind == "prompts.json":
        assert [len(prompts.clicks) for prompts in prompt_files.read(file)] == [1, 1]
    else:
        assert file.stat().st_size > 1000
    with pytest.raises(VolumeError, match="no download 'exe'"):
        results.write(opened, "exe", tmp_path)


def test_slicer_goes_on_with_the_scene(opened, models, tmp_path):
    """The .mrb, opened anew: segments, clicks and the way back are there, and the next click continues."""
    place(opened, SPOTS[0], SPOTS[1])
    mask = made(opened)
    file = results.write(opened, "mrb", tmp_path)
    opened.close()
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(file))
    volume_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentation_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    [segment_id] = segmentation_node.GetSegmentation().GetSegmentIDs()
    assert np.array_equal(voxels(segmentation_node, segment_id), mask)
    segmenter, thread = newSegmenter(volume_node, segmentation_node, models)
    try:
        assert segmenter.canUndo(segment_id)
        segmenter.undo(segment_id)
        settle(segmenter)
        assert not np.array_equal(voxels(segmentation_node, segment_id), mask)
        segmenter.redo(segment_id)
        segmenter.click(segment_id, (AFFINE @ [*SPOTS[2], 1])[:3], False)
        settle(segmenter)
        assert segmenter.message == ""
        assert len(segmenter.objectPrompts([segment_id])[0].clicks) == 3
    finally:
        segmenter.forgetScene()
        thread.stop()


def test_predictions_run_where_the_page_says(scene, volume):
    places = Places(lambda: [Offer("default", "Default")])
    assert [model.value for model in places.models] == ["default"]
    with serving(ThresholdPredictor()) as server:
        choice = places.server(f" {server.url} ")
        assert places.url == ""  # asked first, used afterwards
        models = places.served(choice)
        assert [model.value for model in models] == [model.name for model in served_models(server.url)]
        assert [model.by_slice for model in models] == [False]
        places.use_server(choice, models)
        assert places.url == server.url
        work = Work(places.predictors.load, places.choice_of)
        try:
            work.open(volume)
            place(work, SPOTS[0])
            assert made(work).any()
        finally:
            work.close()
    places.use_this_computer()
    assert places.url == ""
    assert places.choice_of("default").place == "local"


def test_a_server_that_does_not_answer_is_not_used():
    places = Places(lambda: [Offer("default", "Default")])
    with pytest.raises(ModelError, match="address"):
        places.server("  ")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9"):
        places.served(places.server("http://127.0.0.1:9"))
    assert places.url == ""
