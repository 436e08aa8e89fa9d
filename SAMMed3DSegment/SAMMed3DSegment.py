"""Click on a structure in a CT or MR and get it segmented in 3D. What happens is in SAMMed3DSegmentLib."""

import importlib.util
import sys
import time
import unittest
from collections.abc import Callable
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

import qt

if hasattr(slicer.modules, "SAMMed3DSegmentWidget"):  # reloaded: Python would keep the old code of all but this file
    for _name in [*sys.modules]:
        if _name.partition(".")[0] in ("SAMMed3DSegmentLib", "sammed3d"):
            del sys.modules[_name]

# Installed, the package `sammed3d` lies beside this file; in a source tree it lies in Server/.
if importlib.util.find_spec("sammed3d") is None:
    sys.path.append(str(Path(__file__).parents[1] / "Server"))


class SAMMed3DSegment(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SAMMed3DSegment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Markups"]
        self.parent.contributors = ["SAMMed3DSegment contributors"]
        self.parent.helpText = _(
            "Press Positive and click on a structure in a CT or MR: it is segmented in 3D. Click again, positive or "
            "negative, to correct it. Research software: not for clinical decisions."
        )
        self.parent.acknowledgementText = _("Built on SAM-Med3D (Wang H. et al., arXiv:2310.15161).")
        slicer.app.connect("startupCompleted()", self.onStartup)

    def onStartup(self) -> None:
        """Register sample data and the page of the application settings."""
        from SAMMed3DSegmentLib import SampleVolumes, SettingsPage

        SampleVolumes.register(Path(self.resourcePath("Icons")))
        SettingsPage.register()


class SAMMed3DSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel, and the scene's events."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel = None

    def setup(self) -> None:
        """Build the panel."""
        from SAMMed3DSegmentLib.Panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        widget = self.root = slicer.util.loadUI(self.resourcePath("UI/SAMMed3DSegment.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(widget)
        for kind, button in (("Positive", self.ui.positiveButton), ("Negative", self.ui.negativeButton)):
            button.setIcon(qt.QIcon(self.resourcePath(f"Icons/SAMMed3DSegment{kind}.png")))
        self.logic = SAMMed3DSegmentLogic()
        self.panel = Panel(
            widget,
            self.ui,
            self.logic.segmenter,
            self.logic.settings,
            self.logic.store,
            self.logic.predictors,
            self.logic.getParameterNode,
        )
        scene, first, last = slicer.mrmlScene, 100.0, -100.0  # before and after the selectors hear of it
        self.addObserver(scene, scene.StartCloseEvent, lambda *_: self.panel.sceneCloses(), priority=first)
        self.addObserver(scene, scene.StartImportEvent, lambda *_: self.panel.sceneChanges(), priority=first)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeLeaves, priority=first)
        self.addObserver(scene, scene.EndCloseEvent, lambda *_: self.panel.readScene(), priority=last)
        self.addObserver(scene, scene.EndImportEvent, lambda *_: self.panel.readScene(), priority=last)
        if getattr(self.parent, "isEntered", False):  # reloaded: the application does not enter the module anew
            self.enter()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeLeaves(self, _scene, _event, node) -> None:
        """A node is about to be removed: the selectors would choose its neighbour in the list, which nobody chose."""
        for selector in (self.ui.volumeSelector, self.ui.segmentationSelector, self.ui.roiSelector):
            if selector.currentNode() is node:
                selector.setCurrentNode(None)

    def enter(self) -> None:
        """The user opened the module."""
        self.panel.enter()

    def exit(self) -> None:
        """The user opened another module."""
        self.panel.exit()

    def cleanup(self) -> None:
        """The application closes, or the module is reloaded; Slicer hides the old widgets then and keeps them."""
        if self.panel is None:
            return
        self.removeObservers()
        self.panel.close()
        self.logic.close()
        self.root.setMRMLScene(None)
        self.panel = None


class SAMMed3DSegmentLogic(ScriptedLoadableModuleLogic):
    """Everything without a window: works in Slicer, in scripts and under other front ends.

    Example:
        >>> logic = SAMMed3DSegmentLogic()
        >>> logic.segmenter.setInput(getNode("CT"), getNode("Segmentation"))
        >>> logic.segmenter.click(segmentId, (12.0, -30.5, 88.0))
        >>> logic.wait()
    """

    def __init__(self, loadPredictor: Callable | None = None) -> None:
        """Make a logic.

        Args:
            loadPredictor: from a chosen model to its predictor, called in the background; as the settings say if None.
        """
        from sammed3d.zoo.store import ModelStore
        from SAMMed3DSegmentLib.InferenceThread import InferenceThread
        from SAMMed3DSegmentLib.Predictors import Predictors
        from SAMMed3DSegmentLib.Segmenter import Segmenter
        from SAMMed3DSegmentLib.Settings import Settings

        ScriptedLoadableModuleLogic.__init__(self)
        self.settings = Settings(slicer.app.userSettings())
        self.store = ModelStore()
        self.predictors = Predictors(self.settings, self.store)
        self._thread = InferenceThread(loadPredictor or self._load)
        self.segmenter = Segmenter(self._thread)
        self.segmenter.modelChoice = self.predictors.choiceOf
        self.segmenter.followChoice = lambda: self.settings.followChoice

    def _load(self, choice):
        return self.predictors.load(choice)

    def getParameterNode(self):
        """Return the scene's parameters."""
        from SAMMed3DSegmentLib.Parameters import SAMMed3DSegmentParameterNode

        return SAMMed3DSegmentParameterNode(super().getParameterNode())

    def wait(self) -> None:
        """Wait for all predictions; for scripts."""
        while self.segmenter.busy:
            self.segmenter.poll()
            time.sleep(0.005)

    def close(self) -> None:
        """End the background work."""
        self.segmenter.forgetScene()
        self._thread.stop()


class SAMMed3DSegmentTest(ScriptedLoadableModuleTest):
    """Runs Testing/Python/test_Workflow.py, which needs nothing but Slicer itself.

    It proves that clicks, undo, neighbours and saved scenes work on this application's nodes and logics, with a
    stand-in for the network; neither the panel nor torch is touched.
    """

    def runTest(self) -> None:
        """Run the tests in the present application; the scene is closed first."""
        slicer.mrmlScene.Clear()
        folder = Path(slicer.util.modulePath("SAMMed3DSegment")).parent / "Testing" / "Python"
        suite = unittest.defaultTestLoader.discover(str(folder), pattern="test_Workflow.py")
        result = unittest.TextTestRunner(verbosity=2).run(suite)
        self.assertGreater(result.testsRun, 0)
        self.assertTrue(result.wasSuccessful())
