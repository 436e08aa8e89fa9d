"""What a user with little patience does with the panel, for random walks."""

import random

import numpy as np
import slicer

import qt
from helpers import make_affine, phantom
from mrmlNodes import addVolume, drawByHand, linearTransform
from panels import settle
from sammed3d import Box
from SAMMed3DSegmentLib import DrawingNodes, PointList
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment
from segmenters import worldOf
from slicerHarness.views import SliceView
from walker import Walker

AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
SHAPE = (40, 50, 30)
PROMPTS = {"click": 20, "clickQuickly": 5, "draw": 8, "box": 4, "honour": 3, "dragPoint": 3}
ASKED = {"follow": 4, "whereNext": 5}
STEPS = {"undo": 12, "redo": 9, "reset": 2, "cancel": 2, "fail": 2}
SEGMENTS = {"nextSegment": 4, "addSegment": 2, "select": 6, "removeSegment": 1.5, "handEdit": 4}
SHOWN = {"toggleSomething": 6, "pressAnyKey": 8, "overwrite": 1, "followMode": 2, "otherModule": 2, "changeLayout": 1}
CHOSEN = {"chooseVolume": 3, "chooseSegmentation": 3, "transform": 2, "replaceImage": 1}
OUTSIDE = {"removeNode": 4, "removeSegmentElsewhere": 1, "removeWhileBusy": 2, "newRoi": 1}
SCENES = {"reopen": 1, "closeScene": 0.4, "addScene": 0.6, "reload": 0.5}
WEIGHTS = PROMPTS | ASKED | STEPS | SEGMENTS | SHOWN | CHOSEN | OUTSIDE | SCENES
TOGGLES = ("pointsButton", "show3DButton", "uncertaintyCheckBox", "takesAwayCheckBox", "allSegmentsCheckBox")


