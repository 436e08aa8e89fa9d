"""A long random use of the module: no exception, no lost click, no change in another segment, no observer left over.

SAMMED3D_WALK sets the number of actions, SAMMED3D_SEED the walk (0: any); a failure prints both.
"""

import gc
import importlib
import os
import random
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import slicer

import segmenters
from helpers import make_affine, phantom
from mrmlNodes import addVolume, drawByHand, linearTransform
from panels import forgetCode, keptCode
from sammed3d import Box, Lasso, Scribble
from sammed3d.inference.object_timeline import same_click, same_clicks, same_drawing
from SAMMed3DSegmentLib import DrawingNodes, PointList
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment
from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import Models, clicksOf, settle, worldOf

ACTIONS = int(os.environ.get("SAMMED3D_WALK", "300"))
SEED = int(os.environ.get("SAMMED3D_SEED", "1")) or random.SystemRandom().randrange(1, 10**9)
AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
SHAPE = (40, 50, 30)
FREQUENT = {"click": 30, "clickQuickly": 8, "move": 8, "remove": 4, "undo": 12, "redo": 8, "edit": 6, "reset": 2}
DRAWINGS = {"draw": 12, "removeDrawing": 4}
SETTINGS = {"changeModel": 4, "changeServer": 2, "changeOverwrite": 2}
RARE = {"fail": 4, "cancel": 3, "clickOutside": 2, "selectVolume": 2, "nextFrame": 2, "transform": 2}
DELETIONS = {"addSegment": 2, "removeSegment": 1, "removePoints": 1, "removeVolume": 1, "removeSegmentation": 1}
SCENES = {"reopen": 1, "closeScene": 0.5, "restart": 1, "reload": 1}
OVERWRITE_MODES = ("OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments")
WEIGHTS = FREQUENT | DRAWINGS | SETTINGS | RARE | DELETIONS | SCENES


