"""The buttons, keys and words round clicks."""

import pytest
import slicer

import qt
from helpers import make_affine, phantom
from mrmlNodes import addVolume
from panels import settle
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.PanelKeys import actionsOf
from SAMMed3DSegmentLib.Settings import SERVER
from segmenters import SPOTS, worldOf


@pytest.fixture
def volumeNode(module, ui, scene):
    node = addVolume(scene, phantom((40, 50, 30)), make_affine((2.0, 2.5, 3.0)))
    ui.volumeSelector.setCurrentNode(node)
    return node


def click(module, ijk, positive=True):
    module.panel.segmenter.click(module.panel.segmentId, worldOf(module.panel.segmenter, ijk), positive)
    settle(module)


def press(module, key):
    """What a key does."""
    [shortcut] = [s for s in module.panel.shortcuts.keys if s.key == qt.QKeySequence(key)]
    shortcut.activated.emit()


def segments(module):
    node = module.logic.getParameterNode().segmentation
    return 0 if node is None else node.GetSegmentation().GetNumberOfSegments()


def test_T_changes_the_kind_of_click(module, ui, volumeNode):
    for positive in (True, False, True):
        press(module, "T")
        assert (ui.positiveButton.checked, ui.negativeButton.checked) == (positive, not positive)


def test_keys_hide_reset_and_remove(module, ui, volumeNode, answers):
    press(module, "P")
    click(module, SPOTS[0])
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    for shown in (False, True):
        press(module, "H")
        assert bool(points.GetDisplayVisibility()) == shown
    answers.give("Empty this segment", True)
    press(module, "Shift+R")
    settle(module)
    assert not PointList.kinds(points)
    answers.give("Remove the segment", True)
    press(module, "Shift+D")
    assert segments(module) == 0


def test_five_presses_of_E_make_one_segment(module, ui, volumeNode):
    for _ in range(5):
        press(module, "E")
    assert segments(module) == 1
    assert "still empty" in ui.statusLabel.text
    click(module, SPOTS[0])
    for _ in range(5):
        press(module, "E")
    assert segments(module) == 2
    click(module, SPOTS[1], positive=False)
    press(module, "E")
    assert segments(module) == 3, "a segment with clicks is not fresh, though nothing is in it yet"


def test_points_have_the_colour_of_their_kind_and_a_sign(module, ui, volumeNode):
    press(module, "P")
    click(module, SPOTS[0])
    click(module, SPOTS[1], positive=False)
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    display = points.GetDisplayNode()
    assert [points.GetNthControlPointSelected(n) for n in range(2)] == [True, False]
    assert display.GetSelectedColor() == pytest.approx(PointList.GREEN)
    assert display.GetColor() == pytest.approx(PointList.RED)
    assert len(set(display.GetActiveColor())) == 1, "under the mouse it has the colour of neither"
    assert [points.GetNthControlPointLabel(n) for n in range(2)] == ["+", "-"]
    assert display.GetPointLabelsVisibility()
    ui.undoButton.click()
    ui.redoButton.click()
    settle(module)
    assert [points.GetNthControlPointLabel(n) for n in range(2)] == ["+", "-"], "also when they are put back"


def test_whether_clicks_are_shown_is_what_the_scene_says(module, ui, volumeNode, scene, tmp_path):
    press(module, "P")
    click(module, SPOTS[0])
    ui.pointsButton.click()
    file = str(tmp_path / "hidden.mrb")
    assert scene.WriteToMRB(file)
    ui.pointsButton.click()
    scene.Clear(0)
    assert ui.pointsButton.checked
    assert scene.ReadFromMRB(file)
    assert not ui.pointsButton.checked
    assert not any(points.GetDisplayVisibility() for points in PointList.pointLists())


def test_the_hint_says_what_hinders(module, ui, volumeNode):
    assert "Press Positive" in ui.hintLabel.text
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("")
    assert "Enter the address of the server" in ui.hintLabel.text
    ui.urlEdit.setText("https://gpu.example.org")
    assert "Agree in the section" in ui.hintLabel.text
    assert module.logic.settings.place == SERVER


def test_waiting_says_how_long_and_how_much(module, ui, volumeNode, predictor, monkeypatch):
    import sammed3d

    press(module, "P")
    predictor.gate.clear()
    segmenter = module.panel.segmenter
    segmenter.click(module.panel.segmentId, worldOf(segmenter, SPOTS[0]))
    assert predictor.asked.wait(20)
    monkeypatch.setattr(type(segmenter), "stage", "send")
    monkeypatch.setattr(type(segmenter), "progress", (0.4, 7.2))
    qt.QApplication.processEvents()
    assert ui.statusLabel.text == "Sending the image to the server... 40% 7 s"
    monkeypatch.undo()
    share, seconds = segmenter.progress
    assert share is None
    assert 0 <= seconds < 60
    predictor.gate.set()
    settle(module)
    assert ui.statusLabel.text.startswith("Done in ")
    assert "decode" in ui.statusLabel.toolTip
    assert sammed3d.Cancellation().share is None


def test_the_segment_editor_is_one_click_away(module, ui, volumeNode, scene):
    assert not ui.editorButton.enabled
    press(module, "P")
    click(module, SPOTS[0])
    opened = slicer.util.mainWindow().moduleSelector()
    for _ in range(2):
        ui.editorButton.click()
        assert opened.selected == "SegmentEditor"
        editor = scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        assert editor.GetSegmentationNode() is module.logic.getParameterNode().segmentation
        assert editor.GetSourceVolumeNode() is volumeNode
        assert editor.GetSelectedSegmentID() == module.panel.segmentId
        slicer.util.selectModule("SAMMed3DSegment")


def test_words_are_those_of_clinicians(ui):
    assert "not for clinical decisions" in ui.researchLabel.text
    texts = [w.text for w in ui.positiveButton.parent().findChildren(qt.QPushButton)]
    assert not [text for text in texts if "checkpoint" in text.lower()]
    assert ui.writingSection.text == "Overlapping segments"


@pytest.mark.parametrize("key", ["T", "S", "Shift+S", "L", "Shift+L", "B", "P", "E", "X", "Shift+F", "A", "K", "U"])
@pytest.mark.parametrize("segmentation", [False, True])
def test_no_key_needs_a_volume(module, ui, scene, key, segmentation):
    """Keys that are no button's are there without a volume too; an error of theirs would be in the console only."""
    if segmentation:
        ui.segmentationSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    actionsOf(module.panel)[key]()
    if key in ("T", "S", "Shift+S", "L", "Shift+L"):
        assert "choose it first" in module.panel.status.text
    assert not module.panel.placeMode.active
    assert module.panel.drawing.mode.kind is None
