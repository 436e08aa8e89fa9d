"""Where it runs: this computer or a server, with consent."""

import pytest
import slicer

import qt
from panels import wait
from SAMMed3DSegmentLib import SettingsPage
from SAMMed3DSegmentLib.Predictors import ModelChoice
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings


def test_a_server_needs_an_address_and_consent_first(module, ui, chosenVolume, predictor):
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


@pytest.mark.parametrize("size", [(490, 900), (700, 900)], ids=str)
def test_what_is_sent_can_be_read_to_its_end(area, ui, chosenVolume, size):
    ui.placeSelector.setCurrentIndex(1)
    ui.serverSection.collapsed = False
    area.resize(*size)
    qt.QApplication.processEvents()
    label, button = ui.consentLabel, ui.testButton
    assert all(words in label.text for words in ("154 to 192 mm", "288 mm", "whole slices", "all of the region"))
    assert label.height >= label.heightForWidth(label.width) > 0
    assert label.y + label.height <= button.y, "the button covers it"


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


def test_cancel_of_the_settings_leaves_how_objects_are_followed(module, ui, settingsPage):
    ui.followModeSelector.setCurrentIndex(2)
    ui.followModeSelector.activated.emit(2)
    slicer.app.settingsDialog().reject()
    assert Settings(slicer.app.userSettings()).following == "never"
    assert ui.followModeSelector.currentIndex == 2


def test_an_address_is_not_written_over_while_it_is_typed(module, ui):
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("https://gpu.example.org ")
    module.panel.server.showSettings()
    assert ui.urlEdit.text == "https://gpu.example.org "
    assert Settings(slicer.app.userSettings()).url == "https://gpu.example.org"


@pytest.fixture
def settingsPage(module):
    return SettingsPage.pages()[0]


def test_keys_stay_out_of_scenes(module, ui, scene, chosenVolume, tmp_path):
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