class Walk:
    """What a user with little patience does, and what must hold after each of it."""

    def __init__(self, seed, folder):
        self.random = random.Random(seed)  # noqa: S311 - a walk that can be repeated
        self.folder, self.models = folder, Models(default=0.437, other=0.55)
        self.segmenter = self.thread = None
        self.done = []
        self.start()

    def start(self):
        """Begin with a scene as a user finds it."""
        slicer.mrmlScene.Clear(0)
        self.volumes, self.segmentation, self.count = [], None, 0
        self.place, self.overwritten = "this computer", False
        setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        self.ensure()

    def ensure(self):
        """Load and make again what was deleted."""
        scene = slicer.mrmlScene
        self.volumes = [v for v in self.volumes if scene.GetNodeByID(v.GetID() or "") is v]
        while len(self.volumes) < 2:
            self.count += 1
            affine = AFFINE.copy()
            affine[:3, 3] += AFFINE[:3, :3] @ [len(self.volumes), 0, 0]  # whole voxels: files hold one grid
            self.volumes.append(addVolume(scene, phantom(SHAPE, self.count), affine, f"CT {self.count}"))
        if self.segmentation is None or scene.GetNodeByID(self.segmentation.GetID() or "") is not self.segmentation:
            self.segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
            self.segmentation.CreateDefaultDisplayNodes()
            self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.volumes[0])
        while self.segmentation.GetSegmentation().GetNumberOfSegments() < 3:
            self.segmentation.GetSegmentation().AddEmptySegment()
        if self.segmenter is None:
            self.segmenter, self.thread = segmenters.newSegmenter(self.volumes[0], self.segmentation, self.load)
            self.segmenter.modelChoice = lambda name: (self.place, name)
        elif self.segmenter.volumeNode is None or self.segmenter.segmentationNode is not self.segmentation:
            self.segmenter.setInput(self.volumes[0], self.segmentation)

    # Helpers

    def load(self, choice):
        """A model at a place, as `modelChoice` named it."""
        return self.models(choice[1])

    @property
    def segmentIds(self):
        return list(self.segmentation.GetSegmentation().GetSegmentIDs())

    def digests(self):
        return {name: digestOfSegment(self.segmentation, name) for name in self.segmentIds}

    def spot(self):
        return tuple(self.random.uniform(1, n - 2) for n in SHAPE)

    def settle(self):
        settle(self.segmenter, 60)

    def click(self, name):
        """A click is there afterwards, and all before it, or what they made is what it starts from."""
        world, positive = worldOf(self.segmenter, self.spot()), self.random.random() < 0.7
        before, others = clicksOf(self.segmenter, name), self.digests()
        self.segmenter.click(name, world, positive)
        self.settle()
        after = clicksOf(self.segmenter, name)
        grid = volumeFromNode(self.segmenter.volumeNode)
        assert after, f"the click was lost: {self.segmenter.message} ({grid.name})"
        assert after[-1].positive == positive, "its kind changed"
        assert np.allclose(volumeToWorld(self.segmenter.volumeNode, after[-1].world), world, atol=0.05), (
            "its place changed"
        )
        assert same_clicks(after[:-1], before) or len(after) == 1, "a click before it was lost"
        clicked = self.digests()
        self.segmenter.undo(name)
        self.settle()
        assert not any(same_click(after[-1], c) for c in clicksOf(self.segmenter, name)[len(before) :])
        others.pop(name)
        assert others.items() <= self.digests().items(), "undo leaves the neighbours as they were"
        self.segmenter.redo(name)
        self.settle()
        assert same_clicks(clicksOf(self.segmenter, name), after), "undo and redo lost a click"
        assert self.digests() == clicked, "undo and redo changed a mask"

    def draw(self, name):
        """A drawing is a curve of its segment afterwards; undo takes both away, and redo brings them again."""
        grid, middle = volumeFromNode(self.segmenter.volumeNode).grid, np.array(self.spot())
        loop = [(-3, -3, 0), (3, -3, 0), (3, 3, 0), (-3, 3, 0)]
        points = tuple(map(tuple, grid.to_world(middle + loop)))
        drawing = self.random.choice([Scribble, Lasso])(points, self.random.random() < 0.7)
        before = self.drawings(name)
        self.segmenter.draw(name, drawing)
        self.settle()
        after = self.drawings(name)
        assert same_drawing(after[-1], replace(drawing, after=after[-1].after)), "the drawing was lost"
        assert after[:-1] in (before, ()), "a drawing before it was lost"
        self.assertCurves(name)
        digest = digestOfSegment(self.segmentation, name)
        self.segmenter.undo(name)
        self.settle()
        self.assertCurves(name)
        self.segmenter.redo(name)
        self.settle()
        assert self.drawings(name) == after, "undo and redo lost a drawing"
        assert digestOfSegment(self.segmentation, name) == digest
        self.assertCurves(name)

    def removeDrawing(self, name):
        """A curve that is removed from the scene is a drawing taken back."""
        nodes, before = list(DrawingNodes.drawingNodes(self.segmentation, name)), self.drawings(name)
        if nodes and len(nodes) == len(before):
            slicer.mrmlScene.RemoveNode(self.random.choice(nodes))
            self.settle()
            assert len(self.drawings(name)) == len(before) - 1
            self.assertCurves(name)

    def drawings(self, name):
        return self.segmenter.objectPrompts([name])[0].drawings

    def assertCurves(self, name):
        shown = [DrawingNodes.drawingOf(node) for node in DrawingNodes.drawingNodes(self.segmentation, name)]
        assert len(shown) == len(self.drawings(name))
        assert all(same_drawing(a, b) for a, b in zip(shown, self.drawings(name), strict=True))

    def clickQuickly(self, name):
        """Clicks come faster than results."""
        before = len(clicksOf(self.segmenter, name))
        count = self.random.randint(2, 4)
        worlds = [worldOf(self.segmenter, self.spot()) for _ in range(count)]
        for world in worlds:
            self.segmenter.click(name, world, self.random.random() < 0.7)
            self.segmenter.poll()
        self.settle()
        after = clicksOf(self.segmenter, name)
        assert len(after) in (before + count, count), "a quick click was lost"
        for click, world in zip(after[-count:], worlds, strict=True):
            assert np.allclose(volumeToWorld(self.segmenter.volumeNode, click.world), world, atol=0.05)

    def move(self, name):
        points = self.segmenter.pointsFor(name)
        count = points.GetNumberOfControlPoints()
        if count:
            index = self.random.randrange(count)
            points.SetNthControlPointPositionWorld(index, worldOf(self.segmenter, self.spot()))

    def remove(self, name):
        points = self.segmenter.pointsFor(name)
        if points.GetNumberOfControlPoints():
            points.RemoveNthControlPoint(self.random.randrange(points.GetNumberOfControlPoints()))

    def undo(self, name):
        """What was undone is redone as it was."""
        before, could = digestOfSegment(self.segmentation, name), self.segmenter.canUndo(name)
        clicks = clicksOf(self.segmenter, name)
        count = self.random.randint(1, 3)
        steps = 0
        while steps < count and self.segmenter.canUndo(name):
            self.segmenter.undo(name)
            self.settle()
            if self.segmenter.message:  # it could not be made again: said, and nothing changed
                return
            steps += 1
        assert bool(steps) == could
        if self.random.random() < 0.5:
            return
        for _ in range(steps):
            self.segmenter.redo(name)
            self.settle()
        if steps:
            assert digestOfSegment(self.segmentation, name) == before, "redo brought back something else"
            again = clicksOf(self.segmenter, name)
            assert same_clicks(again, clicks) or again == (), "but for clicks that an edited mask has in it"

    def redo(self, name):
        self.segmenter.redo(name)

    def edit(self, name):
        begin = [self.random.randrange(n - 6) for n in SHAPE]
        box = Box(tuple(begin), tuple(b + 5 for b in begin))
        drawByHand(self.segmentation, name, self.volumes[0], box, value=self.random.random() < 0.7)

    def reset(self, name):
        self.segmenter.reset(name)
        self.settle()
        assert digestOfSegment(self.segmentation, name) == ""
        assert clicksOf(self.segmenter, name) == ()

    def changeModel(self, _name):
        self.segmenter.model = self.random.choice(["default", "other"])

    def changeServer(self, _name):
        """Predictions run elsewhere from now on, by predictors that are loaded anew."""
        self.place = self.random.choice(["this computer", "server A", "server B"])
        self.segmenter.forgetPredictors()

    def changeOverwrite(self, _name):
        """From now on masks take from other segments, or do not any more."""
        self.overwritten = True
        setOverwriteMode(getattr(slicer.vtkMRMLSegmentEditorNode, self.random.choice(OVERWRITE_MODES)))

    def fail(self, name):
        """The network is away for a while; redo brings the click back."""
        self.breakOff(name, self.settle, RuntimeError("the network is away"))

    def cancel(self, name):
        self.models["default"].gate.clear()
        self.models["other"].gate.clear()
        self.breakOff(name, self.segmenter.cancel, None)

    def breakOff(self, name, end, failure):
        world = worldOf(self.segmenter, self.spot())
        for predictor in self.models.predictors.values():
            predictor.fail = failure
        self.segmenter.click(name, world, True)
        asked = clicksOf(self.segmenter, name)
        end()
        self.settle()
        for predictor in self.models.predictors.values():
            predictor.fail = None
            predictor.gate.set()
        if not same_clicks(clicksOf(self.segmenter, name), asked):
            assert "taken back" in self.segmenter.message
            self.segmenter.redo(name)
            self.settle()
        assert same_clicks(clicksOf(self.segmenter, name), asked), "redo did not bring the click back"

    def clickOutside(self, name):
        before, digest = clicksOf(self.segmenter, name), digestOfSegment(self.segmentation, name)
        self.segmenter.click(name, (5000.0, 0.0, 0.0))
        self.settle()
        assert "lies outside" in self.segmenter.message
        assert same_clicks(clicksOf(self.segmenter, name), before)
        assert digestOfSegment(self.segmentation, name) == digest

    def selectVolume(self, _name):
        self.segmenter.setInput(self.random.choice(self.volumes), self.segmentation)

    def nextFrame(self, _name):
        frame = addVolume(slicer.mrmlScene, phantom(SHAPE, self.random.randrange(5)), AFFINE, "frame")
        self.random.choice(self.volumes).SetAndObserveImageData(frame.GetImageData())
        slicer.mrmlScene.RemoveNode(frame)

    def transform(self, _name):
        shift = np.eye(4)
        shift[:3, 3] = AFFINE[:3, :3] @ [self.random.randint(-2, 2) for _ in range(3)]
        node = linearTransform(slicer.mrmlScene, shift) if self.random.random() < 0.6 else None
        self.random.choice(self.volumes).SetAndObserveTransformNodeID(None if node is None else node.GetID())

    def addSegment(self, _name):
        self.segmentation.GetSegmentation().AddEmptySegment()

    def removeSegment(self, name):
        self.segmentation.GetSegmentation().RemoveSegment(name)

    def removePoints(self, name):
        points = PointList.pointListOf(self.segmentation, name)
        if points is not None:
            slicer.mrmlScene.RemoveNode(points)

    def removeVolume(self, _name):
        slicer.mrmlScene.RemoveNode(self.random.choice(self.volumes))

    def removeSegmentation(self, name):
        self.segmenter.click(name, worldOf(self.segmenter, self.spot()))  # while a prediction runs
        slicer.mrmlScene.RemoveNode(self.segmentation)
        self.settle()

    def reopen(self, _name):
        """Tomorrow the scene says what it said: masks, clicks, and whether there is something to undo."""
        scene, file = slicer.mrmlScene, str(self.folder / "walk.mrb")
        before, clicks, could = self.seen()
        assert scene.WriteToMRB(file)
        names, organs = [v.GetName() for v in self.volumes], self.segmentation.GetName()
        current = self.segmenter.volumeNode.GetName()
        scene.Clear(0)
        assert scene.ReadFromMRB(file)
        self.volumes = [slicer.util.getNode(name) for name in names]
        self.segmentation = slicer.util.getNode(organs)
        self.segmenter.setInput(slicer.util.getNode(current), self.segmentation)
        again, clicksAgain, canAgain = self.seen()
        assert again == before
        assert {n: len(c) for n, c in clicksAgain.items()} == {n: len(c) for n, c in clicks.items()}
        assert canAgain == could

    def seen(self):
        clicks = {o.name: o.clicks for o in self.segmenter.objectPrompts(self.segmentIds)}
        return self.digests(), clicks, {n: self.segmenter.canUndo(n) for n in self.segmentIds}

    def closeScene(self, name):
        self.segmenter.click(name, worldOf(self.segmenter, self.spot()))
        self.start()

    def restart(self, _name):
        """The module is left and entered again."""
        self.end()
        self.ensure()

    def reload(self, _name):
        """The module's code is loaded anew, and goes on with what the scene holds."""
        self.end()
        forgetCode("SAMMed3DSegmentLib")
        importlib.reload(segmenters)
        self.ensure()

    def end(self):
        """Leave; nothing may hold the segmenter then, not even an observer."""
        self.settle()
        self.segmenter.forgetScene()
        self.thread.stop()
        left = weakref.ref(self.segmenter)
        self.segmenter = self.thread = None
        gc.collect()
        assert left() is None, "something still observes"

    # The walk

    def step(self):
        action = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        name = self.random.choice(self.segmentIds)
        self.done.append(f"{action} {name}")
        before, organs = self.digests(), self.segmentation
        getattr(self, action)(name)
        if self.segmenter is not None:
            self.settle()
        if organs is self.segmentation and slicer.mrmlScene.GetNodeByID(organs.GetID() or "") is organs:
            now = self.digests()
            for other, digest in before.items():
                assert self.overwritten or other == name or now.get(other, digest) == digest, f"{other} changed"
        self.ensure()


@pytest.fixture
def keptModule():
    """Put the module's code back as it was before the walk."""
    with keptCode("SAMMed3DSegmentLib"):
        yield
    importlib.reload(segmenters)


@pytest.mark.slow
@pytest.mark.timeout(max(300, ACTIONS * 3))
def test_a_random_walk(scene, tmp_path, monkeypatch, keptModule):
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))  # what observers raise
    walk = Walk(SEED, tmp_path)
    try:
        for _ in range(ACTIONS):
            walk.step()
            assert not raised, f"an observer raised {raised[0]!r}"
        walk.end()
    except BaseException:
        print(f"SAMMED3D_SEED={SEED} SAMMED3D_WALK={ACTIONS}; after {len(walk.done)} actions: {walk.done[-12:]}")
        for predictor in walk.models.predictors.values():
            predictor.gate.set()
        if walk.segmenter is not None:
            walk.segmenter.forgetScene()
            walk.thread.stop()
        raise
