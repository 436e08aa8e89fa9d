"""Boxes in the page: a ROI of the views becomes the box of the selected segment."""

import numpy as np
import pytest
import slicer

from helpers import make_affine, phantom
from mrmlNodes import voxels
from sammed3d import Grid, PromptError, Session, Volume
from sammed3d.web.boxes import BoxDrawing, crossing
from sammed3d.web.work import Work
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import until

AFFINE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))


@pytest.fixture
def boxes(work):
    work.open(Volume(phantom((40, 50, 30)), Grid((40, 50, 30), AFFINE), "CT 7"))
    return BoxDrawing(work)


def rois():
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsROINode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems())]


def middle(work):
    bounds = [0.0] * 6
    work.volume_node.GetRASBounds(bounds)
    return tuple(float(each) for each in np.array(bounds).reshape(3, 2).mean(axis=1))


def test_a_box_is_what_a_session_makes_of_it_and_can_be_undone(work, boxes, predictor):
    boxes.begin(middle(work))
    [roi] = rois()
    assert roi.GetSize()[0] > 10
    roi.SetSize(30, 40, 20)
    boxes.use()
    until(lambda: not work.segmenter.busy, work.poll)
    session = Session(volumeFromNode(work.volume_node), predictor)
    centre, half = np.array(roi.GetCenter() if rois() else middle(work)), np.array([15, 20, 10])
    session.set_box(tuple(centre - half), tuple(centre + half))
    assert session.mask().any()
    assert np.array_equal(voxels(work.segmentation_node, work.segment_id), session.mask())
    assert not rois(), "the box is kept with the segment, not in the views"
    work.undo()
    assert not voxels(work.segmentation_node, work.segment_id).any()


def test_a_box_that_is_not_used_leaves_nothing(work, boxes):
    work.place("positive")
    boxes.begin(middle(work))
    assert boxes.drawing
    assert work.placing == "", "the mouse drags handles now"
    boxes.begin(middle(work))
    assert not boxes.drawing
    assert not rois()
    boxes.use()
    assert not work.can_undo


def test_a_box_without_a_size_says_so_and_stays(work, boxes):
    boxes.begin(middle(work))
    rois()[0].SetSize(0, 0, 0)
    with pytest.raises(PromptError, match="no size"):
        boxes.use()
    assert boxes.drawing
    boxes.stop()
    BoxDrawing(Work(lambda _choice: None)).begin((0.0, 0.0, 0.0))  # before the first volume
    assert not rois()


def test_slices_cross_at_one_place():
    nodes = []
    for axis, offset in ((2, 12.0), (0, -7.0), (1, 30.0)):
        node = slicer.vtkMRMLSliceNode()
        toRas = np.eye(4)[:, [*{0, 1, 2} - {axis}, axis, 3]]
        toRas[:3, 3] = 100.0, 200.0, 300.0  # anywhere in the slice
        toRas[axis, 3] = offset
        for i, j in np.ndindex(4, 4):
            node.GetSliceToRAS().SetElement(i, j, toRas[i, j])
        nodes.append(node)
    assert crossing(nodes) == pytest.approx((-7.0, 30.0, 12.0))
