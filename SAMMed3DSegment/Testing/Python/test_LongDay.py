"""What is done with many scenes leaves nothing behind: no image, no observer, no timer, no thread, no node.

SAMMED3D_CASES sets how many cases follow the first one.
"""

import gc
import os
import threading
import weakref
from collections import Counter

import pytest
import slicer

import slicerHarness
from mrmlNodes import newEditor
from panels import MODULE, keptModules, wait
from panelUser import PanelUser
from sammed3d.inference.session import inferer_for
from SAMMed3DSegmentLib import InferenceThread
from SAMMed3DSegmentLib.Predictors import Predictors
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER
from segmenters import SPOTS, clickAt, newPredictor
from servers import serving

OURS = (
    *("SegmentPrompts", "ObjectTimeline", "Volume", "TranslatingInferer", "BoxedMask", "Moment", "Job", "Task"),
    *("QTimer", "QShortcut", "QTableWidgetItem", "Segmenter", "Panel", "PointObserver", "SceneObserver"),
)

CASES = int(os.environ.get("SAMMED3D_CASES", "1"))
LOAD = Predictors.load


@pytest.fixture
def kept(monkeypatch):
    """Weak references to what holds the images that predictions are about, their patches and answers."""
    kept = []

    def remembered(volume, predictor):
        inferer = inferer_for(volume, predictor)
        kept.append(weakref.ref(inferer))
        return inferer

    monkeypatch.setattr(InferenceThread, "inferer_for", remembered)
    return kept


@pytest.mark.parametrize("end", ["the scene is closed", "its volume is removed", "the server may not be used any more"])
def test_an_image_leaves_the_memory_when_it_is_over_with_it(segmenter, liver, kept, scene, volumeNode, end):
    """At once, not at the next click, which may be in an hour."""
    clickAt(segmenter, liver, SPOTS[0])
    gc.collect()
    assert [each() is None for each in kept] == [False]
    if "scene" in end:
        scene.Clear(0)
    elif "volume" in end:
        scene.RemoveNode(volumeNode)
    else:
        segmenter.forgetPredictors()
    gc.collect()
    assert [each() is None for each in kept] == [True]


def test_the_effect_that_is_switched_off_is_not_kept(registered, module, volumeNode, segmentationNode, liver):
    """A timer keeps whom it calls, however often the effect is switched on in a day."""
    editor, kept = newEditor(segmentationNode, volumeNode), []
    editor.setCurrentSegmentID(liver)
    for _ in range(3):
        editor.setActiveEffectByName("SAM-Med3D")
        kept.append(weakref.ref(module.panel.borrower))
        editor.setActiveEffect(None)
    editor.close()
    gc.collect()
    assert [each() for each in kept] == [None] * 3


def test_the_old_widgets_of_a_module_that_was_reloaded_do_nothing(module, ui, chosenVolume):
    """Slicer hides them and keeps them."""
    with keptModules():
        module.onReload()
        settings = slicer.modules.SAMMed3DSegmentWidget.logic.settings
        ui.placeSelector.setCurrentIndex(1)
        ui.urlEdit.setText("https://old.example.org")
        assert (settings.place, settings.url) == (LOCAL, "")
        for button in (ui.importButton, ui.keepFolderButton, ui.testButton):
            button.setEnabled(True)
            button.click()  # nobody is asked anything
        assert ui.serverLabel.text == ""
        slicerHarness.loadModule(MODULE)


class Day(PanelUser):
    """A case after the other."""

    def case(self, server):
        """Open two volumes, segment in both of them, here and on a server, save, reopen, close."""
        for _ in range(2):
            self.ui.volumeSelector.setCurrentNode(self.newVolume())
            for step in (self.click, self.undo, self.redo, self.draw, self.nextSegment, self.click, self.handEdit):
                step()
                self.settle()
            for step in (self.box, self.cancel, self.whereNext, self.overwrite, self.otherModule, self.toggleSomething):
                step()
                self.settle()
            self.ui.segmentationSelector.addNode()
            self.ui.segmentationSelector.setCurrentNode(self.segmentations()[0])
        self.find()
        self.onServer(server)
        scene, file = slicer.mrmlScene, str(self.folder / "day.mrb")
        assert slicer.util.saveScene(file)
        scene.Clear(0)
        assert scene.ReadFromMRB(file)
        self.settle()
        self.undo()
        scene.Clear(0)
        self.settle()

    def find(self):
        self.ui.findButton.click()
        self.settle()
        if self.panel.find.finder.found:
            self.ui.foundTable.selectRow(0)
            self.ui.acceptButton.click()

    def onServer(self, server):
        """Go on with a server, and come back; another model is chosen and left, too."""
        ui = self.ui
        ui.placeSelector.setCurrentIndex(1)
        ui.urlEdit.setText(server.url)
        if not ui.consentCheckBox.checked:
            ui.consentCheckBox.click()
        wait(lambda: not self.panel.models.served.busy)
        self.click()
        assert "Done" in ui.statusLabel.text
        ui.testButton.click()
        self.settle()
        ui.placeSelector.setCurrentIndex(0)
        for model in ("sam_med3d_turbo", "default"):
            ui.modelSelector.setCurrentIndex(ui.modelSelector.findData(model))

    def left(self):
        """What there is when nothing is open."""
        gc.collect()
        scene, logic = slicer.mrmlScene, slicer.app.applicationLogic()
        nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        found = Counter(type(each).__name__ for each in gc.get_objects())
        left = Counter({name: found[name] for name in OURS})
        left += Counter(f"node {node.GetClassName()}" for node in nodes)
        threads = [each.name for each in threading.enumerate()]
        left += Counter(f"thread {name}" for name in threads if name != "sammed3d-request")  # kept for a while
        callers = {"scene": scene, "interaction": logic.GetInteractionNode(), "selection": logic.GetSelectionNode()}
        left += Counter({f"observers of {name}": str(each).count("vtkObserver (") for name, each in callers.items()})
        return left + Counter({"timer that runs": self.panel.threadTime.active})


@pytest.mark.slow
def test_after_some_cases_there_is_no_more_than_after_the_first(module, predictor, answers, tmp_path, monkeypatch):
    def load(predictors, choice):
        return LOAD(predictors, choice) if choice.place == SERVER else predictor

    monkeypatch.setattr(Predictors, "load", load)
    day = Day(1, tmp_path, predictor, answers)
    with serving(newPredictor()) as server:
        day.case(server)
        first = day.left()
        for _ in range(CASES):
            day.case(server)
        assert day.left() - first == Counter()
