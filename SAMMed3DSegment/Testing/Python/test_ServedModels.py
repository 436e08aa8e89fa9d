"""In server mode the models are the server's own, and what is missing is said."""

import time

import pytest

import qt
from helpers import make_affine, phantom
from mrmlNodes import addVolume
from panels import settle
from sammed3d import ModelError
from sammed3d.predictors.remote import served_models
from sammed3d.server.http.keys import Keys, add_key
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER
from segmenters import newPredictor
from servers import serving


@pytest.fixture
def server(tmp_path):
    key = add_key(tmp_path / "keys.json", "ward")
    with serving(newPredictor(), Keys.read(tmp_path / "keys.json")) as server:
        server.key = key
        yield server


def use(module, url, key=""):
    """Choose a server as a user does, and agree."""
    ui = module.ui
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText(url)
    ui.keyEdit.setText(key)
    ui.consentCheckBox.setChecked(True)
    settle(module)


def listed(ui):
    return {ui.modelSelector.itemData(n): ui.modelSelector.itemText(n) for n in range(ui.modelSelector.count)}


def test_the_servers_models_are_listed_once_the_user_has_agreed(module, ui, server):
    local = listed(ui)
    assert "sam_med3d_turbo" in local
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText(server.url)
    settle(module)
    assert "when you have agreed" in ui.modelLabel.text
    assert list(listed(ui)) == ["default"]
    use(module, server.url, server.key)
    assert listed(ui) == {"default": "Test model"}
    assert "Runs on the server: cpu" in ui.modelLabel.text
    assert "Apache-2.0" in ui.modelLabel.text
    for name in ("downloadButton", "importButton", "removeModelButton"):
        assert not getattr(ui, name).enabled, "the server's models are the administrator's"
    ui.placeSelector.setCurrentIndex(0)
    assert listed(ui) == local


def test_a_model_that_the_server_lacks_is_said_and_nothing_is_sent(module, ui, server, scene):
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("sam_med3d_turbo"))
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((40, 50, 30)), make_affine((2, 2, 2))))
    use(module, server.url, server.key)
    assert listed(ui)["sam_med3d_turbo"] == "sam_med3d_turbo (missing)"
    assert "does not serve the model sam_med3d_turbo; it serves: default" in ui.modelLabel.text
    ui.positiveButton.click()
    assert not module.panel.placeMode.active
    assert "does not serve the model sam_med3d_turbo" in ui.statusLabel.text
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("default"))
    ui.positiveButton.click()
    assert module.panel.placeMode.active


def test_why_the_models_are_not_known_is_said(module, ui, server):
    use(module, server.url, "wrong")
    assert "the key was refused" in ui.modelLabel.text
    use(module, "http://127.0.0.1:9", "")
    assert "cannot be reached" in ui.modelLabel.text
    assert list(listed(ui)) == ["default"], "the chosen one stays chosen"


def test_nobody_asks_a_server_before_consent(module, ui, monkeypatch):
    asked = []
    monkeypatch.setattr(type(module.logic.predictors), "served", lambda self, choice: asked.append(choice.url) or [])
    ui.placeSelector.setCurrentIndex(1)
    for text in ("http://h", "http://hosp", "http://hospital.example"):
        ui.urlEdit.setText(text)
        settle(module)
    assert asked == [], "no key goes to half an address"
    ui.consentCheckBox.setChecked(True)
    settle(module)
    assert asked == ["http://hospital.example"]
    assert "serves no model" in ui.modelLabel.text


def test_the_list_belongs_to_the_place_that_is_chosen_by_then(module, ui, monkeypatch):
    """An answer that comes too late is not shown."""
    monkeypatch.setattr(type(module.logic.predictors), "served", lambda self, choice: time.sleep(0.3) or [])
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("http://slow.example")
    ui.consentCheckBox.setChecked(True)
    assert "Asking the server" in ui.modelLabel.text
    ui.placeSelector.setCurrentIndex(0)
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        qt.QApplication.processEvents()
    assert module.logic.settings.place == LOCAL
    assert "sam_med3d_turbo" in listed(ui)


def test_a_scene_whose_model_is_missing_asks(module, ui, scene):
    """It is named, nothing is predicted with another one, and choosing is the user's."""
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((40, 50, 30)), make_affine((2, 2, 2))))
    module.logic.getParameterNode().model = "from_the_other_hospital"
    module.panel.readScene()
    assert listed(ui)["from_the_other_hospital"] == "from_the_other_hospital (missing)"
    assert module.panel.models.current == "from_the_other_hospital"
    ui.positiveButton.click()
    assert not module.panel.placeMode.active
    assert "from_the_other_hospital is not on this computer" in ui.statusLabel.text
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("default"))
    assert module.logic.getParameterNode().model == "default"
    ui.positiveButton.click()
    assert module.panel.placeMode.active


def test_a_server_says_what_it_serves_or_why_not(server):
    [model] = served_models(server.url, server.key)
    assert (model.name, model.title) == ("default", "Test model")
    with pytest.raises(ModelError, match="key was refused"):
        served_models(server.url, "wrong")
    with pytest.raises(ModelError, match="cannot be reached"):
        served_models("http://127.0.0.1:9")
    with pytest.raises(ModelError, match="no address"):
        served_models("nonsense")


def test_another_place_is_another_list(module, ui, server):
    use(module, server.url, server.key)
    module.logic.settings.place = SERVER
    assert module.panel.models.served.models
    ui.consentCheckBox.setChecked(False)
    assert not module.panel.models.served.models
    assert "when you have agreed" in ui.modelLabel.text
