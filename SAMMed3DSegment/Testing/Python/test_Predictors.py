"""Where predictions come from: a network here, or a server."""

import numpy as np
import pytest

from helpers import ThresholdPredictor
from mrmlNodes import voxels
from sammed3d import ModelError, Session
from SAMMed3DSegmentLib import PointList, Predictors
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Settings import SERVER, Settings
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from servers import serving


class Store(dict):
    """Stands for QSettings."""

    value = dict.get
    setValue = dict.__setitem__


@pytest.fixture
def settings():
    return Settings(Store())


def test_names_say_all_that_changes_the_answer(settings):
    predictors = Predictors.Predictors(settings)
    assert predictors.nameOf("default") == "local|auto|default"
    settings.device = "cpu"
    assert predictors.nameOf("default") == "local|cpu|default"
    settings.place, settings.url = SERVER, "https://gpu.example.org "
    assert predictors.nameOf("default") == "server|https://gpu.example.org|default"


def test_a_network_in_this_process(settings, tiny_checkpoint_path):
    assert Predictors.Predictors(settings).load(f"local|cpu|{tiny_checkpoint_path}").preset is not None


@pytest.fixture
def tiny_checkpoint_path(tmp_path):
    from networks import TINY_PRESET, TINY_SIZES, filled
    from sammed3d import nets
    from sammed3d.zoo.checkpoint import write_checkpoint

    file = tmp_path / "tiny.safetensors"
    weights = filled(nets.build("sam_med3d", TINY_SIZES)).state_dict()
    write_checkpoint(file, weights, network="sam_med3d", sizes=TINY_SIZES, preset=TINY_PRESET.to_json())
    return file


def test_without_torch_the_ways_out_are_named(settings, monkeypatch):
    monkeypatch.setattr(Predictors, "torchInstalled", lambda: False)
    with pytest.raises(ModelError, match=r"Press 'Install PyTorch\.\.\.'.* or run on a server"):
        Predictors.Predictors(settings).load("local|auto|default")


def test_nothing_is_sent_without_consent(settings):
    """Whatever path led there: the check stands where the connection is made."""
    with serving(ThresholdPredictor()) as server:
        settings.place, settings.url = SERVER, server.url
        predictors = Predictors.Predictors(settings)
        with pytest.raises(ModelError, match="Nothing was sent: agree"):
            predictors.load(predictors.nameOf("default"))
        settings.consent = True
        assert predictors.load(predictors.nameOf("default")).preset == ThresholdPredictor().preset
        settings.url = "https://other.example.org"
        with pytest.raises(ModelError, match="Nothing was sent: agree"):
            predictors.load(predictors.nameOf("default"))


def test_clicks_through_a_server_give_the_same_segment(settings, segmentationNode, volumeNode):
    with serving(ThresholdPredictor()) as server:
        settings.place, settings.url, settings.consent = SERVER, server.url, True
        predictors = Predictors.Predictors(settings)
        thread = InferenceThread(predictors.load)
        segmenter = Segmenter(thread)
        segmenter.modelName = predictors.nameOf
        segmenter.setInput(volumeNode, segmentationNode)
        segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
        for spot in ((20, 25, 15), (10, 12, 8)):
            segmenter.click(segmentId, volumeFromNode(volumeNode).grid.to_world(spot))
            while segmenter.busy:
                segmenter.poll()
        assert segmenter.message == ""
        session = Session(volumeFromNode(volumeNode), ThresholdPredictor())
        session.set_clicks(PointList.clicksFromPointList(segmenter.pointsFor(segmentId), volumeNode))
        assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())
        segmenter.forgetScene()
        thread.stop()
