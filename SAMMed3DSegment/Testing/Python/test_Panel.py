"""The panel, driven as a user would: every control, on the real scene."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import torch

import qt
import slicerHarness
from helpers import ThresholdPredictor, make_affine, phantom
from mrmlNodes import addVolume, drawByHand, linearTransform, voxels
from panels import keptModules, settle, wait
from sammed3d import Box
from sammed3d.nets import build
from sammed3d.zoo import registry, store
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.store import ModelStore
from SAMMed3DSegmentLib import Exporter, ModelPanel, PointList, SettingsPage, Surface
from SAMMed3DSegmentLib.MaskGrids import matrixOfImage, matrixOfVolume
from SAMMed3DSegmentLib.Predictors import ModelChoice
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings
from SAMMed3DSegmentLib.Shortcuts import SEGMENT_EDITOR_KEYS
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import worldOf

MODULE = Path(__file__).parents[2] / "SAMMed3DSegment.py"


@pytest.fixture
def volumeNode(module, ui, scene):
    """A phantom, chosen as the user would."""
    affine = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    node = addVolume(scene, phantom((40, 50, 30)), affine)
    ui.volumeSelector.setCurrentNode(node)
    return node


def importFile(module, file):
    module.panel.models.importFile(file)
    wait(lambda: not module.panel.models.busy)


def segmentation(module):
    return module.logic.getParameterNode().segmentation


def clickAt(module, ijk):
    """Place a point where the place mode puts it: in the active list."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(volumeFromNode(module.panel.segmenter.volumeNode).grid.to_world(ijk))
    settle(module)


def mask(module):
    return voxels(segmentation(module), module.panel.segmentId)


def test_an_empty_scene_says_where_to_begin(ui):
    assert "Load a CT or MR" in ui.hintLabel.text
    assert not ui.tryButton.isHidden()
    for name in ("positiveButton", "negativeButton", "undoButton", "redoButton", "resetButton", "exportButton"):
        assert not getattr(ui, name).enabled, name
    assert ui.cancelButton.isHidden()


def test_a_first_segment_within_three_presses(module, ui, volumeNode):
    assert "Press Positive" in ui.hintLabel.text
    ui.positiveButton.click()
    assert module.panel.placeMode.active
    assert "Click in the middle" in ui.hintLabel.text
    clickAt(module, (20, 25, 15))
    assert mask(module).any()
    assert "Something wrong?" in ui.hintLabel.text
    assert "Done in" in ui.statusLabel.text
    assert module.panel.placeMode.active, "it stays on until switched off"


def test_polarity_buttons_exclude_each_other_and_colour_the_points(module, ui, volumeNode):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    ui.negativeButton.click()
    assert (ui.positiveButton.checked, ui.negativeButton.checked) == (False, True)
    clickAt(module, (30, 25, 15))
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    assert [PointList.isPositive(points, n) for n in range(2)] == [True, False]
    ui.negativeButton.click()
    assert not module.panel.placeMode.active
    assert not ui.negativeButton.checked


def test_placing_that_ends_elsewhere_is_shown(module, ui, volumeNode):
    ui.positiveButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert not ui.positiveButton.checked


def test_undo_redo_reset(module, ui, volumeNode, answers):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    first = mask(module)
    clickAt(module, (10, 12, 8))
    second = mask(module)
    ui.undoButton.click()
    settle(module)
    assert np.array_equal(mask(module), first)
    ui.redoButton.click()
    settle(module)
    assert np.array_equal(mask(module), second)
    assert not ui.redoButton.enabled
    answers.give("Empty this segment", True)
    ui.resetButton.click()
    settle(module)
    assert not mask(module).any()
    ui.undoButton.click()
    settle(module)
    assert np.array_equal(mask(module), second)


def test_the_box_button_takes_the_newest_roi(module, ui, volumeNode):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    taken = []
    module.panel.segmenter.setBox = lambda segmentId, roiNode: taken.append((segmentId, roiNode.GetName()))
    ui.boxButton.click()
    assert "Draw a ROI" in ui.statusLabel.text
    for name in ("first", "second"):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    ui.boxButton.click()
    assert taken == [(module.panel.segmentId, "second")]


