"""Files out."""

import numpy as np
import pytest
import slicer

from mrmlNodes import drawByHand, voxels
from panels import currentMask, placeClick, shownSegmentation
from sammed3d import Box, VolumeError
from sammed3d.files.segmentation import read_mask
from SAMMed3DSegmentLib import Exporter
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import newPredictor


@pytest.mark.parametrize("fileFormat", [f for f in Exporter.FORMATS if f != Exporter.DICOM])
def test_exports(module, ui, chosenVolume, tmp_path, fileFormat):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(fileFormat))
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)  # every scene of Slicer's has one
    before = slicer.mrmlScene.GetNumberOfNodes()
    ui.exportButton.click()
    assert ui.exportLabel.text.startswith("Wrote "), ui.exportLabel.text
    files = [tmp_path / name for name in ui.exportLabel.text.removeprefix("Wrote ").split(", ")]
    assert all(file.stat().st_size > 0 for file in files)
    assert slicer.mrmlScene.GetNumberOfNodes() == before, "the scene stays as it was"
    if fileFormat in (Exporter.NIFTI, Exporter.NRRD):
        assert np.array_equal(read_mask(files[0], volumeFromNode(chosenVolume).grid), currentMask(module))


def test_clicks_are_exported_and_make_the_same_mask(module, ui, chosenVolume, tmp_path):
    from sammed3d import Session
    from sammed3d.core import prompt_files

    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    ui.negativeButton.click()
    placeClick(module, (5, 8, 5))
    ui.folderButton.directory = str(tmp_path)
    ui.exportPromptsButton.click()
    [file] = tmp_path.glob("*clicks.json")
    [saved] = prompt_files.read(file)
    session = Session(volumeFromNode(chosenVolume), newPredictor())
    session.set_clicks(saved.clicks)
    assert np.array_equal(session.mask(), currentMask(module))


def test_an_export_that_cannot_be_says_why(module, ui, chosenVolume, tmp_path):
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    ui.folderButton.directory = str(tmp_path / "absent")
    ui.exportButton.click()
    assert "there is no such folder" in ui.exportLabel.text
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(Exporter.DICOM))
    ui.exportButton.click()
    assert "DICOM" in ui.exportLabel.text


@pytest.fixture
def exported(module, ui, chosenVolume, tmp_path):
    """A segment that was exported as a NIfTI label map, its file, and what the file held."""
    ui.positiveButton.click()
    placeClick(module, (20, 25, 15))
    shownSegmentation(module).SetName("Segmentation")
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(Exporter.NIFTI))
    ui.exportButton.click()
    [file] = tmp_path.iterdir()
    placeClick(module, (10, 12, 8))
    return file, file.read_bytes()


def test_a_file_that_is_there_is_replaced_after_a_question_only(module, ui, exported, answers):
    file, before = exported
    answers.give("Replace them?\n\nSegmentation.nii.gz", False)
    ui.exportButton.click()
    assert file.read_bytes() == before
    assert ui.exportLabel.text == "Nothing was written."
    answers.give("Replace them?", True)
    ui.exportButton.click()
    assert file.read_bytes() != before
    assert [each.name for each in file.parent.iterdir()] == ["Segmentation.nii.gz"]
    ui.exportPromptsButton.click()
    [clicks] = file.parent.glob("*.json")
    before = clicks.read_bytes()
    placeClick(module, (30, 30, 20))
    answers.give("Replace them?\n\nSegmentation clicks.json", False)
    ui.exportPromptsButton.click()
    assert clicks.read_bytes() == before


def test_no_image_is_lost_to_a_segmentation_of_its_name(module, ui, chosenVolume, exported, tmp_path):
    file = tmp_path / "CT.nii.gz"
    slicer.util.saveNode(chosenVolume, str(file))
    before = file.read_bytes()
    shownSegmentation(module).SetName("CT")
    ui.exportButton.click()
    assert "CT.nii.gz: CT was read from this file, or saved in it." in ui.exportLabel.text
    assert file.read_bytes() == before


@pytest.mark.parametrize("fileFormat", [Exporter.NIFTI, Exporter.NRRD])
def test_segments_that_overlap_are_no_label_map(volumeNode, segmentationNode, liver, spleen, tmp_path, fileFormat):
    drawByHand(segmentationNode, liver, volumeNode, Box((2, 2, 2), (12, 12, 12)))
    drawByHand(segmentationNode, spleen, volumeNode, Box((8, 8, 8), (20, 20, 20)))
    with pytest.raises(VolumeError, match="liver and spleen overlap in 64 voxels, which a label map cannot hold"):
        Exporter.export(segmentationNode, [liver, spleen], volumeNode, tmp_path, fileFormat)
    assert list(tmp_path.iterdir()) == []
    for segmentId in (liver, spleen):
        [file] = Exporter.export(segmentationNode, [segmentId], volumeNode, tmp_path, fileFormat)
        mask = read_mask(file, volumeFromNode(volumeNode).grid)
        assert np.array_equal(mask, voxels(segmentationNode, segmentId))
    drawByHand(segmentationNode, spleen, volumeNode, Box((8, 8, 8), (12, 12, 12)), 0)
    [file] = Exporter.export(segmentationNode, [liver, spleen], volumeNode, tmp_path, fileFormat)
    assert file.is_file()


def test_questions_and_results_about_many_files_stay_on_the_screen(module, ui, chosenVolume, tmp_path, answers):
    for number in range(12):
        ui.addSegmentButton.click()
        box = Box((3 * number, 5, 5), (3 * number + 2, 20, 20))
        drawByHand(shownSegmentation(module), module.panel.segmentId, chosenVolume, box)
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(Exporter.STL))
    ui.exportButton.click()
    assert len(list(tmp_path.iterdir())) == 12
    assert ui.exportLabel.text.count(",") == 9
    assert ui.exportLabel.text.endswith(", and 3 more")
    answers.give("\nand 3 more", False)
    ui.exportButton.click()
    assert ui.exportLabel.text == "Nothing was written."
