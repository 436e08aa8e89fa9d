"""A random use of the panel: all that it offers works, all else does nothing, and what it shows is what there is.

SAMMED3D_PANEL_WALK sets the number of actions, SAMMED3D_SEED the walk (0: any); a failure prints both.
"""

import os
import random

import numpy as np
import pytest
import slicer

import slicerHarness
from panels import MODULE
from panelUser import SHAPE, WEIGHTS, PanelUser
from sammed3d import Cancellation
from sammed3d.inference.object_timeline import same_clicks
from sammed3d.inference.session import inferer_for
from SAMMed3DSegmentLib import DrawingNodes, PointList
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment, maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import overwriteMode
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import newPredictor

ACTIONS = int(os.environ.get("SAMMED3D_PANEL_WALK", "80"))
SEED = int(os.environ.get("SAMMED3D_SEED", "1")) or random.SystemRandom().randrange(1, 10**9)
MOST = 5
"""Volumes in the scene, beyond which no other scene is added."""
OFFERED = (
    *("positiveButton", "negativeButton", "undoButton", "redoButton", "resetButton", "boxButton", "followButton"),
    *("nextPlaceButton", "addSegmentButton", "nextSegmentButton", "removeSegmentButton", "editorButton", "findButton"),
    *("scribbleButton", "lassoButton", "honourCheckBox", "exportButton", "exportPromptsButton", "propagateButton"),
)