def test_next_goes_on_with_positive_clicks_in_a_new_segment(module, ui, volumeNode):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    first = module.panel.segmentId
    ui.negativeButton.click()
    ui.nextSegmentButton.click()
    assert module.panel.segmentId != first
    assert ui.positiveButton.checked
    clickAt(module, (10, 12, 8))
    assert mask(module).any()
    ui.segmentsTable.setSelectedSegmentIDs([first])
    qt.QApplication.processEvents()
    assert module.panel.segmentId == first, "selecting in the table selects"
    clickAt(module, (25, 25, 15))
    assert len(module.panel.segmenter.objectPrompts([first])[0].clicks) == 2, "clicks follow the selection"


def test_removing_a_segment_asks_and_takes_its_points_along(module, ui, volumeNode, answers):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    answers.give("Remove the segment", False)
    ui.removeSegmentButton.click()
    assert module.panel.segmentId
    answers.give("Remove the segment", True)
    ui.removeSegmentButton.click()
    assert segmentation(module).GetSegmentation().GetNumberOfSegments() == 0
    assert not list(PointList.pointLists())
    assert not module.panel.placeMode.active


def test_a_segment_removed_elsewhere_is_let_go(module, ui, volumeNode):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    segmentation(module).GetSegmentation().RemoveSegment(module.panel.segmentId)
    assert module.panel.segmentId == ""
    assert not ui.resetButton.enabled
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    assert mask(module).any()


@pytest.mark.slow
def test_show_clicks_and_show_3d(module, ui, volumeNode):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    ui.pointsButton.click()
    assert not points.GetDisplayVisibility()
    ui.pointsButton.click()
    assert points.GetDisplayVisibility()
    ui.show3DButton.click()
    assert Surface.isShown(segmentation(module))
    clickAt(module, (10, 12, 8))
    assert module.panel.segmenter.surfacesWait
    wait(lambda: not module.panel.segmenter.surfacesWait)  # the clicks pause
    ui.show3DButton.click()
    assert not Surface.isShown(segmentation(module))


def test_cancel_frees_the_panel_and_takes_the_click_back(module, ui, volumeNode, predictor):
    started = []

    def wait(patch, prompts, cancellation=None):
        started.append(True)
        while True:
            cancellation.check()
            time.sleep(0.005)

    predictor.predict = wait
    ui.positiveButton.click()
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    points.AddControlPointWorld(volumeFromNode(volumeNode).grid.to_world((20, 25, 15)))
    while not started:
        qt.QApplication.processEvents()
    assert not ui.cancelButton.isHidden()
    assert not ui.progressBar.isHidden()
    ui.cancelButton.click()
    settle(module)
    assert points.GetNumberOfDefinedControlPoints() == 0
    assert ui.cancelButton.isHidden()
    assert not mask(module).any()


def test_an_error_is_shown_in_the_panel_and_loses_nothing(module, ui, volumeNode, predictor):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    before = mask(module)
    predictor.fail = RuntimeError("the GPU fell off")
    clickAt(module, (10, 12, 8))
    assert "the GPU fell off" in ui.statusLabel.text
    assert np.array_equal(mask(module), before)


def test_a_segmentation_from_the_selector_is_seen(module, ui, volumeNode):
    node = ui.segmentationSelector.addNode()
    assert segmentation(module) is node
    assert node.GetDisplayNode() is not None
    assert node.GetDisplayNode().GetVisibility2D()


def test_new_lists_are_shown_no_more_than_the_others(module, ui, volumeNode):
    ui.positiveButton.click()
    ui.pointsButton.click()
    assert not module.panel.segmenter.pointsFor(module.panel.segmentId).GetDisplayVisibility()
    ui.nextSegmentButton.click()
    assert not module.panel.segmenter.pointsFor(module.panel.segmentId).GetDisplayVisibility()


