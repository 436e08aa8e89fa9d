"""The panel, driven as a user would, on the real scene."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import slicer

import qt
import slicerHarness
from helpers import make_affine, phantom
from mrmlNodes import addVolume, drawByHand, linearTransform, voxels
from panels import MODULE, currentMask, keptModules, placeClick, settle, shownSegmentation, wait
from sammed3d import Box
from SAMMed3DSegmentLib import PointList, Surface
from SAMMed3DSegmentLib.MaskGrids import matrixOfImage, matrixOfVolume
from SAMMed3DSegmentLib.Shortcuts import SEGMENT_EDITOR_KEYS
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import worldOf
from slicerHarness.views import SliceView


def test_an_empty_scene_says_where_to_begin(ui):
    assert "Load a CT or MR" in ui.hintLabel.text
    assert not ui.tryButton.isHidden()
    for name in ("positiveButton", "negativeButton", "undoButton", "redoButton", "resetButton", "exportButton"):
        assert not getattr(ui, name).enabled, name
    assert ui.cancelButton.isHidden()


def test_the_chosen_volume_is_shown_where_it_is_not(module, ui, scene, volumeNode):
    one, two = SliceView("One"), SliceView("Two")
    other = addVolume(scene, phantom((8, 8, 8)), np.eye(4), "T1")
    for view in (one, two):
        view.show(other)
    two.logic.GetSliceCompositeNode().SetForegroundVolumeID(volumeNode.GetID())
    ui.volumeSelector.setCurrentNode(volumeNode)
    shown = [view.logic.GetSliceCompositeNode().GetBackgroundVolumeID() for view in (one, two)]
    assert shown == [volumeNode.GetID(), other.GetID()], "in the second it lies over another one"
    one.show(other)
    module.panel.readScene()
    assert one.logic.GetSliceCompositeNode().GetBackgroundVolumeID() == other.GetID(), "nobody chose anything"


def test_a_first_segment_within_three_presses(module, ui, chosenVolume):
    assert "Press Positive" in ui.hintLabel.text
    ui.positiveButton.click()
    assert module.panel.placeMode.active
    assert "Click in the middle" in ui.hintLabel.text
    placeClick(module, (20, 25, 15))
    assert currentMask(module).any()
    assert "Something wrong?" in ui.hintLabel.text
    assert "Done in" in ui.statusLabel.text
    assert module.panel.placeMode.active, "it stays on until switched off"


def test_polarity_buttons_exclude_each_other_and_colour_the_points(module, ui, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    ui.negativeButton.click()
    assert (ui.positiveButton.checked, ui.negativeButton.checked) == (False, True)
    placeClick(module, (30, 25, 15))
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    assert [PointList.isPositive(points, n) for n in range(2)] == [True, False]
    ui.negativeButton.click()
    assert not module.panel.placeMode.active
    assert not ui.negativeButton.checked


def test_placing_that_ends_elsewhere_is_shown(module, ui, chosenVolume):
    ui.positiveButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert not ui.positiveButton.checked


def test_undo_redo_reset(module, ui, chosenVolume, answers):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    first = currentMask(module)
    placeClick(module, (10, 12, 8))
    second = currentMask(module)
    ui.undoButton.click()
    settle(module)
    assert np.array_equal(currentMask(module), first)
    ui.redoButton.click()
    settle(module)
    assert np.array_equal(currentMask(module), second)
    assert not ui.redoButton.enabled
    answers.give("Empty this segment", True)
    ui.resetButton.click()
    settle(module)
    assert not currentMask(module).any()
    ui.undoButton.click()
    settle(module)
    assert np.array_equal(currentMask(module), second)


def test_the_box_button_takes_the_newest_roi(module, ui, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    taken = []
    module.panel.segmenter.setBox = lambda segmentId, roiNode: taken.append((segmentId, roiNode.GetName()))
    ui.boxButton.click()
    assert "Draw a ROI" in ui.statusLabel.text
    for name in ("first", "second"):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    ui.boxButton.click()
    assert taken == [(module.panel.segmentId, "second")]


def test_next_goes_on_with_positive_clicks_in_a_new_segment(module, ui, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    first = module.panel.segmentId
    ui.negativeButton.click()
    ui.nextSegmentButton.click()
    assert module.panel.segmentId != first
    assert ui.positiveButton.checked
    placeClick(module, (10, 12, 8))
    assert currentMask(module).any()
    ui.segmentsTable.setSelectedSegmentIDs([first])
    qt.QApplication.processEvents()
    assert module.panel.segmentId == first, "selecting in the table selects"
    placeClick(module, (25, 25, 15))
    assert len(module.panel.segmenter.objectPrompts([first])[0].clicks) == 2, "clicks follow the selection"


def test_removing_a_segment_asks_and_takes_its_points_along(module, ui, chosenVolume, answers):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    answers.give("Remove the segment", False)
    ui.removeSegmentButton.click()
    assert module.panel.segmentId
    answers.give("Remove the segment", True)
    ui.removeSegmentButton.click()
    assert shownSegmentation(module).GetSegmentation().GetNumberOfSegments() == 0
    assert not list(PointList.pointLists())
    assert not module.panel.placeMode.active


def test_a_segment_removed_elsewhere_is_let_go(module, ui, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    shownSegmentation(module).GetSegmentation().RemoveSegment(module.panel.segmentId)
    assert module.panel.segmentId == ""
    assert not ui.resetButton.enabled
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    assert currentMask(module).any()


@pytest.mark.slow
def test_show_clicks_and_show_3d(module, ui, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    ui.pointsButton.click()
    assert not points.GetDisplayVisibility()
    ui.pointsButton.click()
    assert points.GetDisplayVisibility()
    ui.show3DButton.click()
    assert Surface.isShown(shownSegmentation(module))
    placeClick(module, (10, 12, 8))
    assert module.panel.segmenter.surfacesWait
    wait(lambda: not module.panel.segmenter.surfacesWait)  # the clicks pause
    ui.show3DButton.click()
    assert not Surface.isShown(shownSegmentation(module))


def test_surfaces_are_made_anew_when_clicks_pause(module, ui, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    ui.show3DButton.click()
    placeClick(module, (10, 12, 8))
    assert module.panel.segmenter.surfacesWait, "not at each click"
    wait(lambda: not module.panel.segmenter.surfacesWait)


def test_cancel_frees_the_panel_and_takes_the_click_back(module, ui, chosenVolume, predictor):
    started = []

    def wait(patch, prompts, cancellation=None):
        started.append(True)
        while True:
            cancellation.check()
            time.sleep(0.005)

    predictor.predict = wait
    ui.positiveButton.click()
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    points.AddControlPointWorld(volumeFromNode(chosenVolume).grid.to_world((20, 25, 15)))
    while not started:
        qt.QApplication.processEvents()
    assert not ui.cancelButton.isHidden()
    assert not ui.progressBar.isHidden()
    ui.cancelButton.click()
    settle(module)
    assert points.GetNumberOfDefinedControlPoints() == 0
    assert ui.cancelButton.isHidden()
    assert not currentMask(module).any()


def test_an_error_is_shown_in_the_panel_and_loses_nothing(module, ui, chosenVolume, predictor):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    before = currentMask(module)
    predictor.fail = RuntimeError("the GPU fell off")
    placeClick(module, (10, 12, 8))
    assert "the GPU fell off" in ui.statusLabel.text
    assert np.array_equal(currentMask(module), before)


def test_a_segmentation_from_the_selector_is_seen(module, ui, chosenVolume):
    node = ui.segmentationSelector.addNode()
    assert shownSegmentation(module) is node
    assert node.GetDisplayNode() is not None
    assert node.GetDisplayNode().GetVisibility2D()


def test_new_lists_are_shown_no_more_than_the_others(module, ui, chosenVolume):
    ui.positiveButton.click()
    ui.pointsButton.click()
    assert not module.panel.segmenter.pointsFor(module.panel.segmentId).GetDisplayVisibility()
    ui.nextSegmentButton.click()
    assert not module.panel.segmenter.pointsFor(module.panel.segmentId).GetDisplayVisibility()


@pytest.mark.parametrize("first", ["boxButton", "resetButton", "honourCheckBox"])
def test_the_first_list_is_shown_no_more_than_the_button_says(module, ui, scene, chosenVolume, answers, first):
    module.panel.addSegment()
    ui.pointsButton.click()
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.CreateDefaultDisplayNodes()
    roi.SetCenter(*volumeFromNode(chosenVolume).grid.to_world((20, 25, 15)))
    roi.SetSize(40, 40, 40)
    if first == "resetButton":
        answers.give("Empty this segment", True)
    getattr(ui, first).click()
    settle(module)
    [points] = PointList.pointLists()
    assert not ui.pointsButton.checked
    assert not points.GetDisplayVisibility()


def test_importing_a_scene_keeps_what_was_chosen(module, ui, scene, chosenVolume):
    """The selectors fall to None while their rows are made anew; nobody chose that."""
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    chosen, segmentId = shownSegmentation(module), module.panel.segmentId
    scene.StartState(scene.ImportState)
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Imported")
    scene.EndState(scene.ImportState)
    assert module.logic.getParameterNode().volume is chosenVolume
    assert module.logic.getParameterNode().segmentation is chosen
    assert ui.volumeSelector.currentNode() is chosenVolume
    assert ui.segmentationSelector.currentNode() is chosen
    assert module.panel.segmentId == segmentId


def test_overlap_follows_the_choice(module, ui, chosenVolume):
    module.panel.addSegment()
    neighbour = module.panel.segmentId
    drawByHand(shownSegmentation(module), neighbour, chosenVolume, Box((0, 0, 0), (40, 50, 30)))
    module.panel.addSegment()
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    assert voxels(shownSegmentation(module), neighbour).all(), "by default others are kept"
    ui.overwriteSelector.setCurrentIndex(2)
    placeClick(module, (5, 8, 5))
    placeClick(module, (35, 45, 25))
    assert not voxels(shownSegmentation(module), neighbour).all()


def test_keys_work_only_while_the_module_is_shown(module, ui, chosenVolume):
    shortcuts = module.panel.shortcuts.keys
    assert all(s.isEnabled() for s in shortcuts)
    assert all(s.context == qt.Qt.ApplicationShortcut for s in shortcuts), "also in view windows of their own"
    keys = {s.key.toString() for s in shortcuts}
    assert keys == {*"PNUETHBSLXAK", "Shift+A", "Shift+U", "Shift+R", "Shift+D", "Shift+S", "Shift+L", "Shift+F"}
    assert not {k.upper() for k in keys} & {k.upper() for k in SEGMENT_EDITOR_KEYS}
    next(s for s in shortcuts if s.key.toString() == "P").activated.emit()
    assert module.panel.placeMode.active
    module.parent.exit()
    assert not any(s.isEnabled() for s in shortcuts)
    assert not module.panel.placeMode.active, "clicks belong to the other module now"


def test_closing_the_scene_starts_afresh(module, ui, scene, chosenVolume):
    ui.positiveButton.click()
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    points.AddControlPointWorld(volumeFromNode(chosenVolume).grid.to_world((20, 25, 15)))
    scene.Clear(0)
    settle(module)
    assert "Load a CT or MR" in ui.hintLabel.text
    assert ui.progressBar.isHidden()
    affine = make_affine((2.0, 2.5, 3.0))
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((40, 50, 30)), affine))
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    assert currentMask(module).any()


def test_a_reopened_scene_shows_what_was_chosen(module, ui, scene, chosenVolume, tmp_path):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    ui.nextSegmentButton.click()
    placeClick(module, (10, 12, 8))
    selected, before = module.panel.segmentId, currentMask(module)
    file = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(file)
    scene.Clear(0)
    assert scene.ReadFromMRB(file)
    assert ui.volumeSelector.currentNode().GetName() == "CT"
    assert ui.segmentationSelector.currentNode() is shownSegmentation(module)
    assert module.panel.segmentId == selected
    assert list(ui.segmentsTable.selectedSegmentIDs()) == [selected]
    assert np.array_equal(currentMask(module), before)
    ui.positiveButton.click()
    placeClick(module, (30, 30, 20))
    assert len(module.panel.segmenter.objectPrompts([selected])[0].clicks) == 2
    assert "models" not in Path(file).read_bytes().decode("latin1")


def test_the_sample_is_one_press_away(module, ui):
    ui.tryButton.click()
    node = ui.volumeSelector.currentNode()
    assert node.GetName() == "Trunk CT"
    assert node.GetImageData().GetDimensions() == (122, 101, 112)


def test_reloading_the_module_gives_the_new_code_and_no_second_listener(module, ui, scene, chosenVolume):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    oldPanel, heard = module.panel, []
    oldPanel.readScene = oldPanel.sceneChanges = oldPanel.sceneCloses = lambda: heard.append(True)
    old, before = module, sys.modules["SAMMed3DSegmentLib.Panel"]
    with keptModules():
        module.onReload()
        again = slicer.modules.SAMMed3DSegmentWidget
        assert again is not old
        assert sys.modules["SAMMed3DSegmentLib.Panel"] is not before
        assert type(again.panel) is not type(before.Panel)
        assert old.panel is None
        for event in (scene.StartImportEvent, scene.EndImportEvent):
            scene.InvokeEvent(event)
        assert not heard, "nobody listens twice"
        assert all(s.isEnabled() for s in again.panel.shortcuts.keys), "keys work, though nobody enters anew"
        assert again.ui.volumeSelector.currentNode() is chosenVolume
        segments = shownSegmentation(again).GetSegmentation().GetNumberOfSegments()
        ui.addSegmentButton.click()
        ui.volumeSelector.setCurrentNode(None)
        assert shownSegmentation(again).GetSegmentation().GetNumberOfSegments() == segments, "old buttons are dead"
        assert again.logic.getParameterNode().volume is chosenVolume
        slicerHarness.loadModule(MODULE)


def test_every_control_says_what_it_does(ui):
    for name, item in vars(ui).items():
        if isinstance(item, (qt.QPushButton, qt.QComboBox, qt.QLineEdit, qt.QCheckBox)) and "_" not in name:
            assert item.toolTip, f"{name} has no tooltip"
            assert item.accessibleName or getattr(item, "text", ""), f"{name} has no name for screen readers"


def test_a_segmentation_for_a_volume_under_a_transform_is_on_its_grid(module, ui, chosenVolume):
    """The geometry is the volume's in the frame that both share: the transform is not in it a second time."""
    transform = linearTransform(slicer.mrmlScene, make_affine((1, 1, 1), (0.3, 0.0, 0.1), (50, 60, 70)))
    chosenVolume.SetAndObserveTransformNodeID(transform.GetID())
    ui.positiveButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(worldOf(module.panel.segmenter, (20, 25, 15)))
    settle(module)
    node = module.panel.segmenter.segmentationNode
    image = slicer.vtkOrientedImageData()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = node.GetSegmentation().GetConversionParameter(name)
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    assert np.allclose(matrixOfImage(image), matrixOfVolume(chosenVolume), atol=1e-4)
    assert currentMask(module)[20, 25, 15]
