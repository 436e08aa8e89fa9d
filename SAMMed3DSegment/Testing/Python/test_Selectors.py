"""What is chosen where nodes of the list go, get another name or another row: nobody's segments get another's image."""

import pytest
import slicer

from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume
from panels import placeClick
from segmenters import SPOTS

VOLUME, SEGMENTATION, ROI = "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode"


@pytest.fixture
def selector(scene):
    """A selector of ROIs as Slicer has it."""
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = [ROI], True
    selector.setMRMLScene(scene)
    yield selector
    selector.setMRMLScene(None)


def test_slicers_selector_goes_to_the_node_behind_or_to_the_last_one(selector, scene):
    nodes, said = [scene.AddNewNodeByClass(ROI, name) for name in "abc"], []
    selector.setCurrentNode(nodes[1])
    selector.connect("currentNodeChanged(vtkMRMLNode*)", said.append)
    scene.RemoveNode(nodes[1])
    assert selector.currentNode() is nodes[2]
    scene.RemoveNode(nodes[2])
    assert selector.currentNode() is nodes[0]
    scene.RemoveNode(nodes[0])
    assert selector.currentNode() is None
    assert said == [nodes[2], nodes[0], None]


def test_slicers_selector_says_its_node_again_when_name_or_row_change(selector, scene):
    nodes, said = [scene.AddNewNodeByClass(ROI, name) for name in "ab"], []
    selector.setCurrentNode(nodes[1])
    selector.connect("currentNodeChanged(vtkMRMLNode*)", said.append)
    nodes[1].SetName("other")
    scene.RemoveNode(nodes[0])
    assert said == [nodes[1], nodes[1]]


@pytest.fixture
def clicked(module, ui, scene, volumeNode):
    """One click in a segment; further nodes behind those that are chosen."""
    ui.volumeSelector.setCurrentNode(volumeNode)
    ui.roiSelector.setCurrentNode(scene.AddNewNodeByClass(ROI, "round it"))
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    addVolume(scene, phantom((40, 50, 30)), OBLIQUE, "another patient")
    for kind in (SEGMENTATION, ROI):
        scene.AddNewNodeByClass(kind, "another one")
    return module


@pytest.mark.parametrize("name", ["volumeSelector", "segmentationSelector", "roiSelector"])
def test_what_is_removed_is_replaced_by_nothing_that_nobody_chose(clicked, ui, scene, name):
    chosen = getattr(ui, name).currentNode()
    scene.RemoveNode(chosen)
    assert getattr(ui, name).currentNode() is None
    node, segmenter = clicked.logic.getParameterNode(), clicked.panel.segmenter
    gone = {"volumeSelector": node.volume, "segmentationSelector": node.segmentation}
    assert [each for each, chosen in gone.items() if chosen is None] == [each for each in gone if each == name]
    assert (node.volume, node.segmentation) == (segmenter.volumeNode, segmenter.segmentationNode)


def test_placing_goes_on_where_something_gets_another_name_or_row(clicked, ui, scene):
    first, segmentation = ui.volumeSelector.currentNode(), ui.segmentationSelector.currentNode()
    last = addVolume(scene, phantom((40, 50, 30)), OBLIQUE, "last")
    ui.volumeSelector.setCurrentNode(last)
    ui.positiveButton.click()
    for change in (
        lambda: segmentation.SetName("liver"),
        lambda: last.SetName("CT 1"),
        lambda: scene.RemoveNode(first),
    ):
        change()
        assert clicked.panel.placeMode.active
        assert ui.positiveButton.checked
