"""Frames of a series that Slicer refuses to write: said, and what is asked for again goes on where it ended."""

import numpy as np
import pytest

from moving_ball import moving_ball
from moving_ball import predictor as ballPredictor
from mrmlNodes import addSeries, voxels
from panels import settle
from refusals import refusing
from SAMMed3DSegmentLib.FrameSequence import FrameSequence

pytestmark = pytest.mark.slow
COUNT = 4


@pytest.fixture(scope="module")
def ball():
    return moving_ball(COUNT)


@pytest.fixture
def predictor():
    return ballPredictor()


@pytest.fixture
def carried(module, ui, scene, ball):
    """A ball that was clicked in the first frame and carried through all; returns what reads the frames."""
    _, node = addSeries(scene, [ball.volume(number) for number in range(COUNT)])
    ui.volumeSelector.setCurrentNode(node)
    module.panel.addSegment()
    segmenter = module.panel.segmenter
    segmenter.click(module.panel.segmentId, tuple(ball.centres[0]))
    settle(module)

    def masks():
        frames = FrameSequence.of(node)
        nodes = [frames.segmentation(segmenter.segmentationNode, number) for number in range(COUNT)]
        return [voxels(each, module.panel.segmentId, ball.grid.shape) for each in nodes]

    ui.propagateSection.collapsed = False
    ui.propagateButton.click()
    settle(module)
    return masks


def test_a_step_through_all_frames_that_is_refused_is_said_and_goes_on_when_it_is_asked_for_again(ui, carried):
    done = carried()
    assert all(mask.any() for mask in done)
    for button, text in ((ui.undoButton, "Taken back in all frames."), (ui.redoButton, "Done again in all frames.")):
        with refusing(1):
            button.click()
        assert ui.propagateLabel.text.startswith("Frame ")
        assert ui.propagateLabel.text.endswith("All segments are as they were. Press again to go on.")
        assert button.enabled
        button.click()
        assert ui.propagateLabel.text == text, "no frame counts as changed by somebody else"
        assert [mask.any() for mask in carried()] == [True] + [button is ui.redoButton] * (COUNT - 1)
    assert all(np.array_equal(a, b) for a, b in zip(carried(), done, strict=True))
