"""A Slicer without the desktop application: real nodes and logics from slicer-core, Qt from PySide6."""

import importlib.util
import time
from pathlib import Path

import pytest

from helpers import ThresholdPredictor, make_affine, phantom

if any(importlib.util.find_spec(name) is None for name in ("slicer", "PySide6")):  # not on this platform
    collect_ignore_glob = ["test_*.py"]
else:
    import slicer

    import slicerHarness  # fills `slicer`
    from mrmlNodes import addVolume
    from SAMMed3DSegmentLib import SettingsPage
    from SAMMed3DSegmentLib.InferenceThread import InferenceThread
    from SAMMed3DSegmentLib.Predictors import Predictors
    from SAMMed3DSegmentLib.Segmenter import Segmenter
    from slicerHarness import dialogs


@pytest.fixture(autouse=True)
def answers():
    """The user, who answers dialogs; no test may leave one open, or an error in Slicer's Python console."""
    dialogs.answers.check()
    slicerHarness.slotErrors.clear()
    yield dialogs.answers
    dialogs.answers.check()
    if slicerHarness.slotErrors:
        raise slicerHarness.slotErrors.pop()


@pytest.fixture
def scene():
    """The application's scene, empty."""
    slicer.mrmlScene.Clear(0)
    for tag in ("SAMMed3DSegment", "SegmentEditor"):
        node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def volumeNode(scene):
    """An oblique, anisotropic CT-like phantom."""
    return addVolume(scene, phantom((40, 50, 30)), make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30)))


@pytest.fixture
def segmentationNode(scene, volumeNode):
    """An empty segmentation on the volume's grid."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    return node


@pytest.fixture
def module(scene, predictor, tmp_path, monkeypatch):
    """The module as the application shows it."""
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(Predictors, "load", lambda self, choice: predictor)
    slicer.app.userSettings().clear()
    if not SettingsPage._pages():  # once, when the application starts
        SettingsPage.register()
    slicer.app.settingsDialog().reloadSettings()
    _, widget = slicerHarness.loadModule(Path(__file__).parents[2] / "SAMMed3DSegment.py")
    yield widget
    slicerHarness.unloadModule("SAMMed3DSegment")


@pytest.fixture
def ui(module):
    """The widgets of the module by their names."""
    return module.ui


@pytest.fixture
def predictor():
    """Stands for the network; records its calls."""
    return ThresholdPredictor()


@pytest.fixture
def segmenter(volumeNode, segmentationNode, predictor):
    """A segmenter on the phantom, with a `settle` that waits for its predictions."""
    thread = InferenceThread(lambda name: predictor)
    segmenter = Segmenter(thread)
    segmenter.setInput(volumeNode, segmentationNode)

    def settle(timeout=20.0):
        end = time.monotonic() + timeout
        while segmenter.busy:
            assert time.monotonic() < end, "the predictions do not end"
            segmenter.poll()
            time.sleep(0.002)

    segmenter.settle = settle
    yield segmenter
    segmenter.forgetScene()
    thread.stop()
