"""*Where next?*: the place and its marker, what its keys do, the overlay, and when both go away."""

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy

import qt
from helpers import make_affine, phantom
from mrmlNodes import addVolume, linearTransform
from panels import settle, wait
from sammed3d import ModelError, Session
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import SPOTS


@pytest.fixture
def volumeNode(module, ui, scene):
    node = addVolume(scene, phantom((40, 50, 30)), make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30)))
    ui.volumeSelector.setCurrentNode(node)
    return node


@pytest.fixture
def composite(scene):
    """What a slice view shows."""
    node = slicer.vtkMRMLSliceCompositeNode()
    node.SetLayoutName("Doubtful")
    return scene.AddNode(node)


def click(module, spot=SPOTS[0], positive=True):
    if not module.panel.segmentId:
        module.panel.addSegment()
    volumeNode = module.panel.segmenter.volumeNode
    place = tuple(volumeFromNode(volumeNode).grid.to_world(spot))
    module.panel.segmenter.click(module.panel.segmentId, volumeToWorld(volumeNode, place), positive)
    settle(module)


def ask(module, ui):
    ui.nextPlaceButton.click()
    settle(module)


def sessionOf(module, volumeNode, predictor):
    session = Session(volumeFromNode(volumeNode), predictor)
    session.set_clicks(clicks(module))
    return session


def clicks(module):
    return module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].clicks


def markers():
    return list(slicer.util.getNodes("Where next?*").values())


def overlays():
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if node.GetName() == "Uncertainty"]


def press(module, key):
    next(k for k in module.panel.shortcuts.keys if k.key.toString() == key).activated.emit()


def middleOf(marker):
    bounds = [0.0] * 6
    marker.GetRASBounds(bounds)
    return np.array(bounds).reshape(3, 2).mean(axis=1)


def test_the_place_is_the_one_that_a_session_suggests_and_the_views_go_there(module, ui, volumeNode, predictor, scene):
    view = scene.AddNode(slicer.vtkMRMLSliceNode())
    assert not ui.nextPlaceButton.enabled
    click(module)
    ask(module, ui)
    expected = sessionOf(module, volumeNode, predictor).suggest()
    assert module.panel.nextPlace.next.place == expected
    assert "Is this part of it?" in ui.statusLabel.text
    [marker] = markers()
    assert np.allclose(middleOf(marker), expected.world, atol=0.05)
    assert not marker.GetSaveWithScene()
    toRas = view.GetSliceToRAS()
    assert np.allclose([toRas.GetElement(row, 3) for row in range(3)], expected.world, atol=0.05)


@pytest.mark.parametrize(("key", "positive"), [("A", True), ("Shift+A", False)])
def test_a_key_takes_the_place_as_a_click(module, ui, volumeNode, key, positive):
    click(module)
    ask(module, ui)
    world = module.panel.nextPlace.next.place.world
    press(module, key)
    assert not markers()
    settle(module)
    assert len(clicks(module)) == 2
    assert clicks(module)[1].positive == positive
    assert np.allclose(clicks(module)[1].world, world, atol=1e-3)
    press(module, key)  # nothing is suggested now
    settle(module)
    assert len(clicks(module)) == 2


def test_skip_goes_to_another_place_without_asking_the_model(module, ui, volumeNode, predictor):
    click(module)
    ask(module, ui)
    first, asked = module.panel.nextPlace.next.place, len(predictor.calls)
    press(module, "K")
    settle(module)
    second = module.panel.nextPlace.next.place
    assert len(predictor.calls) == asked
    assert second == sessionOf(module, volumeNode, predictor).suggest([first.world])
    assert np.linalg.norm(np.subtract(first.world, second.world)) > 6
    assert len(markers()) == 1
    ask(module, ui)
    assert module.panel.nextPlace.next.place == second, "what was skipped stays skipped"


def test_under_a_transform_the_marker_is_where_the_image_is(module, ui, scene, volumeNode):
    transform = linearTransform(scene, make_affine((1, 1, 1), (0.3, 0.0, 0.1), (50, 60, 70)))
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    click(module)
    ask(module, ui)
    place = module.panel.nextPlace.next.place
    [marker] = markers()
    assert marker.GetParentTransformNode() is transform
    press(module, "A")
    settle(module)
    assert np.allclose(clicks(module)[1].world, place.world, atol=1e-3)
    [points] = PointList.pointLists()
    assert np.allclose(points.GetNthControlPointPositionWorld(1), volumeToWorld(volumeNode, place.world), atol=1e-3)


