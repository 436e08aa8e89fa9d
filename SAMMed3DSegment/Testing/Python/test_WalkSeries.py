"""A random use of a series: frames, carrying through them, found objects, surfaces, the Segment Editor's effect.

SAMMED3D_SERIES_WALK sets the number of actions, SAMMED3D_SEED the walk (0: any); a failure prints both.
"""

import os
import random

import numpy as np
import pytest
import slicer

import qt
import slicerHarness
from moving_ball import predictor as ballPredictor
from mrmlNodes import drawByHand, newEditor
from panels import settle as settleModule
from panels import showFrame
from sammed3d import Box, Cancellation
from sammed3d.inference.object_timeline import same_clicks
from sammed3d.inference.session import inferer_for
from SAMMed3DSegmentLib import PointList, Surface
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment, heldMask, labelmapOfSegment, maskOfSegment
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import worldOf
from walker import Walker

ACTIONS = int(os.environ.get("SAMMED3D_SERIES_WALK", "60"))
SEED = int(os.environ.get("SAMMED3D_SEED", "1")) or random.SystemRandom().randrange(1, 10**9)
PROMPTS = {"click": 18, "editorClick": 5, "handEdit": 5, "reset": 1}
STEPS = {"undo": 9, "redo": 7, "undoCarried": 3, "redoCarried": 3}
SERIES = {"carry": 8, "nextFrame": 12, "select": 5, "addSegment": 3, "removeSegment": 1.5}
FOUND = {"find": 2, "accept": 3, "reject": 1}
SURFACES = {"toggle3D": 4, "pause": 3, "fromSurfaces": 0.7}
WEIGHTS = PROMPTS | STEPS | SERIES | FOUND | SURFACES
OFFERED = (
    *("undoButton", "redoButton", "resetButton", "propagateButton", "findButton", "acceptButton", "rejectButton"),
    *("positiveButton", "followButton", "nextPlaceButton", "removeSegmentButton", "show3DButton"),
)