def placeState():
    logic = slicer.app.applicationLogic()
    selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
    return (
        selection.GetActivePlaceNodeClassName(),
        selection.GetActivePlaceNodeID(),
        interaction.GetPlaceModePersistence(),
    )


@pytest.fixture
def otherList(scene):
    """Another module's point list, the active one."""
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Diameter")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsLineNode")
    selection.SetReferenceActivePlaceNodeID(points.GetID())
    yield points
    selection.SetReferenceActivePlaceNodeID(None)


@pytest.mark.parametrize("ending", ["button", "right click", "module left"])
def test_place_mode_is_given_back_however_it_ends(module, ui, volumeNode, otherList, ending):
    before = placeState()
    ui.positiveButton.click()
    assert placeState() != before
    if ending == "button":
        ui.positiveButton.click()
    elif ending == "right click":
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    else:
        module.parent.exit()
    assert placeState() == before
    assert not ui.positiveButton.checked


def test_a_roi_drawn_for_the_box_takes_place_mode_over(module, ui, volumeNode, scene):
    """As the Markups toolbar does it: our list is not the active one any more, and one ROI is drawn, not many."""
    ui.positiveButton.click()
    assert ui.positiveButton.checked
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsROINode")
    selection.SetReferenceActivePlaceNodeID(roi.GetID())
    assert not ui.positiveButton.checked, "points would not be clicks now"
    assert placeState() == ("vtkMRMLMarkupsROINode", roi.GetID(), 0)
    assert module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].clicks == ()


def test_importing_a_scene_keeps_what_was_chosen(module, ui, scene, volumeNode):
    """The selectors fall to None while their rows are made anew; nobody chose that."""
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    chosen, segmentId = segmentation(module), module.panel.segmentId
    scene.StartState(scene.ImportState)
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Imported")
    scene.EndState(scene.ImportState)
    assert module.logic.getParameterNode().volume is volumeNode
    assert module.logic.getParameterNode().segmentation is chosen
    assert ui.volumeSelector.currentNode() is volumeNode
    assert ui.segmentationSelector.currentNode() is chosen
    assert module.panel.segmentId == segmentId


def test_overlap_follows_the_choice(module, ui, volumeNode):
    module.panel.addSegment()
    neighbour = module.panel.segmentId
    drawByHand(segmentation(module), neighbour, volumeNode, Box((0, 0, 0), (40, 50, 30)))
    module.panel.addSegment()
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    assert voxels(segmentation(module), neighbour).all(), "by default others are kept"
    ui.overwriteSelector.setCurrentIndex(2)
    clickAt(module, (5, 8, 5))
    clickAt(module, (35, 45, 25))
    assert not voxels(segmentation(module), neighbour).all()


def test_keys_work_only_while_the_module_is_shown(module, ui, volumeNode):
    shortcuts = module.panel.shortcuts.keys
    assert all(s.isEnabled() for s in shortcuts)
    assert all(s.context == qt.Qt.ApplicationShortcut for s in shortcuts), "also in view windows of their own"
    keys = {s.key.toString() for s in shortcuts}
    assert keys == {*"PNUETHBSL", "Shift+U", "Shift+R", "Shift+D", "Shift+S", "Shift+L"}
    assert not {k.upper() for k in keys} & {k.upper() for k in SEGMENT_EDITOR_KEYS}
    next(s for s in shortcuts if s.key.toString() == "P").activated.emit()
    assert module.panel.placeMode.active
    module.parent.exit()
    assert not any(s.isEnabled() for s in shortcuts)
    assert not module.panel.placeMode.active, "clicks belong to the other module now"


def test_closing_the_scene_starts_afresh(module, ui, scene, volumeNode):
    ui.positiveButton.click()
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    points.AddControlPointWorld(volumeFromNode(volumeNode).grid.to_world((20, 25, 15)))
    scene.Clear(0)
    settle(module)
    assert "Load a CT or MR" in ui.hintLabel.text
    assert ui.progressBar.isHidden()
    affine = make_affine((2.0, 2.5, 3.0))
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((40, 50, 30)), affine))
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    assert mask(module).any()