def test_place_mode_stays_on_its_own_points(module, ui, volumeNode):
    ui.positiveButton.click()
    click(module)
    ask(module, ui)
    assert markers()
    assert module.panel.placeMode.active
    [points] = PointList.pointLists()
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID() == points.GetID()


def test_the_overlay_shows_the_entropy_and_gives_the_views_back(module, ui, volumeNode, predictor, composite):
    other = addVolume(slicer.mrmlScene, phantom((8, 8, 8)), np.eye(4), "PET")
    composite.SetForegroundVolumeID(other.GetID())
    composite.SetForegroundOpacity(0.2)
    click(module)
    ui.uncertaintyCheckBox.click()
    settle(module)
    [node] = overlays()
    found = sessionOf(module, volumeNode, predictor).uncertainty()
    shape = node.GetImageData().GetDimensions()
    shown = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars()).reshape(shape[::-1]).T
    assert np.array_equal(shown, found.entropy)
    assert np.allclose(node.GetOrigin(), volumeFromNode(volumeNode).grid.to_world(found.box.begin))
    assert node.GetDisplayNode().GetColorNode().GetName() == "Uncertainty"
    assert composite.GetForegroundVolumeID() == node.GetID()
    ui.opacitySlider.setValue(80)
    assert composite.GetForegroundOpacity() == pytest.approx(0.8)
    ui.uncertaintyCheckBox.click()
    assert (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()) == (other.GetID(), 0.2)
    ui.uncertaintyCheckBox.click()
    assert composite.GetForegroundVolumeID() == node.GetID()
    click(module, SPOTS[3])  # the answer is about another mask now
    assert not overlays()
    assert not markers()
    assert composite.GetForegroundVolumeID() == other.GetID()


@pytest.mark.parametrize("what", ["segment", "selection", "volume", "scene", "undo"])
def test_it_goes_away_with_what_it_is_about(module, ui, scene, volumeNode, composite, answers, what):
    click(module)
    ui.uncertaintyCheckBox.setChecked(True)
    settle(module)
    assert len(markers()) == len(overlays()) == 1
    if what == "segment":
        answers.give("Remove the segment", True)
        ui.removeSegmentButton.click()
    elif what == "selection":
        module.panel.addSegment()
    elif what == "volume":
        scene.RemoveNode(volumeNode)
        module.panel.update()
    elif what == "undo":
        ui.undoButton.click()
        settle(module)
    else:
        scene.Clear(0)
    assert not markers()
    assert not overlays()
    assert not list(slicer.util.getNodes("Uncertainty*").values())
    press(module, "A")
    press(module, "K")


def test_a_saved_scene_shows_what_the_user_had_laid_over_the_image(module, ui, scene, volumeNode, composite, tmp_path):
    other = addVolume(scene, phantom((8, 8, 8)), np.eye(4), "PET")
    composite.SetForegroundVolumeID(other.GetID())
    composite.SetForegroundOpacity(0.7)
    click(module)
    ui.uncertaintyCheckBox.click()
    settle(module)
    [node] = overlays()
    assert slicer.util.saveScene(str(tmp_path / "saved.mrb"))
    assert composite.GetForegroundVolumeID() == node.GetID(), "it is there again"
    assert composite.GetForegroundOpacity() == pytest.approx(0.5)
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "saved.mrb"))
    [shown] = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert scene.GetNodeByID(shown.GetForegroundVolumeID()).GetName() == "PET"
    assert shown.GetForegroundOpacity() == pytest.approx(0.7)


def test_other_modules_see_nothing_of_it(module, ui, volumeNode, composite):
    click(module)
    ask(module, ui)
    ui.uncertaintyCheckBox.setChecked(True)
    settle(module)
    assert len(markers()) == len(overlays()) == 1
    module.parent.exit()
    assert not markers()
    assert not overlays()
    assert not composite.GetForegroundVolumeID()


