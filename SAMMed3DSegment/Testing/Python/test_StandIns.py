"""Stand-ins for CTK's and Slicer's classes refuse what the real ones lack, and say of which class it is missing."""

import functools

import pytest
import slicer

import ctk
import qt
import slicerHarness
from slicerHarness import manifest, scene, segmentEditor, uiLoader, widgets

STAND_INS = {cls.__name__: cls for cls in (*widgets.WIDGETS.values(), *uiLoader.customWidgets.values())}
STAND_INS |= {"ctkSettingsPanel": ctk.ctkSettingsPanel, "ctkSettingsDialog": ctk.ctkSettingsDialog}
MAKE = STAND_INS | {
    "qSlicerApplication": lambda: slicer.app,
    "qSlicerModuleManager": slicer.app.moduleManager,
}
ONLY_HERE = {
    "ctkCollapsibleButton": ["setCollapsed", "getCollapsed", "menu", "screen_name"],
    "ctkComboBox": ["forceDefaultText", "getCurrentUserDataAsString"],
    "ctkDirectoryButton": ["setDirectory", "click", "clicked", "setText"],
    "ctkSettingsDialog": ["panel", "setSettings"],
    "ctkSettingsPanel": ["setSettings", "setSetting", "changedSettings"],
    "qMRMLNodeComboBox": ["setNoneEnabled", "setNodeTypes", "nodes", "currentIndex", "count", "setting"],
    "qMRMLSegmentsTableView": ["rowCount", "item", "selectionModel", "itemSelectionChanged", "segmentCount"],
    "qMRMLWidget": ["onScene", "sceneReceivers", "initializeScene"],
    "qSlicerApplication": ["mainWindow", "startupFunctions", "nodeModule", "copyrights"],
    "qSlicerModuleManager": ["functions", "loadModule", "moduleList"],
}
"""What is asked for in vain: setters and getters that C++ alone can call, and what only a Python object would have."""


def test_every_stand_in_is_strict():
    assert set(MAKE) == set(ONLY_HERE)
    assert set(manifest.standIns.values()) == set(MAKE)
    assert {cls.__name__ for cls in uiLoader.customWidgets.values()} <= set(manifest.standIns.values())
    assert manifest.realOf(scene.Application) == "qSlicerApplication"


@pytest.mark.parametrize("name", MAKE)
def test_what_the_real_class_lacks_is_refused(name):
    made = MAKE[name]()
    for absent in [*ONLY_HERE[name], "addedInPython"]:
        with pytest.raises(AttributeError, match=f"{name} has no attribute named '{absent}'"):
            getattr(made, absent)
        with pytest.raises(AttributeError, match=f"{name} has no property '{absent}'"):
            setattr(made, absent, 1)


@pytest.mark.parametrize("name", MAKE)
def test_of_what_the_stand_in_has_nothing_more_can_be_reached(name):
    """Also what its base in PySide has: `dir` knows all of it."""
    made, known = MAKE[name](), manifest.known(name).names
    public = {each for each in dir(made) if not each.startswith("_")}
    reached = {each for each in public if hasattr(made, each)}
    assert reached == public & known
    assert reached, "or nothing is proved"


@pytest.mark.parametrize("name", [name for name in MAKE if name in uiLoader.customWidgets or name.startswith("ctkS")])
def test_names_that_only_pyside_has_are_refused(name):
    made = MAKE[name]()
    only = {each for each in dir(qt.QWidget) if not each.startswith("_")} - manifest.known(name).names
    assert {"staticMetaObject", "setTabOrder"} & only or "grab" not in only
    for each in only:
        with pytest.raises(AttributeError, match=name):
            getattr(made, each)


@pytest.mark.parametrize("name", MAKE)
def test_a_signal_or_a_type_of_it_that_does_not_exist_is_refused(name):
    made = MAKE[name]()
    signals = manifest.known(name).signals
    for signature in ("inventedInPython(bool)", "objectNameChanged(int)", "destroyed(QVariant,int)"):
        assert signature not in signals
        with pytest.raises(ValueError, match=f"{name} has no signal"):
            made.connect(signature, print)


def test_what_cannot_be_written_is_refused():
    for absent in ("majorVersion", "slicerUserSettingsFilePath"):
        with pytest.raises(AttributeError, match=f"qSlicerApplication has no property '{absent}'"):
            setattr(slicer.app, absent, 1)
    with pytest.raises(AttributeError, match="ctkSettingsDialog has no property 'restartRequired'"):
        ctk.ctkSettingsDialog().restartRequired = True
    with pytest.raises(AttributeError, match="qMRMLNodeComboBox has no property 'currentNode'"):
        widgets.qMRMLNodeComboBox().currentNode = None


