"""What a user does with the panel and the views, for tests."""

import sys
from contextlib import contextmanager
from pathlib import Path

import slicer

import qt
import slicerHarness
from mrmlNodes import voxels
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import until

MODULE = Path(__file__).parents[2] / "SAMMed3DSegment.py"
OURS = ("SAMMed3DSegment", "SAMMed3DSegmentLib", "sammed3d")


def forgetCode(*packages):
    """Forget the code of packages, as a reload in Slicer does; returns it, by its modules' names."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in packages}


@contextmanager
def keptCode(*packages):
    """Put the code of packages back afterwards as it was before a reload."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages}
    try:
        yield kept
    finally:
        forgetCode(*packages)
        sys.modules.update(kept)


@contextmanager
def keptModules():
    """Take the module off the screen afterwards, and put its code back as it was before a reload."""
    with keptCode(*OURS) as kept:
        try:
            yield kept
        finally:
            slicerHarness.unloadModule("SAMMed3DSegment")


def wait(condition, timeout=60.0):
    """Let the application handle events until a condition holds."""
    until(condition, qt.QApplication.processEvents, timeout)


def settle(module):
    """Wait until the module has nothing under way."""
    wait(lambda: not (module.panel.segmenter.busy or module.panel.threadTime.active))


def shownSegmentation(module):
    """Return the segmentation that the module has chosen."""
    return module.logic.getParameterNode().segmentation


def currentMask(module):
    """Return the voxels of the current segment, uint8 (I, J, K)."""
    return voxels(shownSegmentation(module), module.panel.segmentId)


def placeClick(module, ijk):
    """Place a point where the place mode puts it, in the active list, and wait."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(volumeFromNode(module.panel.segmenter.volumeNode).grid.to_world(ijk))
    settle(module)


def clickWorld(module, place, positive=True):
    """Click in the selected segment, made if need be, at a place in the volume's own frame, and wait."""
    if not module.panel.segmentId:
        module.panel.addSegment()
    segmenter = module.panel.segmenter
    segmenter.click(module.panel.segmentId, volumeToWorld(segmenter.volumeNode, tuple(place)), positive)
    module.panel.threadTime.follow(lambda: segmenter.busy, segmenter.poll)
    settle(module)


def carry(module):
    """Carry the selected segment through the frames that are chosen, and wait."""
    module.ui.propagateButton.click()
    settle(module)


def frameMasks(module, segmentId=None):
    """Return what a segment, the selected one unless told, holds in each frame, (I, J, K)."""
    segmenter = module.panel.segmenter
    frames, shape = FrameSequence.of(segmenter.volumeNode), segmenter.volumeNode.GetImageData().GetDimensions()
    nodes = [frames.segmentation(segmenter.segmentationNode, number) for number in range(frames.count)]
    return [voxels(node, segmentId or module.panel.segmentId, shape) for node in nodes]


def showFrame(browser, number):
    """Show a frame of a series, and let the panel notice."""
    browser.SetSelectedItemNumber(number)
    for _ in range(3):
        qt.QApplication.processEvents()


def frameRows(ui):
    """Return the texts of the table of frames, row by row."""
    table = ui.framesTable
    return [tuple(table.item(r, c).text() for c in range(table.columnCount)) for r in range(table.rowCount)]