def test_a_reopened_scene_shows_what_was_chosen(module, ui, scene, volumeNode, tmp_path):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    ui.nextSegmentButton.click()
    clickAt(module, (10, 12, 8))
    selected, before = module.panel.segmentId, mask(module)
    file = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(file)
    scene.Clear(0)
    assert scene.ReadFromMRB(file)
    assert ui.volumeSelector.currentNode().GetName() == "CT"
    assert ui.segmentationSelector.currentNode() is segmentation(module)
    assert module.panel.segmentId == selected
    assert list(ui.segmentsTable.selectedSegmentIDs()) == [selected]
    assert np.array_equal(mask(module), before)
    ui.positiveButton.click()
    clickAt(module, (30, 30, 20))
    assert len(module.panel.segmenter.objectPrompts([selected])[0].clicks) == 2
    assert "models" not in Path(file).read_bytes().decode("latin1")


def test_the_sample_is_one_press_away(module, ui):
    ui.tryButton.click()
    node = ui.volumeSelector.currentNode()
    assert node.GetName() == "Trunk CT"
    assert node.GetImageData().GetDimensions() == (122, 101, 112)


def test_reloading_the_module_gives_the_new_code_and_no_second_listener(module, ui, scene, volumeNode):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
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
        assert again.ui.volumeSelector.currentNode() is volumeNode
        segments = segmentation(again).GetSegmentation().GetNumberOfSegments()
        ui.addSegmentButton.click()
        ui.volumeSelector.setCurrentNode(None)
        assert segmentation(again).GetSegmentation().GetNumberOfSegments() == segments, "old buttons are dead"
        assert again.logic.getParameterNode().volume is volumeNode
        slicerHarness.loadModule(MODULE)


# Models


def test_models_say_what_they_are_for(module, ui):
    titles = [ui.modelSelector.itemText(n) for n in range(ui.modelSelector.count)]
    assert f"{registry.entries()[1].title} (not installed)" in titles
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("sam_med3d_turbo"))
    assert "Licence: Apache-2.0" in ui.modelLabel.text
    assert ui.downloadButton.enabled
    assert not ui.removeModelButton.enabled
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("fastsam3d"))
    assert "Get the file from https://" in ui.modelLabel.text
    assert not ui.downloadButton.enabled


def test_the_chosen_model_is_used_and_saved_with_the_scene(module, ui, volumeNode):
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("sam_med3d_turbo"))
    assert module.logic.getParameterNode().model == "sam_med3d_turbo"
    segmenter = module.panel.segmenter
    assert segmenter.modelChoice(segmenter.model) == ModelChoice("sam_med3d_turbo", LOCAL, "auto")
    Settings(slicer.app.userSettings()).device = "cpu"  # in the application settings, while the module is shown
    assert segmenter.modelChoice(segmenter.model) == ModelChoice("sam_med3d_turbo", LOCAL, "cpu")


def test_download_stop_and_go_on(module, ui, monkeypatch, answers):
    from sammed3d import Cancellation
    from sammed3d.zoo.store import StoredModel

    release = threading.Event()

    def fetch(self, name, progress, cancellation: Cancellation):
        progress(5 << 20, 10 << 20)
        while not release.wait(0.01):
            cancellation.check()
        file = self.folder / name / "model.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
        model = StoredModel(name, "SAM-Med3D-turbo", "p", "Apache-2.0", None, "", "s", file)
        self._write(model)
        return model

    monkeypatch.setattr(ModelStore, "fetch", fetch)
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("sam_med3d_turbo"))
    ui.downloadButton.click()
    wait(lambda: ui.downloadBar.value > 0)
    assert ui.downloadBar.value * 2 == ui.downloadBar.maximum
    ui.cancelDownloadButton.click()
    wait(lambda: not module.panel.models.busy)
    assert "kept for the next time" in ui.modelLabel.text
    release.set()
    ui.downloadButton.click()
    wait(lambda: not module.panel.models.busy)
    assert module.panel.models.current == "sam_med3d_turbo"
    assert ui.removeModelButton.enabled
    answers.give("Delete the model", True)
    ui.removeModelButton.click()
    assert not ui.removeModelButton.enabled


