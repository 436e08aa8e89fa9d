"""Find: objects without clicks, looked at, accepted or rejected; here and on a server."""

import numpy as np
import pytest
import slicer
from scipy import ndimage

import qt
from helpers import FakePredictor, make_affine
from mrmlNodes import addVolume, linearTransform, voxels
from panels import keptModules, settle, wait
from sammed3d.inference.predictor import PatchPrompts
from sammed3d.inference.preset import Preset
from SAMMed3DSegmentLib.Predictors import Predictors
from SAMMed3DSegmentLib.SearchRegion import indexToWorld, regionMask, roiLimits, viewLimits
from SAMMed3DSegmentLib.Settings import SERVER
from SAMMed3DSegmentLib.Views import shownSliceNodes
from segmenters import worldOf
from servers import serving
from slicerHarness.views import SliceView

load = Predictors.load
SHAPE = (64, 64, 64)
CENTRES, RADII = ((14, 14, 14), (14, 46, 40), (46, 20, 46)), (5, 4, 6)
AFFINE = make_affine((1.5, 1.5, 1.5), origin=(10, -20, 30))


class Regions(FakePredictor):
    """The bright region of each click."""

    def __init__(self):
        shape = {"patch_shape": (64, 64, 64), "low_res_shape": (32, 32, 32)}
        super().__init__(Preset(spacing=(1.5, 1.5, 1.5), normalisation="none", **shape))
        self._known = {}

    def predict_each(self, patch, clicks, passes, cancellation):
        return np.stack([self.predict(patch, PatchPrompts([click]), cancellation).low_res for click in clicks])

    def answer(self, patch, prompts):
        if patch.digest not in self._known:
            regions, count = ndimage.label(patch.voxels.reshape(32, 2, 32, 2, 32, 2).mean(axis=(1, 3, 5)) > 500)
            masks = [regions == label for label in range(1, count + 1)]
            edges = [ndimage.distance_transform_edt(m) - ndimage.distance_transform_edt(~m) for m in masks]
            self._known[patch.digest] = regions, [np.full(regions.shape, -9.0), *(8 * edge for edge in edges)]
        regions, logits = self._known[patch.digest]
        return logits[regions[tuple(int(v) // 2 for v in prompts.clicks[-1].voxel)]]


@pytest.fixture
def predictor():
    return Regions()


@pytest.fixture
def volumeNode(module, ui, scene):
    """Three bright spheres in air, chosen as the user would; the section is open."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    image = np.full(SHAPE, 100.0)
    for centre, radius in zip(CENTRES, RADII, strict=True):
        image += 900 / (1 + np.exp(2 * (np.linalg.norm(places - centre, axis=-1) - radius)))
    node = addVolume(scene, image.astype(np.int16), AFFINE)
    ui.volumeSelector.setCurrentNode(node)
    ui.findSection.collapsed = False
    return node


def find(module):
    module.ui.findButton.click()
    settle(module)


def rows(ui):
    return [tuple(ui.foundTable.item(r, c).text() for c in range(3)) for r in range(ui.foundTable.rowCount)]


def held(module):
    node = module.logic.getParameterNode().segmentation
    segmentation = node.GetSegmentation()
    return {
        segmentation.GetNthSegment(n).GetName(): voxels(node, segmentation.GetNthSegmentID(n), SHAPE)
        for n in range(segmentation.GetNumberOfSegments())
    }


def sphere(number):
    places = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    return np.linalg.norm(places - CENTRES[number], axis=-1) <= RADII[number]


def dice(a, b):
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.slow
def test_what_is_found_is_listed_and_nothing_is_written(module, ui, volumeNode):
    before = slicer.mrmlScene.GetNumberOfNodes()
    assert ui.foundTable.isHidden()
    find(module)
    assert len(rows(ui)) == 3
    sizes = sorted(float(volume) for _, volume, _ in rows(ui))
    assert np.allclose(sizes, sorted(sphere(n).sum() * 1.5**3 / 1000 for n in range(3)), rtol=0.35)
    assert ui.foundTable.horizontalHeaderItem(2).text().startswith("Stability"), "the command line's word"
    assert all(0 < float(stability) <= 1 for _, _, stability in rows(ui))
    assert "3 found" in ui.findLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before, "no node, not even a segmentation"
    assert not ui.foundTable.isHidden()
    assert not ui.acceptButton.enabled


@pytest.mark.slow
def test_a_row_jumps_to_the_object_and_shows_it(module, ui, volumeNode):
    view = SliceView("found")
    view.show(volumeNode)
    find(module)
    before = slicer.mrmlScene.GetNumberOfNodes()
    for row in range(3):
        ui.foundTable.selectRow(row)
        centre = np.array(view.worldAt(200, 200))
        places = [np.array(worldOf(module.panel.segmenter, c)) for c in CENTRES]
        [number] = [n for n in range(3) if np.linalg.norm(places[n] - centre) < 15]
        preview = slicer.util.getNode("Found")
        assert dice(voxels(preview, preview.GetSegmentation().GetNthSegmentID(0), SHAPE), sphere(number)) > 0.75
        assert not preview.GetSaveWithScene()
    ui.foundTable.clearSelection()
    assert slicer.mrmlScene.GetNumberOfNodes() == before, "the preview leaves nothing behind"
    assert module.logic.getParameterNode().segmentation is None


@pytest.mark.slow
def test_accepted_objects_become_segments_rejected_ones_do_not(module, ui, volumeNode):
    find(module)
    ui.foundTable.selectRow(1)
    ui.acceptButton.click()
    assert list(held(module)) == ["Object 1"]
    assert len(rows(ui)) == 2
    assert module.panel.segmentId
    assert slicer.mrmlScene.GetFirstNodeByName("Found") is None
    ui.foundTable.selectRow(0)
    ui.rejectButton.click()
    assert list(held(module)) == ["Object 1"]
    assert len(rows(ui)) == 1
    assert (ui.findLabel.text, ui.foundTable.item(0, 0).isSelected()) == ("1 left.", True), "to look at next"
    assert slicer.util.getNode("Found") is not None
    ui.acceptAllButton.click()
    masks = held(module)
    assert list(masks) == ["Object 1", "Object 2"]
    numbers = {max(range(3), key=lambda n: dice(mask, sphere(n))) for mask in masks.values()}
    assert len(numbers) == 2
    assert "Made 1 segment" in ui.findLabel.text
    assert ui.foundTable.isHidden()


@pytest.mark.slow
def test_a_click_refines_what_was_accepted(module, ui, volumeNode):
    find(module)
    ui.acceptAllButton.click()
    found = held(module)["Object 3"]
    segmenter, segmentId = module.panel.segmenter, module.panel.segmentId
    segmenter.click(segmentId, worldOf(segmenter, CENTRES[0]))
    settle(module)
    segmenter.undo(segmentId)
    settle(module)
    assert np.array_equal(held(module)["Object 3"], found), "undo ends at what was accepted"


@pytest.mark.slow
def test_sizes_limit_what_is_found(module, ui, volumeNode):
    ui.smallestSpinBox.value = 2.2
    find(module)
    assert len(rows(ui)) == 1
    ui.smallestSpinBox.value, ui.largestSpinBox.value = 0.1, 1.0
    find(module)
    assert len(rows(ui)) == 0 or all(float(volume) <= 1.0 for _, volume, _ in rows(ui))
    ui.smallestSpinBox.value, ui.largestSpinBox.value = 5.0, 1.0
    ui.findButton.click()
    assert "above the largest" in ui.findLabel.text
    assert not module.panel.find.busy


def test_a_roi_limits_where(module, ui, volumeNode, scene):
    ui.regionSelector.setCurrentIndex(1)
    assert not ui.findButton.enabled, "choose a ROI first"
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    ui.roiSelector.setCurrentNode(roi)
    assert ui.findButton.enabled
    roi.SetSize(0, 0, 0)
    ui.findButton.click()
    assert "region: this ROI has no size yet" in ui.findLabel.text
    roi.SetCenterWorld(*worldOf(module.panel.segmenter, CENTRES[1]))
    roi.SetSize(15, 15, 15)
    find(module)
    assert len(rows(ui)) == 1
    ui.acceptAllButton.click()
    assert dice(held(module)["Object 1"], sphere(1)) > 0.75


def test_what_the_views_show_limits_where(module, ui, volumeNode):
    views = [SliceView(name, orientation, (100, 100)) for name, orientation in (("Red", "Axial"), ("Green", "Coronal"))]
    for view in views:
        view.show(volumeNode)
        view.node.SetFieldOfView(18, 18, view.node.GetFieldOfView()[2])
        view.node.JumpSliceByCentering(*worldOf(module.panel.segmenter, CENTRES[2]))
    ui.regionSelector.setCurrentIndex(2)
    find(module)
    ui.acceptAllButton.click()
    assert dice(held(module)["Object 1"], sphere(2)) > 0.75
    assert len(held(module)) == 1


def test_regions_are_where_they_are_drawn(scene, volumeNode):
    """Turned ROIs, volumes under transforms: voxel by voxel."""
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turn[:3, 3] = (5, -7, 11)
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, turn).GetID())
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(0, 0, 0)
    roi.SetSize(40, 20, 30)
    object_ = np.eye(4)
    object_[1:3, 1:3] = [[0.6, -0.8], [0.8, 0.6]]
    object_[:3, 3] = (turn @ AFFINE @ [30, 30, 30, 1])[:3]
    roi.SetAndObserveTransformNodeID(linearTransform(scene, object_).GetID())
    inside = regionMask(roiLimits(roi), SHAPE, indexToWorld(volumeNode))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1).reshape(-1, 3)
    world = np.c_[index, np.ones(len(index))] @ (turn @ AFFINE).T
    inRoi = (world @ np.linalg.inv(object_).T)[:, :3]
    expected = np.all(np.abs(inRoi) <= (20, 10, 15), axis=1).reshape(SHAPE)
    assert 3000 < expected.sum() < 10000
    assert (inside != expected).sum() <= 0.01 * expected.sum(), "but for rounding"
    assert regionMask([], SHAPE, np.eye(4)) is None


def test_regions_that_cannot_be_searched_are_said(scene, ui, volumeNode):
    for node in list(shownSliceNodes()):
        node.SetMappedInLayout(0)
    ui.regionSelector.setCurrentIndex(2)
    ui.findButton.click()
    assert "no slice view" in ui.findLabel.text
    with pytest.raises(Exception, match="no slice view"):
        viewLimits()
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "far away")
    roi.SetCenter(5000, 0, 0)
    roi.SetSize(10, 10, 10)
    with pytest.raises(Exception, match="lies outside the volume"):
        regionMask(roiLimits(roi), SHAPE, AFFINE)
    bend = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    volumeNode.SetAndObserveTransformNodeID(bend.GetID())
    with pytest.raises(Exception, match="not linear"):
        indexToWorld(volumeNode)


def test_stop_lists_what_was_found_so_far_and_the_interface_stays_free(module, ui, volumeNode, predictor):
    predictor.gate.clear()
    ui.findButton.click()
    assert not ui.stopFindButton.isHidden()
    assert not ui.findButton.enabled
    for _ in range(20):
        qt.QApplication.processEvents()
    assert module.panel.find.busy
    ui.stopFindButton.click()
    settle(module)
    assert not module.panel.find.busy
    assert ui.findLabel.text.startswith("Stopped")
    assert ui.stopFindButton.isHidden()


def test_a_failure_is_said(module, ui, volumeNode, predictor):
    predictor.fail = RuntimeError("the GPU fell off")
    find(module)
    assert "the GPU fell off" in ui.findLabel.text
    assert ui.findButton.enabled


def test_another_image_or_none_is_not_written_into(module, ui, volumeNode, scene):
    find(module)
    other = addVolume(scene, np.full(SHAPE, 5, np.int16), AFFINE, "other")
    volumeNode.SetAndObserveImageData(other.GetImageData())
    ui.acceptAllButton.click()
    assert "another image by now" in ui.findLabel.text
    assert not any(mask.any() for mask in held(module).values())


def test_objects_that_cannot_be_written_stay_on_the_list(module, ui, volumeNode, scene):
    find(module)
    fine, node = slicer.vtkOrientedImageData(), scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "fine")
    fine.SetSpacing(0.001, 0.001, 0.001)
    fine.SetExtent(0, 9, 0, 9, 0, 9)
    text = slicer.vtkSegmentationConverter.SerializeImageGeometry(fine)
    node.GetSegmentation().SetConversionParameter("Reference image geometry", text)
    ui.segmentationSelector.setCurrentNode(node)
    ui.acceptAllButton.click()
    assert "too fine" in ui.findLabel.text
    assert len(rows(ui)) == len(module.panel.find.finder.found) == 3
    assert held(module) == {}
    ui.segmentationSelector.setCurrentNode(None)
    ui.acceptAllButton.click()
    assert len(held(module)) == 3
    assert rows(ui) == []


def test_a_search_ends_with_the_module(module, ui, volumeNode, predictor):
    predictor.gate.clear()
    ui.findButton.click()
    task = module.panel.find.task
    with keptModules():
        slicer.util.reloadScriptedModule("SAMMed3DSegment")
        assert not task.busy
        assert module.panel is None
        predictor.gate.set()


def test_a_search_ends_with_its_scene(module, ui, volumeNode, predictor, scene):
    predictor.gate.clear()
    ui.findButton.click()
    scene.Clear(0)
    assert not module.panel.find.busy
    predictor.gate.set()
    settle(module)
    assert ui.foundTable.isHidden()
    assert ui.findLabel.text == ""


def test_the_volume_may_be_another_one_meanwhile(module, ui, volumeNode, scene):
    """What was found belongs to the volume that was searched."""
    shift = np.eye(4)
    shift[:3, 3] = (3, 0, 0)
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    find(module)
    ui.volumeSelector.setCurrentNode(addVolume(scene, np.full(SHAPE, 5, np.int16), AFFINE, "other"))
    ui.acceptAllButton.click()
    node = module.logic.getParameterNode().segmentation
    assert node.GetNumberOfNodeReferences(node.GetReferenceImageGeometryReferenceRole()) == 1
    assert len(held(module)) == 3
    for mask in held(module).values():
        middle = np.argwhere(mask).mean(axis=0)
        assert min(np.linalg.norm(middle - np.array(c) - (2, 0, 0)) for c in CENTRES) < 1, "moved by two voxels"


@pytest.mark.slow
def test_a_server_searches_too(module, ui, volumeNode, predictor, monkeypatch):
    module.logic.settings.place, module.logic.settings.url = SERVER, ""
    ui.findButton.click()
    assert "Enter the address" in ui.findLabel.text
    monkeypatch.setattr(Predictors, "load", load)
    with serving(predictor) as server:
        module.logic.settings.url = server.url
        module.logic.settings.consent = True
        find(module)
        assert len(rows(ui)) == 3
        ui.acceptAllButton.click()
        assert {max(range(3), key=lambda n: dice(mask, sphere(n))) for mask in held(module).values()} == {0, 1, 2}
        predictor.gate.clear()
        module.panel.server.showSettings()
        ui.findButton.click()
        ui.consentCheckBox.setChecked(False)
        assert not module.panel.find.busy, "consent taken back ends it"
        predictor.gate.set()
        settle(module)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["while it is searched", "while objects are listed"])
@pytest.mark.parametrize(("what", "said"), [("volume", "CT was removed."), ("image", "CT holds another image by now.")])
def test_what_is_searched_and_goes_away_ends_it_and_is_said(module, ui, volumeNode, predictor, when, what, said):
    searching = when == "while it is searched"
    if searching:
        predictor.gate.clear()
        ui.findButton.click()
        wait(predictor.asked.is_set)
    else:
        find(module)
        ui.foundTable.selectRow(0)
    if what == "volume":
        slicer.mrmlScene.RemoveNode(volumeNode)
    else:
        slicer.util.updateVolumeFromArray(volumeNode, slicer.util.arrayFromVolume(volumeNode)[::-1].copy())
    wait(lambda: not (module.panel.find.busy or module.panel.find.finder.found))
    asked = len(predictor.calls)
    predictor.gate.set()
    settle(module)
    assert len(predictor.calls) <= asked + 1, "it computes no further"
    ends = "The search was stopped." if searching else "What was found in it is listed no more."
    assert ui.findLabel.text == f"{said} {ends}"
    assert rows(ui) == []
    assert ui.foundTable.isHidden()
    assert slicer.mrmlScene.GetFirstNodeByName("Found") is None
