"""Segmentations kept as surfaces, as Slicer reads them from STL files: clicks refuse them, or they become voxels."""

import types

import numpy as np
import pytest
import slicer
import vtk

from mrmlNodes import drawByHand, voxels
from panels import placeClick, settle
from sammed3d import Box, VolumeError
from SAMMed3DSegmentLib import LabelmapSource, SegmentVoxels, Surface
from SAMMed3DSegmentLib.MaskGrids import matrixOfVolume
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from segmenters import SPOTS, clickAt, clicksOf, worldOf
from segmenters import settle as settled


@pytest.fixture
def middle(volumeNode):
    """The middle of the volume (world RAS mm)."""
    return (matrixOfVolume(volumeNode) @ (20, 25, 15, 1))[:3]


@pytest.fixture
def ball(scene, middle):
    """A segmentation as an STL file loaded as one: a ball of 12 mm, and no reference geometry."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bone")
    node.CreateDefaultDisplayNodes()
    node.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(12)
    sphere.SetCenter(middle)
    sphere.SetThetaResolution(32)
    sphere.SetPhiResolution(32)
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0])
    return node


def volumeOf(mask, volumeNode):
    return int(mask.voxels.sum()) * abs(np.linalg.det(matrixOfVolume(volumeNode)[:3, :3]))


def test_a_script_is_told_what_to_do(segmenter, volumeNode, ball):
    segmentId = ball.GetSegmentation().GetNthSegmentID(0)
    segmenter.setInput(volumeNode, ball)
    with pytest.raises(VolumeError, match=r"bone: .*kept as closed surface.*Make Binary labelmap its source"):
        segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    assert not segmenter.canUndo(segmentId)
    ball.CreateBinaryLabelmapRepresentation()  # beside the surface: the next change of the surface would replace it
    with pytest.raises(VolumeError, match=r"kept as closed surface"):
        segmenter.pointsFor(segmentId)


def test_a_converted_segment_is_what_it_was_and_is_refined(segmenter, volumeNode, ball):
    segmentId = ball.GetSegmentation().GetNthSegmentID(0)
    empty = ball.GetSegmentation().AddEmptySegment("", "empty")
    LabelmapSource.convert(ball, volumeNode)
    assert LabelmapSource.isLabelmap(ball)
    assert Surface.isShown(ball), "it was shown in 3-D"
    mask = maskOfSegment(ball, segmentId, volumeNode)
    assert volumeOf(mask, volumeNode) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.05)
    segmenter.setInput(volumeNode, ball)
    for each in (segmentId, empty):
        before = voxels(ball, each)
        clickAt(segmenter, each, SPOTS[0])
        assert voxels(ball, each).sum() > before.sum()
        segmenter.undo(each)
        settled(segmenter)
        assert np.array_equal(voxels(ball, each), before)


@pytest.mark.parametrize("button", ["positiveButton", "scribbleButton"])
def test_the_user_is_asked_before_it_is_converted(module, ui, answers, volumeNode, ball, button):
    ui.volumeSelector.setCurrentNode(volumeNode)
    ui.segmentationSelector.setCurrentNode(ball)
    answers.give("bone is kept as closed surface", False)
    getattr(ui, button).click()
    assert "Make Binary labelmap its source" in ui.statusLabel.text
    assert not LabelmapSource.isLabelmap(ball)
    assert not module.panel.placeMode.active
    assert module.panel.drawing.mode.kind is None
    answers.give("bone is kept as closed surface", True)
    getattr(ui, button).click()
    assert LabelmapSource.isLabelmap(ball)
    ui.positiveButton.click() if button != "positiveButton" else None
    before = voxels(ball, module.panel.segmentId)
    placeClick(module, SPOTS[0])
    assert voxels(ball, module.panel.segmentId).sum() > before.sum() > 0


def test_no_segment_is_added_where_it_could_not_be_changed(module, ui, answers, volumeNode, ball):
    ui.volumeSelector.setCurrentNode(volumeNode)
    ui.segmentationSelector.setCurrentNode(ball)
    for button in (ui.addSegmentButton, ui.nextSegmentButton):
        answers.give("bone is kept as closed surface", False)
        button.click()
        assert "Make Binary labelmap its source" in ui.statusLabel.text
    assert ball.GetSegmentation().GetNumberOfSegments() == 1


def test_an_empty_one_needs_no_question(module, ui, scene, chosenVolume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")
    node.SetSourceRepresentationToClosedSurface()
    ui.segmentationSelector.setCurrentNode(node)
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    settle(module)
    assert voxels(node, module.panel.segmentId).any()


def test_what_becomes_a_surface_while_a_click_is_evaluated_takes_it_back(
    slow, predictor, volumeNode, segmentationNode, liver
):
    drawByHand(segmentationNode, liver, volumeNode, Box((5, 5, 5), (9, 9, 9)))
    slow.click(liver, worldOf(slow, SPOTS[0]))
    segmentationNode.CreateClosedSurfaceRepresentation()
    segmentationNode.SetSourceRepresentationToClosedSurface()
    predictor.gate.set()
    settled(slow)
    assert "kept as closed surface" in slow.message
    assert "1 click of liver was taken back" in slow.message
    segmentationNode.CreateBinaryLabelmapRepresentation()
    segmentationNode.SetSourceRepresentationToBinaryLabelmap()
    assert clicksOf(slow, liver) == ()


def test_voxels_that_slicer_does_not_write_are_an_error(segmentationNode, liver, volumeNode, ball, monkeypatch):
    drawByHand(segmentationNode, liver, volumeNode, Box((5, 5, 5), (9, 9, 9)))
    mask, matrix = maskOfSegment(segmentationNode, liver, volumeNode), matrixOfVolume(volumeNode)
    with pytest.raises(VolumeError, match=r"bone: .*kept as closed surface"):
        SegmentVoxels.setVoxels(ball, ball.GetSegmentation().GetNthSegmentID(0), matrix, mask, True)
    logic = types.SimpleNamespace(MODE_MERGE_MASK=0, SetBinaryLabelmapToSegment=lambda *_: False)
    monkeypatch.setattr(slicer, "vtkSlicerSegmentationsModuleLogic", logic)
    with pytest.raises(VolumeError, match=r"Segmentation: a segment could not be changed.*choose another"):
        SegmentVoxels.setVoxels(segmentationNode, liver, matrix, mask, True)
