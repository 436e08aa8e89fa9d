"""Where predictions come from: a network here, or a server."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from mrmlNodes import voxels
from sammed3d import ModelError, Session
from SAMMed3DSegmentLib import PointList, Predictors
from SAMMed3DSegmentLib.Predictors import ModelChoice
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import newPredictor, settle
from servers import serving


class Store(dict):
    """Stands for QSettings."""

    value = dict.get
    setValue = dict.__setitem__


@pytest.fixture
def settings():
    return Settings(Store())


def test_choices_say_all_that_changes_the_answer_and_nothing_else(settings):
    predictors = Predictors.Predictors(settings)
    assert predictors.choiceOf("default") == ModelChoice("default", LOCAL, "auto")
    settings.device = "cpu"
    assert predictors.choiceOf("default") == ModelChoice("default", LOCAL, "cpu")
    settings.place, settings.url, settings.key = SERVER, "https://gpu.example.org ", "top-secret"
    choice = predictors.choiceOf("default")
    assert choice == ModelChoice("default", SERVER, url="https://gpu.example.org", key="top-secret")
    assert "top-secret" not in repr(choice)


def test_settings_are_read_on_the_main_thread_only(segmenterOf, segmentationNode, volumeNode, tiny_checkpoint_path):
    """QSettings are not made for several threads: a job carries what they were when it was made."""

    class MainThreadStore(Store):
        def value(self, key):
            assert threading.current_thread() is threading.main_thread(), key
            return self.get(key)

    settings = Settings(MainThreadStore())
    settings.device = "cpu"
    predictors = Predictors.Predictors(settings)
    segmenter = segmenterOf(predictors)
    segmenter.model = str(tiny_checkpoint_path)
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    segmenter.click(segmentId, volumeFromNode(volumeNode).grid.to_world((20, 25, 15)))
    settings.device = "cuda:7"  # too late for this click
    settle(segmenter)
    assert segmenter.message == ""
    assert predictors.device == ""
    settings.device = "cpu"
    assert predictors.device.startswith("CPU, "), "said by the thread that has loaded the model"


@pytest.fixture
def segmenterOf(makeSegmenter):
    """Make a segmenter whose models are where the settings say."""

    def make(predictors):
        segmenter = makeSegmenter(loadPredictor=predictors.load)
        segmenter.modelChoice = predictors.choiceOf
        return segmenter

    return make


def test_a_network_in_this_process(settings, tiny_checkpoint_path):
    assert Predictors.Predictors(settings).load(ModelChoice(str(tiny_checkpoint_path), LOCAL, "cpu")).preset is not None


@pytest.fixture
def tiny_checkpoint_path(tmp_path):
    from networks import TINY_PRESET, TINY_SIZES, filled
    from sammed3d import nets
    from sammed3d.zoo.checkpoint import write_checkpoint

    file = tmp_path / "tiny.safetensors"
    weights = filled(nets.build("sam_med3d", TINY_SIZES)).state_dict()
    write_checkpoint(file, weights, network="sam_med3d", sizes=TINY_SIZES, preset=TINY_PRESET.to_json())
    return file


@pytest.mark.parametrize(("missing", "said"), [(["torch"], "PyTorch is"), (["safetensors"], "safetensors is")])
def test_what_is_missing_is_named_with_the_ways_out(settings, monkeypatch, missing, said):
    monkeypatch.setattr(Predictors, "missingPackages", lambda: missing)
    with pytest.raises(ModelError, match=rf"{said} not installed.*Press 'Install .*\.\.\.'.* or run on a server"):
        Predictors.Predictors(settings).load(ModelChoice("default", LOCAL, "auto"))


@pytest.mark.slow
def test_all_that_inference_imports_is_looked_for():
    """In a process that has what Slicer bundles, and what `missingPackages` asks for: nothing else may be needed."""
    code = (
        "import sys, importlib.abc\n"
        "class Only(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in {unwanted!r}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Only())\n"
        "from sammed3d import load_predictor\n"
        "load_predictor('default', device='cpu')\n"
    )
    unwanted = (
        "nibabel",
        "pandas",
        "scipy",
        "skimage",
        "matplotlib",
        "ray",
        "starlette",
        "uvicorn",
        "onnxruntime",
        "PIL",
    )
    subprocess.run([sys.executable, "-c", code.format(unwanted=unwanted)], check=True)


def test_nothing_is_sent_without_consent(settings):
    """Whatever path led there: the check stands where the connection is made."""
    with serving(newPredictor()) as server:
        settings.place, settings.url = SERVER, server.url
        predictors = Predictors.Predictors(settings)
        with pytest.raises(ModelError, match="Nothing was sent: agree"):
            predictors.load(predictors.choiceOf("default"))
        settings.consent = True
        assert predictors.load(predictors.choiceOf("default")).preset == newPredictor().preset
        settings.url = "https://other.example.org"
        with pytest.raises(ModelError, match="Nothing was sent: agree"):
            predictors.load(predictors.choiceOf("default"))


def test_clicks_through_a_server_give_the_same_segment(settings, segmenterOf, segmentationNode, volumeNode):
    with serving(newPredictor()) as server:
        settings.place, settings.url, settings.consent = SERVER, server.url, True
        predictors = Predictors.Predictors(settings)
        segmenter = segmenterOf(predictors)
        segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
        for spot in ((20, 25, 15), (10, 12, 8)):
            segmenter.click(segmentId, volumeFromNode(volumeNode).grid.to_world(spot))
            settle(segmenter)
        assert segmenter.message == ""
        session = Session(volumeFromNode(volumeNode), newPredictor())
        session.set_clicks(PointList.clicksFromPointList(segmenter.pointsFor(segmentId), volumeNode))
        assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())
