"""What ends what is on: another volume, a removed segment, a scene, consent that is taken back, an editor of old."""

import pytest
import slicer

import qt
from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume, newEditor
from panels import placeClick, settle
from SAMMed3DSegmentLib.SegmentWriter import overwriteMode
from SAMMed3DSegmentLib.Settings import SERVER
from segmenters import SPOTS, worldOf
from slicerHarness.views import SliceView


@pytest.fixture
def clicked(module, ui, chosenVolume):
    """A click in a segment, and positive clicks switched on."""
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    assert module.panel.placeMode.active
    return module


def test_another_volume_ends_placing(clicked, ui, scene):
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((40, 50, 30)), OBLIQUE, "another patient"))
    assert not clicked.panel.placeMode.active


def test_a_segment_that_is_removed_ends_placing_though_there_is_another(clicked, ui, answers):
    ui.addSegmentButton.click()
    assert clicked.panel.placeMode.active
    answers.give("Remove the segment", True)
    ui.removeSegmentButton.click()
    assert clicked.panel.segmentId, "the other one"
    assert not clicked.panel.placeMode.active


def test_with_the_scene_goes_the_place_to_click_next(clicked, ui, scene):
    ui.nextPlaceButton.click()
    settle(clicked)
    assert clicked.panel.nextPlace.next.place is not None
    scene.Clear(0)
    assert clicked.panel.nextPlace.next.place is None
    assert clicked.panel.nextPlace.next.overlay.node is None


def test_consent_that_is_taken_back_stops_what_is_predicted(clicked, ui, predictor):
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("https://gpu.example.org")
    ui.consentCheckBox.click()
    ui.positiveButton.click()
    segmenter = clicked.panel.segmenter
    assert segmenter.modelChoice(segmenter.model).place == SERVER
    predictor.gate.clear()
    segmenter.click(clicked.panel.segmentId, worldOf(segmenter, SPOTS[1]))
    assert segmenter.busy
    ui.consentCheckBox.click()
    assert not segmenter.hasModel
    segmenter.poll()
    assert not segmenter.busy, "it goes on nowhere"
    predictor.gate.set()


def test_the_sample_is_offered_while_there_is_no_volume(module, ui, volumeNode):
    assert ui.tryButton.isVisibleTo(module.root)
    ui.volumeSelector.setCurrentNode(volumeNode)
    assert not ui.tryButton.isVisibleTo(module.root)


@pytest.fixture
def editor(registered, clicked, ui, volumeNode):
    """A Segment Editor in which the effect is on, and clicks overwrite."""
    slicer.modules.sammed3dsegment.widgetRepresentation().exit()
    editor = newEditor(clicked.panel.segmenter.segmentationNode, volumeNode)
    editor.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    editor.setCurrentSegmentID(clicked.panel.segmentId)
    editor.setActiveEffectByName("SAM-Med3D")
    yield editor
    editor.close()


def test_views_show_what_the_segment_editor_says(clicked, editor, scene):
    """Its source volume may be one that is not shown: the editor shows its own."""
    view = SliceView("Editor")
    view.show(clicked.panel.segmenter.volumeNode)
    before = view.logic.GetSliceCompositeNode().GetBackgroundVolumeID()
    other = addVolume(scene, phantom((40, 50, 30), 2), OBLIQUE, "subtraction")
    editor.setSourceVolumeNode(other)
    qt.QApplication.processEvents()
    assert clicked.panel.segmenter.volumeNode is other
    assert view.logic.GetSliceCompositeNode().GetBackgroundVolumeID() == before


def test_a_scene_that_was_saved_from_the_segment_editor_has_the_modules_own_overlaps(clicked, editor, scene, tmp_path):
    assert overwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    editor.close()
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(clicked)
    assert overwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteNone


def test_what_the_module_writes_is_no_step_of_the_segment_editor(clicked, ui, editor, monkeypatch):
    """Only what its effect writes is."""
    saved = []
    monkeypatch.setattr(type(editor), "saveStateForUndo", lambda _editor: saved.append(True))
    clicked.panel.borrower.place(True)
    placeClick(clicked, SPOTS[1])
    assert saved == [True]
    editor.setActiveEffect(None)
    slicer.modules.sammed3dsegment.widgetRepresentation().enter()
    ui.positiveButton.click()
    placeClick(clicked, SPOTS[2])
    assert saved == [True]