def test_nothing_of_it_is_saved(module, ui, scene, volumeNode, tmp_path):
    click(module)
    ui.uncertaintyCheckBox.setChecked(True)
    settle(module)
    scene.SetRootDirectory(str(tmp_path))
    assert scene.WriteToMRB(str(tmp_path / "case.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "case.mrb"))
    assert not markers()
    assert not overlays()
    assert scene.GetFirstNodeByName("CT") is not None


def test_cancel_and_failures_are_said_and_change_nothing(module, ui, volumeNode, predictor, monkeypatch):
    click(module)
    before = clicks(module)

    def fail(*_arguments):
        raise ModelError("The server went away.")

    monkeypatch.setattr(predictor, "predict", fail)
    ask(module, ui)
    assert ui.statusLabel.text == "The server went away."
    monkeypatch.undo()
    assert not markers()
    predictor.gate.clear()
    ui.nextPlaceButton.click()
    qt.QApplication.processEvents()
    ui.cancelButton.click()
    predictor.gate.set()
    settle(module)
    assert ui.statusLabel.text.startswith("Cancelled.")
    assert not markers()
    assert clicks(module) == before
    ask(module, ui)
    assert markers()


@pytest.fixture
def asked(module, ui, volumeNode, predictor):
    """While the model is asked, and waits for the gate of the predictor; returns how often it was asked before."""
    click(module)
    other = module.panel.segmentId
    module.panel.addSegment()
    module.panel.segments.select(other)
    calls = len(predictor.calls)
    predictor.gate.clear()
    predictor.asked.clear()
    ui.nextPlaceButton.click()
    wait(predictor.asked.is_set)
    yield calls
    predictor.gate.set()


GONE = {
    "volume": (
        lambda panel: slicer.mrmlScene.RemoveNode(panel.segmenter.volumeNode),
        "CT was removed before the model had answered about Segment_1; that was stopped.",
    ),
    "segmentation": (
        lambda panel: slicer.mrmlScene.RemoveNode(panel.segmenter.segmentationNode),
        "CT segmentation was removed before the model had answered about Segment_1; that was stopped.",
    ),
    "segment": (
        lambda panel: panel.segmenter.segmentationNode.GetSegmentation().RemoveSegment(panel.segmentId),
        "The segment that the model was asked about was removed; that was stopped.",
    ),
    "clicks": (lambda panel: slicer.mrmlScene.RemoveNode(next(PointList.pointLists())), "was removed before the model"),
}


@pytest.mark.parametrize("what", GONE)
def test_what_is_removed_while_the_model_is_asked_ends_that_and_is_said(module, ui, predictor, asked, what):
    act, text = GONE[what]
    act(module.panel)
    for _ in range(3):
        qt.QApplication.processEvents()
    assert not module.panel.segmenter.busy
    assert text in ui.statusLabel.text
    predictor.gate.set()
    settle(module)
    assert len(predictor.calls) <= asked + 1, "it computes no further"
    assert text in ui.statusLabel.text
    assert not markers()


def test_a_click_while_the_model_is_asked_comes_first(module, ui, predictor, asked):
    """The answer would be about what the segment does not show any more."""
    points = next(PointList.pointLists())
    points.AddControlPointWorld(volumeFromNode(module.panel.segmenter.volumeNode).grid.to_world(SPOTS[1]))
    assert len(module.panel.segmenter.underWay) == 1
    predictor.gate.set()
    settle(module)
    assert len(predictor.calls) <= asked + 2
    assert "Done in" in ui.statusLabel.text
    assert not markers()


@pytest.mark.parametrize("how", ["another segment", "another module"])
def test_nobody_is_told_to_answer_about_a_segment_that_is_not_selected(module, ui, predictor, asked, how):
    if how == "another module":
        slicer.modules.sammed3dsegment.widgetRepresentation().exit()
    else:
        segmentation = module.panel.segmenter.segmentationNode.GetSegmentation()
        module.panel.segments.select(segmentation.GetNthSegmentID(1))
    assert not module.panel.segmenter.underWay
    predictor.gate.set()
    settle(module)
    assert "Is this part of it?" not in ui.statusLabel.text
    assert len(predictor.calls) <= asked + 1
    assert not markers()


def test_an_image_that_is_replaced_while_the_model_is_asked_is_said(module, ui, scene, predictor, asked):
    other = addVolume(scene, phantom((40, 50, 30), 5), np.eye(4), "other")
    module.panel.segmenter.volumeNode.SetAndObserveImageData(other.GetImageData())
    predictor.gate.set()
    settle(module)
    assert "is another by now than the model was asked about" in ui.statusLabel.text
    assert not markers()
