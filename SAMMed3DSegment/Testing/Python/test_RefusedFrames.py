"""Frames of a series that Slicer refuses to write: said, and what is asked for again goes on where it ended."""

import numpy as np
import pytest

from moving_ball import predictor as ballPredictor
from panels import carry, clickWorld, frameMasks
from refusals import refusing

pytestmark = pytest.mark.slow


@pytest.fixture
def predictor():
    return ballPredictor()


def test_a_step_through_all_frames_that_is_refused_is_said_and_goes_on_when_it_is_asked_for_again(
    module, ui, browser, ball
):
    clickWorld(module, ball.centres[0])
    carry(module)
    done = frameMasks(module)
    assert all(mask.any() for mask in done)
    for button, text in ((ui.undoButton, "Taken back in all frames."), (ui.redoButton, "Done again in all frames.")):
        with refusing(1):
            button.click()
        assert ui.propagateLabel.text.startswith("Frame ")
        assert ui.propagateLabel.text.endswith("All segments are as they were. Press again to go on.")
        assert button.enabled
        button.click()
        assert ui.propagateLabel.text == text, "no frame counts as changed by somebody else"
        assert [mask.any() for mask in frameMasks(module)] == [True] + [button is ui.redoButton] * 4
    assert all(np.array_equal(a, b) for a, b in zip(frameMasks(module), done, strict=True))
