"""A Slicer without the desktop application: real nodes and logics from slicer-core, Qt from PySide6."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

from helpers import phantom

if any(importlib.util.find_spec(name) is None for name in ("slicer", "PySide6")):  # not on this platform
    collect_ignore_glob = ["test_*.py"]
else:
    import slicer

    import qt
    import slicerHarness  # fills `slicer`
    from moving_ball import moving_ball
    from mrmlNodes import OBLIQUE, addSeries, addVolume, newEditor
    from sammed3d.web.work import Work
    from SAMMed3DSegmentLib import SettingsPage
    from SAMMed3DSegmentLib.Predictors import Predictors
    from segmenters import Models, newSegmenter
    from slicerHarness import dialogs, segmentEditor
    from slicerHarness.scene import startupFunctions
    from slicerHarness.views import closeSliceViews


@pytest.fixture(autouse=True)
def answers(caplog):
    """The user, who answers dialogs; no test may leave one open, or an error in Slicer's Python console."""
    dialogs.answers.check()
    slicerHarness.slotErrors.clear()
    yield dialogs.answers
    dialogs.answers.check()
    if slicerHarness.slotErrors:
        raise slicerHarness.slotErrors.pop()
    errors = [r.exc_info[1] for r in caplog.get_records("call") if r.msg == "A result could not be written"]
    if errors:
        raise errors[0]


@pytest.fixture
def scene():
    """The application's scene, empty, and no view of it."""
    closeSliceViews()
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
    return addVolume(scene, phantom((40, 50, 30)), OBLIQUE)


@pytest.fixture
def segmentationNode(scene, volumeNode):
    """An empty segmentation on the volume's grid."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    return node


@pytest.fixture
def liver(segmentationNode):
    """Id of an empty segment."""
    return segmentationNode.GetSegmentation().AddEmptySegment("liver", "liver")


@pytest.fixture
def spleen(segmentationNode):
    """Id of another one."""
    return segmentationNode.GetSegmentation().AddEmptySegment("spleen", "spleen")


@pytest.fixture
def module(scene, predictor, tmp_path, monkeypatch):
    """The module as the application shows it."""
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(Predictors, "load", lambda self, choice: predictor)
    slicer.app.userSettings().clear()
    if not SettingsPage.pages():  # once, when the application starts
        SettingsPage.register()
    slicer.app.settingsDialog().reloadSettings()
    for page in SettingsPage.pages():  # it wrote what it had shown in the test before
        page.restoreDefaultSettings()
    _, widget = slicerHarness.loadModule(Path(__file__).parents[2] / "SAMMed3DSegment.py")
    yield widget
    slicerHarness.unloadModule("SAMMed3DSegment")


@pytest.fixture
def ui(module):
    """The widgets of the module by their names."""
    return module.ui


@pytest.fixture
def area(module):
    """The panel as the application shows modules: with a scroll bar where it is too high."""
    area = qt.QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(module.parent)
    area.resize(430, 500)
    area.show()
    yield area
    area.takeWidget()


@pytest.fixture
def chosenVolume(ui, volumeNode):
    """The phantom, chosen as the user would."""
    ui.volumeSelector.setCurrentNode(volumeNode)
    return volumeNode


@pytest.fixture(scope="session")
def ball():
    """A ball that moves through five frames."""
    return moving_ball(5)


@pytest.fixture
def browser(module, ui, scene, ball):
    """What plays the ball's series, which is chosen as the user would; its section is open."""
    browser, node = addSeries(scene, [ball.volume(number) for number in range(5)])
    ui.volumeSelector.setCurrentNode(node)
    ui.propagateSection.collapsed = False
    return browser


@pytest.fixture(scope="module")
def registered():
    """The Segment Editor's effect, registered as the application does when it starts."""
    source = Path(__file__).parents[3] / "SegmentEditorSAMMed3D" / "SegmentEditorSAMMed3D.py"
    parent = types.SimpleNamespace(path=str(source))
    sys.path.insert(0, str(source.parent))
    factory = segmentEditor.qSlicerSegmentEditorEffectFactory.instance()
    factory.registered.clear()
    importlib.import_module(source.stem).SegmentEditorSAMMed3D(parent)
    startupFunctions[-1]()
    yield parent
    factory.registered.clear()
    sys.path.remove(str(source.parent))


@pytest.fixture
def segmentIds(segmentationNode):
    segmentation = segmentationNode.GetSegmentation()
    return [segmentation.AddEmptySegment("", name) for name in ("liver", "spleen")]


@pytest.fixture
def editor(registered, module, scene, volumeNode, segmentationNode, segmentIds):
    """A Segment Editor with the first segment selected; the module was left."""
    slicer.modules.sammed3dsegment.widgetRepresentation().exit()
    widget = newEditor(segmentationNode, volumeNode)
    widget.setCurrentSegmentID(segmentIds[0])
    yield widget
    widget.close()


@pytest.fixture
def effect(editor):
    """The effect in Python, switched on."""
    editor.setActiveEffectByName("SAM-Med3D")
    return editor.activeEffect().self()


@pytest.fixture
def models():
    """Models by name, "default" and "other", which stand for networks and record their calls."""
    return Models(default=0.437, other=0.6)


@pytest.fixture
def predictor(models):
    """Stands for the network of the default model."""
    return models["default"]


@pytest.fixture
def work(scene, models):
    """What the page in a browser does with the scene."""
    work = Work(models)
    yield work
    work.close()


@pytest.fixture
def makeSegmenter(volumeNode, segmentationNode, models):
    """Make segmenters that know nothing but the scene, and end them afterwards."""
    made = []

    def make(volume=volumeNode, segmentation=segmentationNode, loadPredictor=models):
        made.append(newSegmenter(volume, segmentation, loadPredictor))
        return made[-1][0]

    yield make
    for predictor in models.predictors.values():
        predictor.gate.set()
    for segmenter, thread in made:
        segmenter.forgetScene()
        thread.stop()


@pytest.fixture
def segmenter(makeSegmenter):
    """A segmenter on the phantom; `segmenters.settle` waits for its predictions."""
    return makeSegmenter()


@pytest.fixture
def slow(segmenter, predictor):
    """A segmenter whose model waits until its gate is opened."""
    predictor.gate.clear()
    return segmenter