def test_importing_a_checkpoint(module, ui, tiny_checkpoint_file, tmp_path):
    importFile(module, tiny_checkpoint_file)
    assert module.panel.models.current == "mine"
    assert module.logic.getParameterNode().model == "mine"
    importFile(module, tmp_path / "absent.pth")
    assert "there is no such file" in ui.modelLabel.text


def test_the_import_button_asks_for_a_file(module, ui, tiny_checkpoint_file, answers):
    before = module.panel.models.current
    answers.give("Import a model", "")
    ui.importButton.click()
    assert module.panel.models.current == before, "the dialog was closed"
    assert not module.panel.models.busy
    answers.give("Import a model", tiny_checkpoint_file)
    ui.importButton.click()
    wait(lambda: not module.panel.models.busy)
    assert module.panel.models.current == "mine"


@pytest.fixture
def tiny_checkpoint_file(tmp_path):
    file = tmp_path / "mine.safetensors"
    write_checkpoint(file, {"a": torch.zeros(1)}, network="sam_med3d")
    return file


def test_importing_asks_which_model_it_is_where_the_file_does_not_tell(module, ui, tmp_path, answers):
    with torch.device("meta"):
        state = build("sam_med3d").state_dict()
    file = tmp_path / "unknown.pth"
    torch.save({"model_state_dict": {k: torch.zeros(1).expand(v.shape) for k, v in state.items()}}, file)
    before, choices = module.panel.models.current, []

    def close(dialog):
        choices.extend(dialog.comboBoxItems())
        return qt.QDialog.Rejected

    def choose(dialog):
        dialog.setTextValue(choices[-1])
        return qt.QDialog.Accepted

    answers.give("Which one is this?", close)
    importFile(module, file)
    assert module.panel.models.current == before, "Cancel imports nothing, not the first family"
    assert "Nothing was imported" in ui.modelLabel.text
    assert [choice.split(":")[0] for choice in choices] == ["sam_med3d", "fastsam3d_teacher", "ct_lidc"]
    answers.give("Which one is this?", choose)
    importFile(module, file)
    assert module.panel.models.current == "unknown"
    assert ModelStore().model("unknown").family == "ct_lidc"


def test_importing_the_file_of_the_chosen_published_model(module, ui, tmp_path):
    """There is nothing left to ask."""
    with torch.device("meta"):
        state = build("sam_med3d").state_dict()
    file = tmp_path / "unknown.pth"
    torch.save({"model_state_dict": {k: torch.zeros(1).expand(v.shape) for k, v in state.items()}}, file)
    module.panel.models.choose("ct_lidc")
    importFile(module, file)
    model = ModelStore().model("ct_lidc")
    assert (model.family, model.title) == ("ct_lidc", registry.entry("ct_lidc").title)
    assert module.panel.models.current == "ct_lidc"


def test_an_import_can_be_stopped(module, ui, tiny_checkpoint_file, monkeypatch):
    started = threading.Event()

    def copy(_source, _target, progress, cancellation):
        progress(1, 2)
        started.set()
        while True:
            cancellation.check()
            time.sleep(0.005)

    monkeypatch.setattr(store, "copy_file", copy)
    before = module.panel.models.current
    module.panel.models.importFile(tiny_checkpoint_file)
    wait(started.is_set)
    wait(lambda: ui.downloadBar.maximum == 1)
    assert not ui.downloadBar.isHidden()
    assert not ui.importButton.enabled
    ui.cancelDownloadButton.click()
    wait(lambda: not module.panel.models.busy)
    assert "Stopped" in ui.modelLabel.text
    assert module.panel.models.current == before
    assert ui.importButton.enabled


