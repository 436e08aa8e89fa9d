"""What happens while a question is open, whose event loop runs scripts and timers: the answer is to what was asked."""

import numpy as np
import pytest
import slicer
import torch

from mrmlNodes import voxels
from panels import placeClick, settle, shownSegmentation
from sammed3d.zoo.checkpoint import write_checkpoint
from segmenters import SPOTS


@pytest.fixture
def clicked(module, ui, chosenVolume):
    """Two segments with a click each; the first one is selected."""
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    module.panel.addSegment()
    placeClick(module, SPOTS[3])
    module.panel.segments.select(idOf(module, 0))
    return module


def idOf(module, number):
    return shownSegmentation(module).GetSegmentation().GetNthSegmentID(number)


def held(module):
    node = shownSegmentation(module)
    return {each: voxels(node, each) for each in node.GetSegmentation().GetSegmentIDs()}


HAPPENS = {
    "another one is selected": lambda module: module.panel.segments.select(idOf(module, 1)),
    "it is removed": lambda module: shownSegmentation(module).GetSegmentation().RemoveSegment(module.panel.segmentId),
    "the segmentation is removed": lambda module: slicer.mrmlScene.RemoveNode(shownSegmentation(module)),
    "the volume is removed": lambda module: slicer.mrmlScene.RemoveNode(module.panel.segmenter.volumeNode),
    "the scene is closed": lambda module: slicer.mrmlScene.Clear(0),
}


@pytest.mark.parametrize("what", HAPPENS)
@pytest.mark.parametrize(("button", "question"), [("removeSegmentButton", "Remove"), ("resetButton", "Empty")])
def test_no_other_segment_than_the_one_asked_about_is_changed(clicked, ui, answers, button, question, what):
    other, before = idOf(clicked, 1), held(clicked)

    def happens():
        HAPPENS[what](clicked)
        settle(clicked)
        return True

    answers.give(question, happens)
    getattr(ui, button).click()
    settle(clicked)
    if what in ("the segmentation is removed", "the scene is closed"):
        assert shownSegmentation(clicked) is None
    else:
        assert np.array_equal(held(clicked)[other], before[other])
    if what != "the volume is removed":
        assert "not selected any more" in ui.statusLabel.text


@pytest.mark.parametrize("what", ["the segmentation is removed", "the volume is removed", "the scene is closed"])
def test_surfaces_that_go_away_while_it_is_asked_about_them_are_not_converted(clicked, ui, answers, what):
    node = shownSegmentation(clicked)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    settle(clicked)

    def happens():
        HAPPENS[what](clicked)
        settle(clicked)
        return True

    answers.give("is kept as closed surface", happens)
    clicked.panel.addSegment()
    assert "was removed while the question was open" in ui.statusLabel.text
    assert node.GetSegmentation().GetSourceRepresentationName() == "Closed surface"


def test_no_other_model_than_the_one_asked_about_is_deleted(module, ui, tmp_path, answers):
    """A scene that is opened by a script chooses its own model."""
    store, there = module.logic.store, {"first", "second"}
    for name in sorted(there):
        write_checkpoint(tmp_path / f"{name}.safetensors", {"a": torch.zeros(1)}, network="sam_med3d")
        store.add(tmp_path / f"{name}.safetensors", name)
    module.panel.models.refresh()
    module.panel.models.choose("first")
    answers.give("Delete the model first", lambda: module.panel.models.choose("second") or True)
    ui.removeModelButton.click()
    assert there <= {model.name for model in store.models()}
    assert "Nothing was deleted: first is not chosen any more." in ui.modelLabel.text
    answers.give("Delete the model second", True)
    ui.removeModelButton.click()
    assert {model.name for model in store.models()} & there == {"first"}
