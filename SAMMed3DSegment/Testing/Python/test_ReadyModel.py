"""The model is loaded while the first click is aimed."""

import threading

import pytest

from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume
from panels import placeClick, settle, wait
from sammed3d import Cancellation, ModelError
from SAMMed3DSegmentLib.Predictors import Predictors
from SAMMed3DSegmentLib.Settings import SERVER
from segmenters import SPOTS
from slicerHarness.views import SliceView


class Loading:
    """Stands for what reads a model: it waits for its gate, and fails as often as it is told."""

    def __init__(self, predictor):
        self.choices, self.failures, self.gate = [], 0, threading.Event()
        self._predictor = predictor
        self.gate.set()

    def __call__(self, choice):
        self.choices.append(choice)
        assert self.gate.wait(30)
        if self.failures:
            self.failures -= 1
            raise ModelError("this file is damaged")
        return self._predictor


@pytest.fixture
def loading(module, predictor, chosenVolume, monkeypatch):
    loading = Loading(predictor)
    monkeypatch.setattr(Predictors, "load", lambda self, choice: loading(choice))
    return loading


def test_placing_clicks_loads_the_model_once(module, ui, loading):
    assert not module.panel.threadTime.active
    ui.positiveButton.click()
    wait(lambda: loading.choices)
    settle(module)
    ui.negativeButton.click()
    placeClick(module, SPOTS[0])
    assert [choice.model for choice in loading.choices] == ["default"]


def test_drawing_loads_it_too(module, ui, loading, chosenVolume):
    view = SliceView("ReadyModel")
    view.show(chosenVolume)
    ui.scribbleButton.click()
    settle(module)
    assert len(loading.choices) == 1


def test_a_click_that_comes_meanwhile_waits_for_it(module, ui, loading):
    loading.gate.clear()
    ui.positiveButton.click()
    wait(lambda: loading.choices)
    threading.Timer(0.2, loading.gate.set).start()
    placeClick(module, SPOTS[0])
    assert len(loading.choices) == 1
    assert module.panel.segments.selected
    assert "Done" in ui.statusLabel.text


def test_what_goes_wrong_is_said_at_the_click_which_tries_again(module, ui, loading):
    loading.failures = 2
    ui.positiveButton.click()
    settle(module)
    assert "damaged" not in ui.statusLabel.text
    placeClick(module, SPOTS[0])
    assert "damaged" in ui.statusLabel.text
    placeClick(module, SPOTS[0])
    assert "Done" in ui.statusLabel.text
    assert len(loading.choices) == 3


def test_after_the_scene_was_closed_it_is_loaded_again_while_the_user_aims(module, ui, loading, scene):
    ui.positiveButton.click()
    settle(module)
    scene.Clear(0)
    settle(module)
    assert len(loading.choices) == 1, "nobody aims"
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((40, 50, 30)), OBLIQUE, "the next patient"))
    ui.positiveButton.click()
    settle(module)
    assert len(loading.choices) == 2
    placeClick(module, SPOTS[0])
    assert len(loading.choices) == 2


def test_another_model_that_is_loaded_for_an_older_click_is_left_alone(module, ui, loading):
    ui.positiveButton.click()
    settle(module)
    module.panel.segmenter.predictorFor("another", Cancellation())
    ui.negativeButton.click()
    settle(module)
    assert len(loading.choices) == 2


def test_a_server_is_not_asked_before_there_is_a_click(module, ui, loading):
    settings = module.logic.settings
    settings.place, settings.url, settings.consent = SERVER, "http://127.0.0.1:9", True
    module.panel.ready.begin("default")
    assert not loading.choices