class PanelUser(Walker):
    """Does what its methods are called, with the panel or elsewhere in the application.

    Args:
        seed: of a walk that can be repeated.
        folder: for scenes.
        predictor: stands for the network.
        answers: answers dialogs.

    Attributes:
        touched: segments, as (node id, segment id), that an action changes although they are not selected.
        overwritten: whether segments may have taken from others.
        mixed: whether some clicks may be shown and others not.
    """

    def __init__(self, seed, folder, predictor, answers):
        self.random = random.Random(seed)  # noqa: S311 - a walk that can be repeated
        self.folder, self.predictor, self.answers = folder, predictor, answers
        self.done, self.count, self.touched, self.overwritten, self.mixed = [], 0, set(), False, False
        self.newVolume()
        self.newVolume()
        self.view = SliceView("Walk")
        self.ui.volumeSelector.setCurrentNode(self.volumes()[0])

    # What there is

    @property
    def module(self):
        return slicer.modules.sammed3dsegment.widgetRepresentation().self()

    @property
    def panel(self):
        return self.module.panel

    @property
    def ui(self):
        return self.module.ui

    @property
    def segmenter(self):
        return self.panel.segmenter

    def volumes(self):
        return [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not n.GetHideFromEditors()]

    def segmentations(self):
        return [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not n.GetHideFromEditors()]

    def digests(self):
        return {
            (node.GetID(), name): digestOfSegment(node, name)
            for node in self.segmentations()
            for name in node.GetSegmentation().GetSegmentIDs()
        }

    def segmentIds(self):
        node = self.segmenter.segmentationNode
        return [] if node is None else list(node.GetSegmentation().GetSegmentIDs())

    def newVolume(self):
        self.count += 1
        affine = AFFINE.copy()
        affine[:3, 3] += AFFINE[:3, :3] @ [self.count % 2, 0, 0]  # whole voxels: files hold one grid
        return addVolume(slicer.mrmlScene, phantom(SHAPE, self.count % 4), affine, f"CT {self.count}")

    def spot(self):
        return tuple(self.random.uniform(2, n - 3) for n in SHAPE)

    def settle(self):
        settle(self.module)
        for _ in range(2):
            qt.QApplication.processEvents()

    def press(self, key):
        shortcut = next(k for k in self.panel.shortcuts.keys if k.key.toString() == key)
        if shortcut.enabled:
            shortcut.activated.emit()

    def pointsInPlace(self):
        """The list that a click in a view goes to; None where it goes to none."""
        if not self.panel.placeMode.active:
            return None
        selection = slicer.app.applicationLogic().GetSelectionNode()
        return slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())

    # Prompts

    def place(self):
        """Switch one kind of click on, and place one."""
        button = self.random.choice([self.ui.positiveButton, self.ui.positiveButton, self.ui.negativeButton])
        if not button.checked:
            button.click()
        points = self.pointsInPlace()
        assert (points is not None) == bool(button.enabled), f"{button.text}: {self.ui.statusLabel.text}"
        if points is not None:
            points.AddControlPointWorld(worldOf(self.segmenter, self.spot()))
        return points

    def click(self):
        points = self.place()
        before = None if points is None else PointList.kinds(points)
        self.settle()
        if points is not None:
            kinds = PointList.kinds(points)
            assert kinds[-1:] == [self.ui.positiveButton.checked], self.ui.statusLabel.text
            assert kinds == before or len(kinds) == 1, "a click is lost only where it starts from a mask"

    def clickQuickly(self):
        for _ in range(self.random.randint(2, 3)):
            self.place()
            qt.QApplication.processEvents()

    def draw(self):
        button = self.random.choice([self.ui.scribbleButton, self.ui.lassoButton])
        if not button.checked:
            button.click()
        assert bool(button.checked) == bool(button.enabled)
        volume = self.segmenter.volumeNode
        if volume is not None:
            centre = worldOf(self.segmenter, self.spot())
            self.view.show(volume, through=centre)
            turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            self.view.draw(np.add(self.view.pixelOf(centre), 25 * np.stack([np.cos(turn), np.sin(turn)], axis=1)))
            self.settle()
            names = {self.panel.segmentId}
            drawn = {node.GetAttribute(PointList.SEGMENT_ATTRIBUTE) for node in DrawingNodes.drawingNodes()}
            assert names <= drawn, self.ui.statusLabel.text
        if self.random.random() < 0.5:
            button.click()

    def newRoi(self):
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "round it")
        roi.CreateDefaultDisplayNodes()
        if self.segmenter.volumeNode is not None:
            roi.SetCenter(*worldOf(self.segmenter, self.spot()))
        roi.SetSize(*[self.random.uniform(15, 60) for _ in range(3)])

    def box(self):
        self.newRoi()
        self.ui.boxButton.click()

    def honour(self):
        self.ui.honourCheckBox.click()

    def follow(self):
        could = bool(self.ui.followButton.enabled)
        self.ui.followButton.click()
        self.settle()
        assert not (could and "no positive click" in self.ui.statusLabel.text)

    def whereNext(self):
        could = bool(self.ui.nextPlaceButton.enabled)
        self.ui.nextPlaceButton.click()
        self.settle()
        assert not (could and "does not show what clicks made" in self.ui.statusLabel.text)
        for key in self.random.sample(["A", "Shift+A", "K", "X"], 2):
            self.press(key)
            self.settle()

    def dragPoint(self):
        points = [p for p in PointList.pointLists() if PointList.placed(p)]
        if points and self.segmenter.volumeNode is not None:
            moved = self.random.choice(points)
            self.touched.add((PointList.segmentationOf(moved).GetID(), moved.GetAttribute(PointList.SEGMENT_ATTRIBUTE)))
            moved.SetNthControlPointPositionWorld(0, worldOf(self.segmenter, self.spot()))

    # Steps

    def undo(self):
        for _ in range(self.random.randint(1, 3)):
            self.stepAndCheck(self.ui.undoButton, self.ui.redoButton)

    def redo(self):
        for _ in range(self.random.randint(1, 3)):
            self.stepAndCheck(self.ui.redoButton, self.ui.undoButton)

    def reset(self):
        if self.ui.resetButton.enabled:
            self.answers.give("Empty this segment", True)
        self.press("Shift+R")
        self.settle()

    def cancel(self):
        self.predictor.gate.clear()
        self.place()
        qt.QApplication.processEvents()
        self.segmenter.cancel()
        self.predictor.gate.set()

    def fail(self):
        self.predictor.fail = RuntimeError("the network is away")
        self.place()
        self.settle()
        self.predictor.fail = None

    # Segments

    def nextSegment(self):
        self.press("E")

    def addSegment(self):
        self.ui.addSegmentButton.click()

    def select(self):
        if self.segmentIds():
            name = self.random.choice(self.segmentIds())
            self.ui.segmentsTable.setSelectedSegmentIDs([name])
            assert self.panel.segmentId == name

    def removeSegment(self):
        if self.ui.removeSegmentButton.enabled:
            self.answers.give("Remove the segment", True)
        self.ui.removeSegmentButton.click()

    def handEdit(self):
        node, name = self.segmenter.segmentationNode, self.panel.segmentId
        if not name or self.segmenter.volumeNode is None:
            return
        begin = [self.random.randrange(n - 6) for n in SHAPE]
        box = Box(tuple(begin), tuple(b + 5 for b in begin))
        drawByHand(node, name, self.segmenter.volumeNode, box, value=self.random.random() < 0.7)
        edited = digestOfSegment(node, name)
        self.settle()
        assert digestOfSegment(node, name) == edited

    # What is shown

    def toggleSomething(self):
        button = getattr(self.ui, self.random.choice(TOGGLES))
        button.click()

    def pressAnyKey(self):
        key = self.random.choice([shortcut.key.toString() for shortcut in self.panel.shortcuts.keys])
        asks = {"Shift+R": ("Empty", self.ui.resetButton), "Shift+D": ("Remove", self.ui.removeSegmentButton)}
        if key in asks and asks[key][1].enabled and self.entered:
            self.answers.give(asks[key][0], False)
        if key == "B" and self.random.random() < 0.5:
            self.newRoi()
        self.press(key)

    @property
    def entered(self):
        return slicer.modules.sammed3dsegment.widgetRepresentation().isEntered

    def overwrite(self):
        self.overwritten = True
        self.ui.overwriteSelector.setCurrentIndex(self.random.randrange(3))

    def followMode(self):
        index = self.random.randrange(3)
        self.ui.followModeSelector.setCurrentIndex(index)
        self.ui.followModeSelector.activated.emit(index)

    def otherModule(self):
        container = slicer.modules.sammed3dsegment.widgetRepresentation()
        container.exit()
        assert not self.panel.placeMode.active
        self.random.choice([self.handEdit, self.removeNode, lambda: self.press("P"), lambda: None])()
        self.settle()
        container.enter()

    def changeLayout(self):
        if len(slicer.app.layoutManager().sliceViewNames()) < 4:
            self.view = SliceView(f"Walk {len(self.done)}", self.random.choice(["Axial", "Sagittal", "Coronal"]))

    # What is chosen

    def chooseVolume(self):
        volumes = self.volumes()
        while len(volumes) < 2:
            volumes.append(self.newVolume())
        self.ui.volumeSelector.setCurrentNode(self.random.choice([*volumes, *volumes, None]))

    def chooseSegmentation(self):
        nodes = [*self.segmentations(), None]
        if len(nodes) < 3:
            self.ui.segmentationSelector.addNode()
        else:
            self.ui.segmentationSelector.setCurrentNode(self.random.choice(nodes))

    def transform(self):
        moved = self.random.choice(
            [self.segmenter.volumeNode, self.segmenter.volumeNode, self.segmenter.segmentationNode]
        )
        if moved is None:
            return
        shift = np.eye(4)
        shift[:3, 3] = AFFINE[:3, :3] @ [self.random.randint(-2, 2) for _ in range(3)]
        node = linearTransform(slicer.mrmlScene, shift) if self.random.random() < 0.5 else None
        if moved.GetParentTransformNode() is not None and self.random.random() < 0.3:
            if moved is self.segmenter.segmentationNode:  # all of them lie elsewhere in their own frame
                self.touched |= {(moved.GetID(), each) for each in self.segmentIds()}
            moved.HardenTransform()
        else:
            moved.SetAndObserveTransformNodeID(None if node is None else node.GetID())

    def replaceImage(self):
        if self.segmenter.volumeNode is not None:
            other = addVolume(slicer.mrmlScene, phantom(SHAPE, self.random.randrange(4)), AFFINE, "frame")
            self.segmenter.volumeNode.SetAndObserveImageData(other.GetImageData())
            slicer.mrmlScene.RemoveNode(other)

    # What others do

    def removeNode(self):
        """Remove something in the module Data."""
        nodes = [
            *self.volumes(),
            *self.segmentations(),
            *PointList.pointLists(),
            *DrawingNodes.drawingNodes(),
            *slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"),
            *slicer.util.getNodesByClass("vtkMRMLLinearTransformNode"),
        ]
        if nodes:
            removed = self.random.choice(nodes)
            if DrawingNodes.isDrawing(removed):  # which takes it back, whatever segment it is of
                self.touched.add(
                    (PointList.segmentationOf(removed).GetID(), removed.GetAttribute(PointList.SEGMENT_ATTRIBUTE))
                )
            slicer.mrmlScene.RemoveNode(removed)

    def removeSegmentElsewhere(self):
        node = self.random.choice([*self.segmentations(), None])
        if node is not None and node.GetSegmentation().GetNumberOfSegments():
            node.GetSegmentation().RemoveSegment(self.random.choice(node.GetSegmentation().GetSegmentIDs()))

    def removeWhileBusy(self):
        self.predictor.gate.clear()
        self.place()
        for _ in range(self.random.randint(0, 3)):
            qt.QApplication.processEvents()
        self.random.choice([self.removeNode, self.removeSegmentElsewhere, self.replaceImage, self.transform])()
        qt.QApplication.processEvents()
        self.predictor.gate.set()
