"""The module as Slicer lists it, and what it registers when the application has started."""

import types
from pathlib import Path

import pytest
import slicer

import ctk
import qt
import SAMMed3DSegment
import SampleData
from SAMMed3DSegmentLib import SettingsPage
from SAMMed3DSegmentLib.Following import FollowChoice
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings
from slicerHarness.scene import startupFunctions

MODULE = Path(SAMMed3DSegment.__file__)


@pytest.fixture
def parent():
    parent = types.SimpleNamespace(path=str(MODULE))
    SAMMed3DSegment.SAMMed3DSegment(parent)
    return parent


def test_the_module_is_where_users_look_for_it(parent):
    assert parent.title == "SAMMed3DSegment"
    assert parent.categories == ["Segmentation"]
    assert "not for clinical decisions" in parent.helpText
    assert not parent.icon.isNull()


@pytest.mark.slow
def test_nothing_heavy_is_imported_before_the_module_is_opened():
    import subprocess
    import sys

    code = (
        "import sys; sys.path[:0] = {path}\n"
        "import slicerHarness, SAMMed3DSegment\n"
        "assert not any(m in sys.modules for m in ('torch', 'sammed3d', 'requests', 'SimpleITK')), 'heavy'"
    )
    folders = [str(MODULE.parent / "Testing" / "SlicerHarness"), str(MODULE.parent), str(MODULE.parents[1] / "Server")]
    subprocess.run([sys.executable, "-c", code.format(path=folders)], check=True)


def test_sample_data_are_registered_with_files_that_exist(parent):
    SampleData.SampleDataLogic.sources.clear()
    onStartup = startupFunctions[-1]
    onStartup()
    assert [source["sampleName"] for source in SampleData.SampleDataLogic.sources] == [
        "Trunk CT (SAM-Med3D)",
        "Lumbar spine MR (SAM-Med3D)",
    ], "texts of buttons among those of other extensions"
    assert [source["nodeNames"] for source in SampleData.SampleDataLogic.sources] == ["Trunk CT", "Lumbar spine MR"]
    for source in SampleData.SampleDataLogic.sources:
        assert source["category"] == "SAMMed3DSegment"
        assert Path(source["uris"].removeprefix("file://")).is_file()
        assert Path(source["thumbnailFileName"]).is_file()


@pytest.fixture
def dialog():
    dialog = ctk.ctkSettingsDialog()
    dialog.settings = slicer.app.userSettings()
    slicer.app.userSettings().clear()
    dialog.addPanel("SAMMed3DSegment", SettingsPage.build())
    yield dialog
    slicer.app.userSettings().clear()


def test_the_settings_page_changes_the_settings_and_cancel_takes_it_back(dialog):
    settings, page = Settings(slicer.app.userSettings()), slicer.util.findChildren(dialog, SettingsPage.NAME)[0]
    place, device, following = page.findChildren(qt.QComboBox)
    url, key, authority = (edit for edit in page.findChildren(qt.QLineEdit) if edit.parent() is page)

    def change():
        place.setCurrentIndex(1)
        device.setCurrentText("cuda:1")
        url.setText("https://gpu.example.org")
        key.setText("secret")
        authority.setText("/etc/hospital.pem")
        page.findChildren(qt.QCheckBox)[0].click()
        following.setCurrentIndex(1)
        page.findChildren(qt.QSpinBox)[0].setValue(3)

    before = said(settings)
    assert before == (LOCAL, "auto", "", "", "", True, FollowChoice("ask", 8))
    change()
    changed = (
        SERVER,
        "cuda:1",
        "https://gpu.example.org",
        "secret",
        "/etc/hospital.pem",
        False,
        FollowChoice("always", 3),
    )
    assert said(settings) == changed
    dialog.reject()
    assert said(settings) == before, "Cancel"
    change()
    dialog.accept()
    dialog.reject()
    assert said(settings) == changed
    assert key.echoMode == qt.QLineEdit.Password
    page.restoreDefaultSettings()
    assert said(settings) == before, "Restore Defaults"


def said(settings):
    return (
        settings.place,
        settings.device,
        settings.url,
        settings.key,
        settings.authority,
        settings.useProxies,
        settings.followChoice,
    )


def test_every_text_of_the_panel_goes_through_translation():
    """Words in the GUI's Python files are arguments of `_()`; those of the .ui file are translated by Qt."""
    import ast

    for file in (
        "Panel",
        "ClicksPanel",
        "SegmentsPanel",
        "StatusPanel",
        "FindPanel",
        "ModelPanel",
        "ServerPanel",
        "ExportPanel",
        "KeepPanel",
    ):
        tree = ast.parse((MODULE.parent / "SAMMed3DSegmentLib" / f"{file}.py").read_text())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("setText", "_say", "say"):
                for argument in call.args:
                    plain = isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value
                    assert not plain, f"{file}.py, line {call.lineno}: {argument.value!r} is not translated"
