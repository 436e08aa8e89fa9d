"""*Keep for training*: consent once, a folder chosen once, and cases that hold nothing that names a patient."""

import json

import numpy as np
import pytest
import slicer

from helpers import make_affine, phantom
from mrmlNodes import addVolume
from panels import settle, wait
from sammed3d.core import prompt_files
from sammed3d.files.datasets import find_cases, read_labels
from sammed3d.files.volume import Volume
from SAMMed3DSegmentLib.Settings import Settings
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode

CONSENT, FOLDER = "Keep images, segments and prompts for training?", "Folder of cases for training"


@pytest.fixture
def volumeNode(module, ui, scene):
    """A phantom whose node names a patient, chosen as the user would."""
    affine = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    node = addVolume(scene, phantom((40, 50, 30)), affine)
    node.SetName("DOE^JANE 1957")
    ui.volumeSelector.setCurrentNode(node)
    return node


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cases").mkdir()
    return tmp_path / "cases"


def clickAt(module, ijk):
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(volumeFromNode(module.panel.segmenter.volumeNode).grid.to_world(ijk))
    settle(module)


def segmentNamed(module, ui, name, ijk):
    """Click a new segment and give it a name."""
    ui.addSegmentButton.click()
    if not ui.positiveButton.checked:
        ui.positiveButton.click()
    clickAt(module, ijk)
    node = module.panel.segmenter.segmentationNode
    node.GetSegmentation().GetSegment(module.panel.segmentId).SetName(name)
    settle(module)
    return module.panel.segmentId


def keep(module, ui):
    ui.keepButton.click()
    wait(lambda: not module.panel.threadTime.active)
    return ui.exportLabel.text


def onDisk(folder):
    """The mask of each structure of the one case, and its image."""
    cases = find_cases(folder)
    volume = Volume.read(cases[0].image)
    masks = {}
    for case in cases:
        labels = read_labels(case, volume.grid)
        masks |= {name: labels == value for value, name in case.names.items()}
    return volume, masks


def inScene(module, segmentId, volumeNode):
    node = module.panel.segmenter.segmentationNode
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volumeNode).T != 0


def test_consent_and_folder_are_asked_for_once_and_a_case_holds_no_name(module, ui, volumeNode, folder, answers):
    kidney = segmentNamed(module, ui, "left kidney", (20, 25, 15))
    answers.give(CONSENT, True)
    answers.give(FOLDER, str(folder))
    assert keep(module, ui).startswith("Kept left kidney in case_")
    assert "face" in answers.asked[0]
    assert "rules of your institution" in answers.asked[0]
    volume, masks = onDisk(folder)
    assert np.array_equal(volume.array, volumeFromNode(volumeNode).array)
    assert np.allclose(volume.grid.index_to_world, volumeFromNode(volumeNode).grid.index_to_world, atol=1e-4)
    assert np.array_equal(masks["left kidney"], inScene(module, kidney, volumeNode))
    [case] = folder.iterdir()
    assert sorted(file.name for file in case.iterdir()) == [
        "image.nii.gz",
        "label.nii.gz",
        "labels.json",
        "prompts.json",
    ]
    [prompts] = prompt_files.read(case / "prompts.json")
    assert prompts.name == "left kidney"
    assert len(prompts.clicks) == 1
    everything = b"".join(file.read_bytes() for file in case.glob("*.json")) + str(case).encode()
    assert b"DOE" not in everything
    assert keep(module, ui).startswith("Kept left kidney"), "without a question"
    assert Settings(slicer.app.userSettings()).trainingFolder == str(folder)


def test_a_kept_segment_is_added_to_the_case_and_one_of_the_same_name_is_replaced(
    module, ui, volumeNode, folder, answers
):
    first = segmentNamed(module, ui, "left kidney", (20, 25, 15))
    ui.allSegmentsCheckBox.checked = False
    answers.give(CONSENT, True)
    answers.give(FOLDER, str(folder))
    keep(module, ui)
    second = segmentNamed(module, ui, "spleen", (8, 10, 22))
    assert keep(module, ui).startswith("Kept spleen in")
    _, masks = onDisk(folder)
    for name, segmentId in (("left kidney", first), ("spleen", second)):
        assert np.array_equal(masks[name], inScene(module, segmentId, volumeNode)), name
    drawn = np.zeros((30, 50, 40), np.uint8)
    drawn[4:9, 5:10, 6:12] = 1
    node = module.panel.segmenter.segmentationNode
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, second, volumeNode)
    keep(module, ui)
    _, masks = onDisk(folder)
    assert np.array_equal(masks["spleen"], drawn.T != 0)
    assert np.array_equal(masks["left kidney"], inScene(module, first, volumeNode))
    [case] = folder.iterdir()
    assert {each.name for each in prompt_files.read(case / "prompts.json")} == {"left kidney", "spleen"}


@pytest.mark.parametrize("refuses", ["consent", "folder"])
def test_without_consent_or_folder_nothing_is_written(module, ui, volumeNode, folder, answers, refuses):
    segmentNamed(module, ui, "left kidney", (20, 25, 15))
    answers.give(CONSENT, refuses != "consent")
    if refuses == "folder":
        answers.give(FOLDER, "")
    ui.keepButton.click()
    assert not module.panel.threadTime.active
    assert list(folder.iterdir()) == []
    assert Settings(slicer.app.userSettings()).trainingFolder == ""


def test_another_folder_asks_again(module, ui, volumeNode, folder, tmp_path, answers):
    segmentNamed(module, ui, "left kidney", (20, 25, 15))
    Settings(slicer.app.userSettings()).trainingFolder = str(folder)
    (tmp_path / "other").mkdir()
    answers.give(CONSENT, True)
    answers.give(FOLDER, str(tmp_path / "other"))
    ui.keepFolderButton.click()
    assert ui.exportLabel.text == f"Cases for training are kept in {tmp_path / 'other'}."
    keep(module, ui)
    assert list(folder.iterdir()) == []
    assert len(list((tmp_path / "other").iterdir())) == 1


def test_what_cannot_be_kept_is_said(module, ui, volumeNode, folder, answers):
    assert not ui.keepButton.enabled, "there is no segment"
    Settings(slicer.app.userSettings()).trainingFolder = str(folder)
    ui.addSegmentButton.click()
    assert ui.keepButton.enabled
    assert keep(module, ui).endswith("is empty.")
    assert list(folder.iterdir()) == []
    segmentNamed(module, ui, "left kidney", (20, 25, 15))
    folder.rmdir()
    assert "there is no such folder. Choose another one." in keep(module, ui)
    folder.mkdir()
    assert keep(module, ui).splitlines()[0].startswith("Kept left kidney in")
    [case] = folder.iterdir()
    (case / "labels.json").write_text(json.dumps({"9": {}}))
    assert "is damaged" in keep(module, ui)
    assert (case / "labels.json").read_text() == '{"9": {}}', "nothing is lost"


def test_masks_that_are_under_way_are_not_kept(module, ui, volumeNode, predictor):
    ui.positiveButton.click()
    predictor.gate.clear()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(volumeFromNode(volumeNode).grid.to_world((20, 25, 15)))
    assert not ui.keepButton.enabled
    predictor.gate.set()
    settle(module)
    assert ui.keepButton.enabled