def test_importing_another_file_leaves_the_chosen_published_model_alone(module, ui, tiny_checkpoint_file):
    module.panel.models.choose("sam_med2d")
    importFile(module, tiny_checkpoint_file)
    assert module.panel.models.current == "mine"


def test_importing_a_damaged_file_says_so(module, ui, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"weights")
    importFile(module, tmp_path / "broken.safetensors")
    assert "damaged or incomplete" in ui.modelLabel.text
    assert all(model.name != "broken" for model in ModelStore().models())


def test_the_device_is_said_in_words_by_who_loaded_the_model(module, ui):
    """The main thread does not look into a torch that another thread may be importing."""
    assert ui.deviceLabel.text == "known when the model is first used"
    assert ui.installButton.isHidden()
    module.logic.predictors.devices["auto"] = "CPU, 2 threads"
    module.panel.models.update()
    assert ui.deviceLabel.text == "CPU, 2 threads"


def test_a_gpu_machine_with_a_cpu_build_gets_a_hint(monkeypatch):
    import shutil

    import torch

    from SAMMed3DSegmentLib.Device import deviceInWords

    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "installed PyTorch is for CPUs only" in deviceInWords("cpu")


@pytest.mark.parametrize(
    ("missing", "button", "installs"),
    [
        (["torch", "safetensors"], "Install PyTorch...", ["torch>=2.6", "safetensors"]),
        (["torch"], "Install PyTorch...", ["torch>=2.6"]),
        (["safetensors"], "Install safetensors...", ["safetensors"]),  # another extension has installed torch
    ],
)
def test_what_is_missing_is_offered_by_name(module, ui, monkeypatch, answers, missing, button, installs):
    installed = []
    monkeypatch.setattr(ModelPanel, "missingPackages", lambda: [] if installed else missing)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    module.panel.models.update()
    assert not ui.installButton.isHidden()
    assert ui.installButton.text == button
    assert "not installed" in ui.deviceLabel.text
    answers.give("Install", False)
    ui.installButton.click()
    assert installed == [], "nothing is installed without a yes"
    assert "still not installed" in ui.modelLabel.text
    answers.give("Install", True)
    ui.installButton.click()
    assert installed == installs
    assert ui.installButton.isHidden()


# Where it runs


def test_a_server_needs_an_address_and_consent_first(module, ui, volumeNode, predictor):
    ui.placeSelector.setCurrentIndex(1)
    ui.positiveButton.click()
    assert "Enter the address" in ui.statusLabel.text
    assert not module.panel.placeMode.active
    ui.urlEdit.setText("https://gpu.example.org")
    ui.positiveButton.click()
    assert "Agree in the section" in ui.statusLabel.text
    assert not predictor.calls
    ui.consentCheckBox.click()
    ui.positiveButton.click()
    assert module.panel.placeMode.active
    segmenter = module.panel.segmenter
    choice = segmenter.modelChoice(segmenter.model)
    assert choice == ModelChoice(module.panel.models.current, SERVER, url="https://gpu.example.org", consent=True)
    ui.consentCheckBox.click()
    assert not module.panel.placeMode.active, "consent was taken back"
    ui.consentCheckBox.click()
    ui.urlEdit.setText("https://other.example.org")
    assert not ui.consentCheckBox.checked, "another server asks again"


def test_the_page_of_the_settings_and_the_panel_follow_each_other(module, ui, settingsPage):
    """Otherwise the page's *Cancel* would bring back what it showed last, over what the panel has changed since."""
    dialog = slicer.app.settingsDialog()
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("https://gpu.example.org")
    dialog.reject()
    settings = Settings(slicer.app.userSettings())
    assert (settings.place, settings.url) == (SERVER, "https://gpu.example.org")
    url = next(e for e in settingsPage.findChildren(qt.QLineEdit) if e.parent() is settingsPage)
    assert url.text == "https://gpu.example.org"
    url.setText("https://other.example.org")
    assert ui.urlEdit.text == "https://other.example.org"
    dialog.reject()
    assert settings.url == ui.urlEdit.text == "https://gpu.example.org"


