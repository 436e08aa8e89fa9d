"""Segments in the panel: how large they are, where they are, what comes next, whose predictions are under way."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

import qt
from helpers import make_affine, phantom
from mrmlNodes import addVolume, drawByHand, linearTransform, voxels
from panels import settle
from sammed3d import Box
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib.SegmentFacts import middleOf
from SAMMed3DSegmentLib.SegmentVoxels import setVoxels
from SAMMed3DSegmentLib.Views import shownSliceNodes
from segmenters import SPOTS, worldOf
from slicerHarness.views import SliceView

AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
LIBRARY = Path(__file__).parents[2] / "SAMMed3DSegmentLib"
VOXEL_ML = 2.0 * 2.5 * 3.0 / 1000


@pytest.fixture
def volumeNode(module, ui, scene):
    node = addVolume(scene, phantom((40, 50, 30)), AFFINE)
    ui.volumeSelector.setCurrentNode(node)
    return node


@pytest.fixture
def view(volumeNode, request):
    for node in list(shownSliceNodes()):
        node.SetMappedInLayout(0)
    view = SliceView(request.node.name)
    view.show(volumeNode)
    return view


def click(module, ijk, positive=True):
    segmenter = module.panel.segmenter
    segmenter.click(module.panel.segmentId, worldOf(segmenter, ijk), positive)
    settle(module)


def segmentation(module):
    return module.logic.getParameterNode().segmentation


def centre(view):
    return np.array(view.node.GetSliceToRAS().MultiplyPoint((0, 0, 0, 1))[:3])


def test_the_volume_of_the_selected_segment_follows_every_click(module, ui, volumeNode):
    assert ui.segmentLabel.text == ""
    ui.addSegmentButton.click()
    assert "0.00 ml" in ui.segmentLabel.text
    seen = set()
    for spot in SPOTS[:3]:
        click(module, spot)
        expected = voxels(segmentation(module), module.panel.segmentId).sum() * VOXEL_ML
        assert f"{expected:.1f} ml" in ui.segmentLabel.text
        seen.add(ui.segmentLabel.text)
    assert len(seen) == 3
    ui.undoButton.click()
    settle(module)
    assert ui.segmentLabel.text in seen
    segmentation(module).GetSegmentation().GetSegment(module.panel.segmentId).SetName("spleen")
    assert ui.segmentLabel.text.startswith("spleen: ")


def test_volumes_are_those_of_the_world(module, ui, volumeNode, scene):
    ui.addSegmentButton.click()
    node, segmentId = segmentation(module), module.panel.segmentId
    drawByHand(node, segmentId, volumeNode, Box((2, 3, 4), (12, 13, 14)))
    module.panel.update()
    assert "15.0 ml" in ui.segmentLabel.text
    larger = linearTransform(scene, np.diag([2.0, 1.0, 1.0, 1.0]))
    node.SetAndObserveTransformNodeID(larger.GetID())
    module.panel.update()
    assert "30.0 ml" in ui.segmentLabel.text
    node.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode").GetID())
    module.panel.update()
    assert "not known" in ui.segmentLabel.text


def test_whose_predictions_are_under_way_is_said(module, ui, volumeNode, predictor):
    segmenter, ids = module.panel.segmenter, []
    for name in ("liver", "spleen", "kidney"):
        ui.addSegmentButton.click()
        ids.append(module.panel.segmentId)
        segmentation(module).GetSegmentation().GetSegment(ids[-1]).SetName(name)
    predictor.gate.clear()
    for segmentId in ids[:2]:
        segmenter.click(segmentId, worldOf(segmenter, SPOTS[0]))
    module.panel.update()
    assert "Being segmented: liver, spleen" in ui.segmentLabel.text
    predictor.gate.set()
    settle(module)
    assert "Being segmented" not in ui.segmentLabel.text


def test_selecting_a_segment_goes_there(module, ui, volumeNode, view):
    ui.addSegmentButton.click()
    first, middles = module.panel.segmentId, []
    drawByHand(segmentation(module), first, volumeNode, Box((2, 3, 4), (9, 10, 11)))
    ui.addSegmentButton.click()
    second = module.panel.segmentId
    drawByHand(segmentation(module), second, volumeNode, Box((25, 35, 20), (32, 40, 25)))
    for segmentId, ijk in ((first, (5, 6, 7)), (second, (28, 37, 22))):
        ui.segmentsTable.setSelectedSegmentIDs([segmentId])
        qt.QApplication.processEvents()
        assert module.panel.segmentId == segmentId
        assert np.allclose(centre(view), worldOf(module.panel.segmenter, ijk), atol=1e-3)
        middles.append(centre(view))
    ui.addSegmentButton.click()
    assert np.allclose(centre(view), middles[1]), "a new segment is where the user looks"


def test_an_empty_segment_is_where_its_newest_click_is(module, ui, volumeNode, view, predictor):
    ui.addSegmentButton.click()
    empty = module.panel.segmentId
    click(module, SPOTS[1], positive=False)
    assert not voxels(segmentation(module), empty).any()
    ui.addSegmentButton.click()
    ui.segmentsTable.setSelectedSegmentIDs([empty])
    qt.QApplication.processEvents()
    assert np.allclose(centre(view), worldOf(module.panel.segmenter, SPOTS[1]), atol=1e-3)


def test_the_middle_is_inside(module, ui, volumeNode):
    """Of a shell, the centre of mass is not."""
    ui.addSegmentButton.click()
    node, segmentId = segmentation(module), module.panel.segmentId
    drawByHand(node, segmentId, volumeNode, Box((5, 5, 5), (25, 25, 25)))
    drawByHand(node, segmentId, volumeNode, Box((7, 7, 7), (23, 23, 23)), value=0)
    place = middleOf(node, segmentId)
    i, j, k = np.rint(np.linalg.inv(AFFINE) @ [*place, 1])[:3].astype(int)
    assert voxels(node, segmentId)[i, j, k]
    ui.addSegmentButton.click()
    assert middleOf(node, module.panel.segmentId) is None


@pytest.mark.parametrize("seed", range(8))
def test_the_middle_is_the_nearest_voxel_of_all(segmentationNode, liver, seed):
    rng = np.random.default_rng(seed)
    voxels = (rng.random(rng.integers(1, 12, 3)) < 0.2).astype(np.uint8)
    voxels[tuple(rng.integers(0, voxels.shape))] = 1
    setVoxels(segmentationNode, liver, np.eye(4), BoxedMask(Box((0, 0, 0), voxels.shape), voxels), True)
    filled = np.argwhere(voxels)
    distances = np.linalg.norm(filled - filled.mean(axis=0), axis=1)
    place = middleOf(segmentationNode, liver)
    assert voxels[tuple(np.rint(place).astype(int))]
    assert np.linalg.norm(place - filled.mean(axis=0)) == pytest.approx(distances.min())


def test_the_middle_of_a_large_segment_needs_little_memory(segmentationNode, liver):
    shape = (200, 200, 200)
    mask = BoxedMask(Box((0, 0, 0), shape), np.ones(shape, np.uint8))
    setVoxels(segmentationNode, liver, np.eye(4), mask, True)
    tracemalloc.start()
    middleOf(segmentationNode, liver)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * mask.voxels.nbytes


def test_choosing_a_click_goes_there(module, ui, volumeNode, view):
    ui.addSegmentButton.click()
    assert not ui.clickSelector.enabled
    for spot, positive in zip(SPOTS[:3], (True, False, True), strict=True):
        click(module, spot, positive)
    texts = [ui.clickSelector.itemText(n) for n in range(ui.clickSelector.count)]
    assert texts == ["3 clicks", "Go to 1, positive", "Go to 2, negative", "Go to 3, positive"]
    for number in (3, 1, 2):
        ui.clickSelector.setCurrentIndex(number)
        ui.clickSelector.activated.emit(number)
        assert np.allclose(centre(view), worldOf(module.panel.segmenter, SPOTS[number - 1]), atol=1e-3)
        assert ui.clickSelector.currentIndex == 0
    ui.undoButton.click()
    settle(module)
    assert ui.clickSelector.itemText(0) == "2 clicks"


def test_next_is_of_the_kind_of_the_last_one(module, ui, volumeNode):
    ui.addSegmentButton.click()
    click(module, SPOTS[0])
    nodes = segmentation(module).GetSegmentation()
    last = nodes.GetSegment(module.panel.segmentId)
    last.SetName("lymph node")
    last.SetColor(0.2, 0.6, 0.3)
    tag = slicer.vtkSegment.GetTerminologyEntryTagName()
    last.SetTag(tag, "category~SCT^85756007^Tissue~SCT^59441001^Lymph node~^^~Anatomic codes~^^~^^")
    colors = {last.GetColor()}
    for number in (2, 3):
        ui.nextSegmentButton.click()
        segment, entry = nodes.GetSegment(module.panel.segmentId), vtk.mutable("")
        assert segment.GetName() == f"lymph node {number}"
        assert segment.GetTag(tag, entry)
        assert "Lymph node" in str(entry)
        colors.add(segment.GetColor())
        click(module, SPOTS[number])
    assert len(colors) == 3
    nodes.GetSegment(module.panel.segmentId).SetName("Segment_7")
    ui.nextSegmentButton.click()
    assert nodes.GetSegment(module.panel.segmentId).GetName().startswith("Segment_"), "nobody named the last one"


def test_a_name_is_text_whatever_it_holds(module, ui):
    """Names come from scenes, servers and files of others: what looks like HTML would show pictures."""
    written = re.compile(r"ui\.(\w+Label)\.setText")
    names = {name for file in LIBRARY.glob("*.py") for name in written.findall(file.read_text(encoding="utf-8"))}
    assert {"segmentLabel", "statusLabel", "serverLabel", "exportLabel"} <= names
    assert [name for name in sorted(names) if getattr(ui, name).textFormat != qt.Qt.PlainText] == []
