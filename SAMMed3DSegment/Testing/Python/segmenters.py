"""Segmenters for tests: one way to make them, one way to wait for them, and what a user would check by eye."""

import time

from helpers import COARSE, ThresholdPredictor
from sammed3d import ModelError, Session
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld

SPOTS = [(20, 25, 15), (10, 12, 8), (30, 30, 20), (25, 40, 22)]
"""Voxels (I, J, K) of the phantom inside something."""


def newPredictor(threshold=0.437):
    """Return what stands for a network, with patches that hold the phantom in few voxels."""
    return ThresholdPredictor(threshold, COARSE)


class Models:
    """Predictors by name, loaded when asked for; their thresholds differ, and so do their masks."""

    def __init__(self, **thresholds):
        self.predictors = {name: newPredictor(t) for name, t in (thresholds or {"default": 0.437}).items()}
        self.loaded = []

    def __call__(self, name):
        self.loaded.append(name)
        if name not in self.predictors:
            raise ModelError(f"There is no model {name!r}.")
        return self.predictors[name]

    def __getitem__(self, name):
        return self.predictors[name]

    @property
    def calls(self):
        """All patches that any of them was asked about."""
        return [call for predictor in self.predictors.values() for call in predictor.calls]


def newSegmenter(volumeNode, segmentationNode, loadPredictor):
    """Return a segmenter and its thread."""
    thread = InferenceThread(loadPredictor)
    segmenter = Segmenter(thread)
    segmenter.setInput(volumeNode, segmentationNode)
    return segmenter, thread


def until(condition, step, timeout=60.0):
    """Do a step again and again until a condition holds; no test waits for ever."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout:.0f} s in vain"
        step()


def settle(segmenter, timeout=60.0):
    """Wait for all predictions."""

    def step():
        segmenter.poll()
        time.sleep(0.002)

    until(lambda: not segmenter.busy, step, timeout)


def worldOf(segmenter, ijk):
    """Return where a voxel of the segmenter's volume is in the world."""
    return volumeToWorld(segmenter.volumeNode, tuple(volumeFromNode(segmenter.volumeNode).grid.to_world(ijk)))


def clicksOf(segmenter, segmentId):
    """Return the clicks that a user sees."""
    return PointList.clicksFromPointList(segmenter.pointsFor(segmentId), segmenter.volumeNode)


def clickAt(segmenter, segmentId, *spots, positive=True):
    """Click, and wait each time."""
    for spot in spots:
        segmenter.click(segmentId, worldOf(segmenter, spot), positive)
        settle(segmenter)


def stepsBack(segmenter, segmentId):
    """How often one can undo."""
    count = 0
    while segmenter.canUndo(segmentId):
        segmenter.undo(segmentId)
        settle(segmenter)
        count += 1
    return count


def sessionMask(volumeNode, predictor, clicks, base=None):
    """Return what a session makes of the same clicks, uint8 (I, J, K)."""
    session = Session(volumeFromNode(volumeNode), predictor)
    if base is not None:
        session.start_from(base)
    session.set_clicks(clicks)
    return session.mask()


def expectedMask(volumeNode, clicks, base=None):
    """Return what a session makes of them with the default model of `Models`."""
    return sessionMask(volumeNode, newPredictor(), clicks, base)