def test_what_the_real_class_has_works():
    button, heard = ctk.ctkDirectoryButton(), []
    button.connect("directoryChanged(QString)", heard.append)
    button.directory = "/somewhere"
    button.directory = "/somewhere"
    assert (button.directory, heard) == ("/somewhere", ["/somewhere"])
    header, heard = ctk.ctkCollapsibleButton("Title"), []
    header.connect("contentsCollapsed(bool)", heard.append)
    header.collapsed = True
    header.checked = True
    assert (header.text, header.collapsed, heard) == ("Title", False, [True, False])


def test_a_class_in_python_may_have_more():
    class Mine(ctk.ctkSettingsPanel):
        def mine(self):
            return self.other

    mine = Mine()
    mine.other = 3
    assert mine.mine() == 3
    with pytest.raises(AttributeError, match="ctkSettingsPanel has no attribute named 'setSetting'"):
        mine.setSetting("key", 1)


def test_an_effect_that_slicer_would_refuse_is_refused(tmp_path):
    effect = segmentEditor.qSlicerSegmentEditorScriptedEffect(None)
    with pytest.raises(AttributeError, match="colour"):
        effect.colour = 1
    assert not effect.setPythonSource("effect.txt")
    source = tmp_path / "Bad" / "SegmentEditorEffect.py"
    source.parent.mkdir()
    source.write_text(
        "class SegmentEditorEffect:\n"
        "    def __init__(self, scriptedEffect):\n"
        "        scriptedEffect.name = 'Bad'\n"
        "    def clone(self):\n"
        "        return self\n"
    )
    assert effect.setPythonSource(source.as_posix())
    assert effect.clone() is None
    with pytest.raises(TypeError, match="clone"):
        raise slicerHarness.slotErrors.pop()


class Called:
    """Something that can be called and is no function."""

    def __init__(self):
        self.arguments = []

    def __call__(self, *arguments):
        self.arguments.append(arguments)

    def method(self, first):
        self.arguments.append((first,))


def test_arguments_of_signals_are_trimmed_for_functions_and_methods_only():
    button, called = qt.QPushButton(), Called()
    button.setCheckable(True)
    button.connect("clicked(bool)", lambda: called("none"))
    button.connect("clicked(bool)", called.method)
    button.connect("clicked(bool)", called)
    button.connect("clicked(bool)", functools.partial(called, "more"))
    button.click()
    assert called.arguments == [("none",), (True,), (True,), ("more", True)]


@pytest.mark.parametrize("kind", ["QPushButton", "QLabel", "QComboBox", "QTimer", "QTableWidget", "QInputDialog"])
def test_new_attributes_of_qts_objects_are_refused(kind):
    made = getattr(qt, kind)()
    with pytest.raises(AttributeError, match=f"'cheked' does not exist on {kind}"):
        made.cheked = True
    made.setProperty("SlicerParameterName", "volume")
    made.SlicerParameterName = "segmentation"
    assert made.property("SlicerParameterName") == "segmentation"
    made.objectName = "known"
    assert made.name == "known"


def test_none_is_no_text():
    """PythonQt makes the word of it, and says nothing."""
    label, edit = qt.QLabel("text"), qt.QLineEdit()
    for write in (label.setText, edit.setText, lambda text: setattr(label, "text", text), label.setToolTip):
        with pytest.raises(TypeError, match="word 'None'"):
            write(None)
    label.text = ""
    assert label.text == ""


def test_what_was_not_connected_cannot_be_disconnected():
    button, called = qt.QPushButton(), Called()
    button.connect("clicked(bool)", called.method)
    with pytest.raises(ValueError, match="would stay connected"):
        button.disconnect("clicked(bool)", lambda: None)
    with pytest.raises(ValueError, match="would stay connected"):
        button.disconnect("pressed()", called.method)
    button.disconnect("clicked(bool)", called.method)
    button.click()
    assert called.arguments == []


def test_a_parameter_node_has_its_parameters_and_no_more(module):
    node = module.logic.getParameterNode()
    with pytest.raises(AttributeError):
        node.segmentID = "liver"
    with pytest.raises(AttributeError):
        node.GetID()
    assert node.parameterNode.GetID()
