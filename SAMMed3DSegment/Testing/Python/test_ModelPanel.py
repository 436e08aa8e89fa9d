"""Models: chosen, downloaded, imported; where they run in words."""

import threading
import time

import pytest
import slicer
import torch

import qt
from panels import placeClick, wait
from sammed3d.nets import build
from sammed3d.zoo import registry, store
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.store import ModelStore
from SAMMed3DSegmentLib import ModelPanel
from SAMMed3DSegmentLib.Predictors import ModelChoice, Predictors
from SAMMed3DSegmentLib.Settings import LOCAL, Settings


def importFile(module, file):
    module.panel.models.importFile(file)
    wait(lambda: not module.panel.models.busy)


def test_models_say_what_they_are_for(module, ui):
    titles = [ui.modelSelector.itemText(n) for n in range(ui.modelSelector.count)]
    assert f"{registry.entries()[1].title} (not installed)" in titles
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("default"))
    assert "9 MiB on this computer" in ui.modelLabel.text, "as `sammed3d models list` says"
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("sam_med3d_turbo"))
    assert "Licence: Apache-2.0" in ui.modelLabel.text
    assert ui.downloadButton.enabled
    assert not ui.removeModelButton.enabled
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("fastsam3d"))
    assert "Get the file from https://" in ui.modelLabel.text
    assert not ui.downloadButton.enabled


def test_the_chosen_model_is_used_and_saved_with_the_scene(module, ui, chosenVolume):
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
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert deviceInWords("cpu").startswith("CPU, 1 thread.")


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


def test_a_file_that_takes_the_name_of_another_one_is_what_predicts(
    module, ui, chosenVolume, tiny_checkpoint_file, answers, monkeypatch, predictor
):
    loaded = []
    monkeypatch.setattr(Predictors, "load", lambda _self, choice: (loaded.append(choice.model), predictor)[1])
    importFile(module, tiny_checkpoint_file)
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    placeClick(module, (10, 12, 8))
    assert loaded == ["mine"]
    answers.give("Delete the model", True)
    ui.removeModelButton.click()
    write_checkpoint(tiny_checkpoint_file, {"a": torch.ones(1)}, network="sam_med3d")
    importFile(module, tiny_checkpoint_file)
    placeClick(module, (30, 30, 20))
    assert loaded == ["mine", "mine"]


def test_without_pytorch_the_first_line_says_so_before_anything_is_clicked(
    module, ui, chosenVolume, monkeypatch, answers
):
    installed = []
    monkeypatch.setattr(ModelPanel, "missingPackages", lambda: [] if installed else ["torch"])
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    module.panel.enter()
    said = "PyTorch is not installed in this Slicer. Press 'Install PyTorch...' in the section 'Model'"
    assert ui.hintLabel.text.startswith(said)
    ui.positiveButton.click()
    assert ui.statusLabel.text.startswith(said)
    assert not module.panel.placeMode.active
    answers.give("Install", True)
    ui.installButton.click()
    assert "Press Positive" in ui.hintLabel.text
    ui.positiveButton.click()
    assert module.panel.placeMode.active


def test_what_others_install_is_noticed(module, ui, chosenVolume, monkeypatch):
    missing = ["torch"]
    monkeypatch.setattr(ModelPanel, "missingPackages", lambda: missing)
    module.panel.enter()
    missing.clear()
    ui.positiveButton.click()
    assert module.panel.placeMode.active


def test_a_model_that_is_not_here_is_said_in_the_first_line_at_once(module, ui, chosenVolume):
    module.panel.models.choose("sam_med2d")
    assert "The model sam_med2d is not on this computer" in ui.hintLabel.text
    module.panel.models.choose("default")
    assert "Press Positive" in ui.hintLabel.text


def test_an_installation_that_fails_says_where_the_reason_is(module, ui, monkeypatch, answers):
    def fail(_requirement):
        raise RuntimeError("Command 'pip install' returned non-zero exit status 1.")

    monkeypatch.setattr(ModelPanel, "missingPackages", lambda: ["safetensors"])
    monkeypatch.setattr(slicer.util, "pip_install", fail)
    module.panel.models.update()
    answers.give("Install", True)
    ui.installButton.click()
    assert (
        "The installation failed: Command 'pip install' returned non-zero exit status 1. The Python"
        in ui.modelLabel.text
    )
    assert "run on a server" in ui.modelLabel.text