@pytest.fixture
def settingsPage(module):
    return SettingsPage.pages()[0]


def test_keys_stay_out_of_scenes(module, ui, scene, volumeNode, tmp_path):
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("https://gpu.example.org")
    ui.keyEdit.setText("top-secret-key")
    assert Settings(slicer.app.userSettings()).key == "top-secret-key"
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Commit()
    text = (tmp_path / "scene.mrml").read_text()
    assert "top-secret-key" not in text
    assert "gpu.example.org" not in text


def test_the_connection_test_reports_each_step(module, ui):
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("https://gpu.example.org")
    module.logic.predictors.diagnose = lambda choice: [f"reached {choice.url}", "the key is accepted"]
    ui.testButton.click()
    wait(lambda: not module.panel.threadTime.active)
    assert ui.serverLabel.text == "reached https://gpu.example.org\nthe key is accepted"
    ui.placeSelector.setCurrentIndex(0)
    assert Settings(slicer.app.userSettings()).place == LOCAL


# Export


@pytest.mark.parametrize("fileFormat", [f for f in Exporter.FORMATS if f != Exporter.DICOM])
def test_exports(module, ui, volumeNode, tmp_path, fileFormat):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(fileFormat))
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)  # every scene of Slicer's has one
    before = slicer.mrmlScene.GetNumberOfNodes()
    ui.exportButton.click()
    assert ui.exportLabel.text.startswith("Wrote "), ui.exportLabel.text
    files = [tmp_path / name for name in ui.exportLabel.text.removeprefix("Wrote ").split(", ")]
    assert all(file.stat().st_size > 0 for file in files)
    assert slicer.mrmlScene.GetNumberOfNodes() == before, "the scene stays as it was"
    if fileFormat in (Exporter.NIFTI, Exporter.NRRD):
        from sammed3d.files.segmentation import read_mask

        assert np.array_equal(read_mask(files[0], volumeFromNode(volumeNode).grid), mask(module))


def test_clicks_are_exported_and_make_the_same_mask(module, ui, volumeNode, tmp_path):
    from sammed3d import Session
    from sammed3d.core import prompt_files

    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    ui.negativeButton.click()
    clickAt(module, (5, 8, 5))
    ui.folderButton.directory = str(tmp_path)
    ui.exportPromptsButton.click()
    [file] = tmp_path.glob("*clicks.json")
    [saved] = prompt_files.read(file)
    session = Session(volumeFromNode(volumeNode), ThresholdPredictor())
    session.set_clicks(saved.clicks)
    assert np.array_equal(session.mask(), mask(module))


def test_an_export_that_cannot_be_says_why(module, ui, volumeNode, tmp_path):
    ui.positiveButton.click()
    clickAt(module, (20, 25, 15))
    ui.folderButton.directory = str(tmp_path / "absent")
    ui.exportButton.click()
    assert "there is no such folder" in ui.exportLabel.text
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(Exporter.DICOM))
    ui.exportButton.click()
    assert "DICOM" in ui.exportLabel.text


def test_every_control_says_what_it_does(ui):
    for name, item in vars(ui).items():
        if isinstance(item, (qt.QPushButton, qt.QComboBox, qt.QLineEdit, qt.QCheckBox)) and "_" not in name:
            assert item.toolTip, f"{name} has no tooltip"
            assert item.accessibleName or getattr(item, "text", ""), f"{name} has no name for screen readers"


def test_a_segmentation_for_a_volume_under_a_transform_is_on_its_grid(module, ui, volumeNode):
    """The geometry is the volume's in the frame that both share: the transform is not in it a second time."""
    transform = linearTransform(slicer.mrmlScene, make_affine((1, 1, 1), (0.3, 0.0, 0.1), (50, 60, 70)))
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
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
    assert np.allclose(matrixOfImage(image), matrixOfVolume(volumeNode), atol=1e-4)
    assert mask(module)[20, 25, 15]
