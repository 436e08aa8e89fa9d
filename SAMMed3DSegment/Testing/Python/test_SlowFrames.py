"""Series whose frame changes before a prediction has ended: no frame gets what was clicked in another one."""

import numpy as np
import pytest
import slicer

from helpers import phantom
from mrmlNodes import OBLIQUE, addSeries, addVolume, voxels
from sammed3d import Grid, Volume
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from segmenters import SPOTS, clickAt, clicksOf, settle, worldOf

COUNT = 3


@pytest.fixture
def series(slow, scene, segmentationNode):
    """A series, chosen as the volume."""
    grid = Grid((40, 50, 30), OBLIQUE)
    images = [Volume((phantom((40, 50, 30)) + 3 * number).astype(np.int16), grid, "heart") for number in range(COUNT)]
    browser, volumeNode = addSeries(scene, images)
    slow.setInput(volumeNode, segmentationNode)
    return FrameSequence(browser, volumeNode)


@pytest.fixture
def frames(slow, predictor, series, segmentationNode, liver):
    """A series whose frames have a segmentation each, and its first frame; something was clicked there."""
    predictor.gate.set()
    clickAt(slow, liver, SPOTS[0])
    series.adopt(segmentationNode, liver)
    predictor.gate.clear()
    return series


def held(frames, segmentationNode, segmentId):
    nodes = [frames.segmentation(segmentationNode, number) for number in range(COUNT)]
    return [voxels(node, segmentId) for node in nodes]


def test_a_result_is_not_written_into_another_frame(slow, predictor, frames, segmentationNode, liver):
    before = held(frames, segmentationNode, liver)
    assert before[0].any()
    slow.click(liver, worldOf(slow, SPOTS[1]), False)
    frames.show(2)
    predictor.gate.set()
    settle(slow)
    for now, then in zip(held(frames, segmentationNode, liver), before, strict=True):
        assert np.array_equal(now, then)
    assert "of a frame that is not shown any more" in slow.message
    assert "1 click of liver was taken back" in slow.message
    frames.show(0)
    assert slow.canRedo(liver)
    slow.redo(liver)
    settle(slow)
    after = held(frames, segmentationNode, liver)
    assert not np.array_equal(after[0], before[0])
    assert not after[2].any()


def test_nor_into_one_whose_changes_are_not_saved(slow, predictor, scene, series, segmentationNode, liver):
    """Slicer copies such frames into the node that shows them."""
    sequence, master = scene.AddNewNodeByClass("vtkMRMLSequenceNode"), series.browser.GetMasterSequenceNode()
    for number in range(COUNT):
        sequence.SetDataNodeAtValue(segmentationNode, master.GetNthIndexValue(number))
    series.browser.AddSynchronizedSequenceNode(sequence)
    series.browser.AddProxyNode(segmentationNode, sequence, False)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(series.browser)
    slow.click(liver, worldOf(slow, SPOTS[0]))
    series.show(2)
    predictor.gate.set()
    settle(slow)
    assert not voxels(segmentationNode, liver).any()
    assert "of a frame that is not shown any more" in slow.message


def test_a_result_comes_late_but_to_its_frame(slow, predictor, frames, segmentationNode, liver):
    before = held(frames, segmentationNode, liver)
    slow.click(liver, worldOf(slow, SPOTS[1]), False)
    frames.show(2)
    frames.show(0)
    predictor.gate.set()
    settle(slow)
    assert slow.message == ""
    assert not np.array_equal(held(frames, segmentationNode, liver)[0], before[0])


def test_a_click_that_waits_in_one_image_is_none_of_another(slow, predictor, scene, segmentationNode, liver):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    slow.setInput(addVolume(scene, phantom((40, 50, 30)) + 7, OBLIQUE, "other"), segmentationNode)
    slow.click(liver, worldOf(slow, SPOTS[1]))
    predictor.gate.set()
    settle(slow)
    [click] = clicksOf(slow, liver)
    assert click.world == pytest.approx(worldOf(slow, SPOTS[1]), abs=0.01)