class PanelWalk(PanelUser):
    """A walk with scenes, and what must hold after each action.

    Attributes:
        weights: how often each action is done.
        newPredictor: makes what answers as the model does.
    """

    weights, newPredictor = WEIGHTS, staticmethod(newPredictor)

    def reopen(self):
        """Tomorrow the scene says what it said."""
        scene, file = slicer.mrmlScene, str(self.folder / "walk.mrb")
        assert scene.WriteToMRB(file)
        self.settle()  # segments share labelmaps when they are saved
        before = self.seen()
        scene.Clear(0)
        assert scene.ReadFromMRB(file)
        self.settle()
        assert self.seen() == before

    def seen(self):
        """What a user sees, by names: ids may be others after loading."""
        node, volume, ui = self.segmenter.segmentationNode, self.segmenter.volumeNode, self.ui
        chosen = tuple(None if n is None else n.GetName() for n in (node, volume))
        lists = [ui.clickSelector.itemText(n) for n in range(ui.clickSelector.count)]
        offered = {
            name: bool(getattr(ui, name).enabled) for name in ("undoButton", "redoButton", "followButton", "boxButton")
        }
        segments = sorted((n.GetName(), *pair) for n in self.segmentations() for pair in self.masksOf(n))
        return chosen, self.panel.segmentId, lists, offered, segments, ui.segmentLabel.text

    def masksOf(self, node):
        return [(name, digestOfSegment(node, name)) for name in node.GetSegmentation().GetSegmentIDs()]

    def closeScene(self):
        self.place()
        slicer.mrmlScene.Clear(0)
        self.settle()
        assert self.segmenter.volumeNode is None
        assert not self.panel.placeMode.active

    def addScene(self):
        """Another scene is added to this one: nothing of this one changes."""
        file = self.folder / "other.mrb"
        if len(self.volumes()) > MOST:
            return
        if not file.exists():
            assert slicer.mrmlScene.WriteToMRB(str(file))
            return
        before, chosen = self.digests(), self.chosen()
        assert slicer.mrmlScene.ReadFromMRB(str(file), False)
        self.settle()
        assert before.items() <= self.digests().items()
        assert self.chosen() == chosen or chosen[:2] == (None, None)
        self.mixed = True  # that scene may hide its clicks

    def chosen(self):
        return self.segmenter.volumeNode, self.segmenter.segmentationNode, self.panel.segmentId, overwriteMode()

    def reload(self):
        """The panel is made anew, and goes on with what the scene holds."""
        self.settle()
        before = self.seen()
        slicerHarness.unloadModule("SAMMed3DSegment")
        slicerHarness.loadModule(MODULE)
        self.settle()
        assert self.seen() == before

    def check(self):
        ui, segmenter, name = self.ui, self.segmenter, self.panel.segmentId
        assert not slicerHarness.slotErrors, f"raised {slicerHarness.slotErrors[0]!r}"
        assert not segmenter.busy
        now = self.shown()
        self.panel.update()
        assert self.shown() == now, "the panel was not in step"
        assert ui.cancelButton.isHidden()
        assert ui.segmentsTable.selectedSegmentIDs() == ([name] if name else [])
        chosen = self.module.logic.getParameterNode()
        assert (segmenter.volumeNode, segmenter.segmentationNode) == (chosen.volume, chosen.segmentation)
        assert ui.volumeSelector.currentNode() is chosen.volume
        assert ui.segmentationSelector.currentNode() is chosen.segmentation
        shown = {bool(n.GetDisplayVisibility()) for n in (*PointList.pointLists(), *DrawingNodes.drawingNodes())}
        assert shown <= {bool(ui.pointsButton.checked)} or self.mixed
        for each in self.segmentIds() if segmenter.volumeNode is not None else ():
            self.checkSegment(each)

    def shown(self):
        offered = {name: bool(getattr(self.ui, name).enabled) for name in OFFERED}
        checked = {name: bool(getattr(self.ui, name).checked) for name in OFFERED[:2]}
        count = self.ui.clickSelector.count
        return offered, checked, count, self.ui.hintLabel.text, self.ui.segmentLabel.text

    def checkSegment(self, name):
        """Points and curves are the prompts in force, nothing waits, and the mask is what prompts make."""
        segmenter, node = self.segmenter, self.segmenter.segmentationNode
        if PointList.pointListOf(node, name) is None:
            return
        can = segmenter.canUndo(name), segmenter.canRedo(name)
        assert segmenter.isAbout(name) or can == (False, False), "something waits that nobody evaluates"
        state = segmenter.shownState(name)
        if state is None:  # somebody edited it, moved the volume, or it is about another image
            return
        points = PointList.clicksFromPointList(PointList.pointListOf(node, name), segmenter.volumeNode)
        assert same_clicks(points, state.clicks), f"{points} {state.clicks}"
        assert len(list(DrawingNodes.drawingNodes(node, name))) == len(state.drawings)
        if any(each.GetParentTransformNode() is not None for each in (segmenter.volumeNode, node)):
            return
        volume = volumeFromNode(segmenter.volumeNode)
        expected = state.base
        if not state.is_start:
            expected, _ = inferer_for(volume, self.newPredictor()).mask_of(state, Cancellation())
        held = maskOfSegment(node, name, segmenter.volumeNode)
        full = [np.zeros(SHAPE, np.uint8) if mask is None else mask.full(SHAPE) for mask in (expected, held)]
        assert np.array_equal(*full), "the segment is not what its prompts make"

    def step(self):
        action = self.random.choices(list(self.weights), list(self.weights.values()))[0]
        self.done.append(f"{action} {self.panel.segmentId}")
        before, self.touched = self.digests(), {(n.GetID(), self.panel.segmentId) for n in self.segmentations()}
        getattr(self, action)()
        self.settle()
        if action not in ("reopen", "closeScene", "addScene") and not self.overwritten:
            now = self.digests()
            self.touched |= {(n.GetID(), self.panel.segmentId) for n in self.segmentations()}
            for each, digest in before.items():
                assert each in self.touched or now.get(each, digest) == digest, f"{each} changed"
        self.check()


@pytest.mark.slow
@pytest.mark.timeout(max(300, ACTIONS * 3))
def test_a_random_use_of_the_panel(module, predictor, tmp_path, answers):
    walk = PanelWalk(SEED, tmp_path, predictor, answers)
    try:
        walk.walk(ACTIONS, f"SAMMED3D_SEED={SEED} SAMMED3D_PANEL_WALK={ACTIONS}")
    finally:
        predictor.fail = None
        predictor.gate.set()