class SeriesWalk(Walker):
    """What a user with little patience does with a series, and what must hold after each of it.

    Attributes:
        changed: segments, by their ids, that the action may change; all frames of those that it may in `carried`.
    """

    def __init__(self, seed, module, browser, ball, answers):
        self.random = random.Random(seed)  # noqa: S311 - a walk that can be repeated
        self.module, self.browser, self.ball, self.answers = module, browser, ball, answers
        self.done, self.changed, self.carried = [], set(), set()
        self.segmenter, self.panel, self.ui = module.panel.segmenter, module.panel, module.ui
        self.volumeNode = self.segmenter.volumeNode

    # What there is

    @property
    def node(self):
        return self.segmenter.segmentationNode

    @property
    def frames(self):
        return FrameSequence.of(self.volumeNode)

    def segmentIds(self):
        return [] if self.node is None else list(self.node.GetSegmentation().GetSegmentIDs())

    def digests(self):
        """What each segment holds in each frame; where frames have no segmentation of their own, in all of them."""
        frames, held = self.frames, {}
        for name in self.segmentIds():
            for number in range(frames.count):
                own = frames.segmentations(self.node) is not None
                frame = frames.segmentation(self.node, number) if own else self.node
                held[name, number] = digestOfSegment(frame, name)
        return held

    def settle(self):
        settleModule(self.module)
        for _ in range(3):
            qt.QApplication.processEvents()

    def spot(self):
        """A place (RAS mm) in the ball of the frame that is shown, or near it."""
        number = self.frames.shown
        grid, reach = self.ball.grid, self.ball.radii[number] * 0.7
        way = np.array([self.random.uniform(-1, 1) for _ in range(3)])
        return worldOf(self.segmenter, grid.to_index(self.ball.centres[number] + reach * way))

    # Prompts

    def click(self):
        self.place(self.random.choice([self.ui.positiveButton, self.ui.positiveButton, self.ui.negativeButton]))

    def place(self, button):
        if not button.checked:
            button.click()
        assert bool(button.checked) == bool(button.enabled), self.ui.statusLabel.text
        if button.checked:
            selection = slicer.app.applicationLogic().GetSelectionNode()
            points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
            points.AddControlPointWorld(self.spot())
            self.settle()
            assert PointList.kinds(points)[-1:] == [button is self.ui.positiveButton], self.ui.statusLabel.text

    def editorClick(self):
        """Go on in the Segment Editor, with its undo, and come back."""
        name = self.panel.segmentId
        if not name:
            return
        container = slicer.modules.sammed3dsegment.widgetRepresentation()
        container.exit()
        editor = newEditor(self.node, self.volumeNode)
        editor.setCurrentSegmentID(name)
        editor.setActiveEffectByName("SAM-Med3D")
        effect = self.panel.borrower
        before = self.digests()
        effect.place(self.random.random() < 0.7)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
        points.AddControlPointWorld(self.spot())
        self.settle()
        after = self.digests()
        if self.random.random() < 0.5 and after != before:
            editor.undo()
            self.settle()
            assert self.digests() == before, "the editor's undo takes back what was written, and no more"
            editor.redo()
            self.settle()
            assert self.digests() == after
        editor.close()
        container.enter()

    def handEdit(self):
        name = self.panel.segmentId
        if name:
            begin = [self.random.randrange(n - 6) for n in self.ball.grid.shape]
            box = Box(tuple(begin), tuple(b + 5 for b in begin))
            drawByHand(self.node, name, self.volumeNode, box, value=self.random.random() < 0.7)
            edited = digestOfSegment(self.node, name)
            self.settle()
            assert digestOfSegment(self.node, name) == edited

    def reset(self):
        if self.ui.resetButton.enabled:
            self.answers.give("Empty this segment", True)
            self.ui.resetButton.click()
            self.settle()
            assert heldMask(self.node, self.panel.segmentId)[1] is None

    # Steps

    def undo(self):
        self.carried.add(self.panel.segmentId)
        self.stepAndCheck(self.ui.undoButton, self.ui.redoButton)

    def redo(self):
        self.carried.add(self.panel.segmentId)
        self.stepAndCheck(self.ui.redoButton, self.ui.undoButton)

    def undoCarried(self):
        self.stepOfSeries(self.ui.undoPropagateButton, self.ui.redoPropagateButton, "Taken back")

    def redoCarried(self):
        self.stepOfSeries(self.ui.redoPropagateButton, self.ui.undoPropagateButton, "Done again")

    def stepOfSeries(self, button, other, text):
        if button.isVisibleTo(self.module.root):
            self.carried.add(self.panel.series.propagation.step.segmentId)
            button.click()
            self.settle()
            assert self.ui.propagateLabel.text.startswith(text)
            assert other.isVisibleTo(self.module.root)

    # The series

    def carry(self):
        could, name, shown = bool(self.ui.propagateButton.enabled), self.panel.segmentId, self.frames.shown
        self.ui.framesSelector.setCurrentIndex(self.random.choice([0, 0, 1, 2]))
        held = digestOfSegment(self.node, name) if name else ""
        self.carried.add(name)
        self.ui.propagateButton.click()
        self.settle()
        text = self.ui.propagateLabel.text
        if could and "frames are done" in text:
            assert digestOfSegment(self.node, name) == held, "the frame that is shown stays"
            assert self.frames.shown == shown
            assert self.ui.framesTable.rowCount == int(text.split(" of ")[0].split()[-1])
        elif could:
            assert "is empty in frame" in text or "Nobody has clicked" in text, text

    def nextFrame(self):
        before = self.digests()
        showFrame(self.browser, self.random.randrange(self.frames.count))
        self.settle()
        assert self.digests() == before, "looking changes nothing"

    def select(self):
        if self.segmentIds():
            self.ui.segmentsTable.setSelectedSegmentIDs([self.random.choice(self.segmentIds())])

    def addSegment(self):
        if len(self.segmentIds()) < 5:
            self.ui.addSegmentButton.click()

    def removeSegment(self):
        if self.ui.removeSegmentButton.enabled:
            self.answers.give("Remove the segment", True)
        self.ui.removeSegmentButton.click()

    # Found objects

    def find(self):
        """Look for objects in a small region in the ball; the frame may show it elsewhere by now."""
        centre = worldOf(self.segmenter, self.ball.grid.to_index(self.ball.centres[self.frames.shown]))
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "here")
        roi.SetCenter(*centre)
        roi.SetSize(14, 14, 14)
        self.ui.findSection.collapsed = False
        self.ui.regionSelector.setCurrentIndex(1)
        self.ui.roiSelector.setCurrentNode(roi)
        self.ui.findButton.click()
        self.settle()
        assert self.panel.find.finder.found, self.ui.findLabel.text
        slicer.mrmlScene.RemoveNode(roi)

    def accept(self):
        """What is accepted is a segment that holds what was found, and what the first click starts from."""
        found = list(self.panel.find.finder.found)
        if not found:
            return
        self.ui.foundTable.selectRow(self.random.randrange(len(found)))
        [row] = {item.row() for item in self.ui.foundTable.selectedItems()}
        before = self.segmentIds()
        self.ui.acceptButton.click()
        self.settle()
        [made] = [each for each in self.segmentIds() if each not in before]
        self.changed.add(made)
        assert self.panel.segmentId == made
        expected = found[row].mask.full(self.ball.grid.shape)
        assert np.array_equal(maskOfSegment(self.node, made, self.volumeNode).full(self.ball.grid.shape), expected)
        assert not self.ui.undoButton.enabled, "it was found, not clicked"

    def reject(self):
        if self.panel.find.finder.found:
            before = self.digests()
            self.ui.foundTable.selectRow(0)
            self.ui.rejectButton.click()
            assert self.digests() == before

    # Surfaces

    def toggle3D(self):
        if self.ui.show3DButton.enabled:
            self.ui.show3DButton.click()

    def pause(self):
        """The clicks pause, and surfaces are made anew."""
        self.segmenter.refreshSurfaces()
        if self.node is None or not Surface.isShown(self.node):
            return
        for name in self.segmentIds():
            surface = self.node.GetSegmentation().GetSegment(name).GetRepresentation("Closed surface")
            held = heldMask(self.node, name)[1]
            if held is not None and self.segmenter.promptsInForce(name) is not None:
                assert surface is not None and not surface.GetFieldData().HasArray(Surface.STALE), name  # noqa: PT018
                assert bool(surface.GetNumberOfPoints())

    def fromSurfaces(self):
        """Somebody keeps the segments as surfaces; the first click makes them voxels again, after a question."""
        node = self.node
        if node is None or self.frames.segmentations(node) is not None or not self.segmentIds():
            return
        sizes = {name: self.size(name) for name in self.segmentIds()}
        node.CreateClosedSurfaceRepresentation()
        node.GetSegmentation().SetSourceRepresentationName("Closed surface")
        self.settle()
        assert not self.ui.undoButton.enabled
        for agreed in (False, True):
            self.answers.give("is kept as closed surface", agreed)
            (self.ui.negativeButton if self.ui.positiveButton.checked else self.ui.positiveButton).click()
            self.settle()
            assert agreed or "kept as" in self.ui.statusLabel.text
        assert node.GetSegmentation().GetSourceRepresentationName() == "Binary labelmap"
        self.changed |= sizes.keys()
        self.carried |= sizes.keys()
        for name, size in sizes.items():
            assert self.size(name) == pytest.approx(size, rel=0.3, abs=40)

    def size(self, name):
        held = heldMask(self.node, name)[1]
        return 0 if held is None else int(held.voxels.sum())

    # What holds

    def check(self):
        assert not slicerHarness.slotErrors, f"raised {slicerHarness.slotErrors[0]!r}"
        assert not self.segmenter.busy
        now = self.shown()
        self.panel.update()
        assert self.shown() == now, "the panel was not in step"
        ui, name = self.ui, self.panel.segmentId
        ready = bool(name) and labelmapOfSegment(self.node, name) is not None
        assert bool(ui.propagateButton.enabled) == ready
        assert ui.foundTable.rowCount == len(self.panel.find.finder.found)
        assert ui.framesTable.rowCount == len(self.panel.series.propagation.found)
        for each in self.segmentIds():
            self.checkSegment(each)

    def shown(self):
        offered = {name: bool(getattr(self.ui, name).enabled) for name in OFFERED}
        visible = [w.isVisibleTo(self.module.root) for w in (self.ui.undoPropagateButton, self.ui.redoPropagateButton)]
        return offered, visible, self.ui.clickSelector.count, self.ui.hintLabel.text, self.ui.segmentLabel.text

    def checkSegment(self, name):
        """Points are the prompts in force, and the mask is what prompts make."""
        if PointList.pointListOf(self.node, name) is None:
            return
        can = self.segmenter.canUndo(name), self.segmenter.canRedo(name)
        assert self.segmenter.isAbout(name) or can == (False, False), "something waits that nobody evaluates"
        state = self.segmenter.shownState(name)
        if state is None:  # somebody edited it, or it is about another frame
            return
        points = PointList.clicksFromPointList(PointList.pointListOf(self.node, name), self.volumeNode)
        assert same_clicks(points, state.clicks)
        expected, shape = state.base, self.ball.grid.shape
        if not state.is_start:
            volume = volumeFromNode(self.volumeNode)
            expected, _ = inferer_for(volume, ballPredictor()).mask_of(state, Cancellation())
        held = maskOfSegment(self.node, name, self.volumeNode)
        full = [np.zeros(shape, np.uint8) if mask is None else mask.full(shape) for mask in (expected, held)]
        assert np.array_equal(*full), "the segment is not what its prompts make"

    def step(self):
        action = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        self.done.append(f"{action} {self.panel.segmentId} in {self.frames.shown}")
        before, shown, self.carried = self.digests(), self.frames.shown, set()
        adopted = self.node is not None and self.frames.segmentations(self.node) is not None
        self.changed = {self.panel.segmentId}
        getattr(self, action)()
        self.settle()
        self.changed.add(self.panel.segmentId)
        now = self.digests()
        for (name, number), digest in before.items():
            mine = name in self.changed and (not adopted or number == shown)
            assert mine or name in self.carried or now.get((name, number), digest) == digest, f"{name} in {number}"
        self.check()


@pytest.fixture
def predictor():
    return ballPredictor()


@pytest.mark.slow
@pytest.mark.timeout(max(300, ACTIONS * 6))
def test_a_random_use_of_a_series(registered, module, browser, ball, answers):
    walk = SeriesWalk(SEED, module, browser, ball, answers)
    walk.walk(ACTIONS, f"SAMMED3D_SEED={SEED} SAMMED3D_SERIES_WALK={ACTIONS}")
