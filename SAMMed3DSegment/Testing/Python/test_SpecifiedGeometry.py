"""*Specify geometry* of the Segment Editor, after clicks: undo goes on, clicks stay, and the geometry stays."""

import numpy as np
import pytest
import slicer

from mrmlNodes import drawByHand
from sammed3d import Box
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import MaskGrids
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment, heldMask, maskOfSegment
from SAMMed3DSegmentLib.SegmentVoxels import setVoxels
from segmenters import SPOTS, clickAt, clicksOf, settle, stepsBack


def specifyGeometry(node, factor):
    """Divide the voxels, and resample all segments, as Slicer's dialog does."""
    converter, grid = slicer.vtkSegmentationConverter, slicer.vtkOrientedImageData()
    name, segmentation = converter.GetReferenceImageGeometryParameterName(), node.GetSegmentation()
    converter.DeserializeImageGeometry(segmentation.GetConversionParameter(name), grid, False)
    old, shape = MaskGrids.matrixOfImage(grid), np.array(grid.GetExtent()[1::2]) + 1
    new = old.copy()
    new[:3, :3] /= factor
    new[:3, 3] += old[:3, :3] @ np.full(3, 0.5 / factor - 0.5)
    grid = MaskGrids.imageOf(Box((0, 0, 0), tuple((shape * factor).astype(int).tolist())), None, new)
    segmentation.SetConversionParameter(name, converter.SerializeImageGeometry(grid))
    segments = [segmentation.GetSegment(each) for each in segmentation.GetSegmentIDs()]
    for labelmap in {segment.GetRepresentation("Binary labelmap") for segment in segments}:
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            labelmap, grid, labelmap, False, True
        )


def spacing(node, segmentId):
    return np.linalg.norm(heldMask(node, segmentId)[0][:3, :3], axis=0)


@pytest.fixture
def clicked(segmenter, volumeNode, segmentationNode, liver, spleen):
    """Two clicks in one segment, beside one that was drawn by hand; returns what the first held after each click."""
    drawByHand(segmentationNode, spleen, volumeNode, Box((2, 2, 2), (9, 9, 9)))
    masks = []
    for spot in SPOTS[:2]:
        clickAt(segmenter, liver, spot)
        masks.append(maskOfSegment(segmentationNode, liver, volumeNode).full((40, 50, 30)))
    return masks


def held(segmentationNode, segmentId, volumeNode):
    mask = maskOfSegment(segmentationNode, segmentId, volumeNode)
    return np.zeros((40, 50, 30), np.uint8) if mask is None else mask.full((40, 50, 30))


def test_after_finer_voxels_undo_takes_the_clicks_back_one_by_one(
    segmenter, volumeNode, segmentationNode, liver, spleen, clicked
):
    specifyGeometry(segmentationNode, 2)
    neighbour = digestOfSegment(segmentationNode, spleen)
    assert len(clicksOf(segmenter, liver)) == 2
    segmenter.undo(liver)
    assert np.array_equal(held(segmentationNode, liver, volumeNode), clicked[0])
    assert np.allclose(spacing(segmentationNode, liver), (1.0, 1.25, 1.5)), "what was specified stays"
    segmenter.redo(liver)
    assert np.array_equal(held(segmentationNode, liver, volumeNode), clicked[1])
    assert len(clicksOf(segmenter, liver)) == 2
    assert stepsBack(segmenter, liver) == 2
    assert not held(segmentationNode, liver, volumeNode).any()
    assert digestOfSegment(segmentationNode, spleen) == neighbour


def test_a_click_after_it_goes_on_from_those_before(segmenter, volumeNode, segmentationNode, liver, spleen, clicked):
    specifyGeometry(segmentationNode, 2)
    clickAt(segmenter, liver, SPOTS[2])
    assert len(clicksOf(segmenter, liver)) == 3
    segmenter.undo(liver)
    settle(segmenter)
    assert np.array_equal(held(segmentationNode, liver, volumeNode), clicked[1])


def test_after_coarser_voxels_undo_takes_the_clicks_back_one_by_one(
    segmenter, volumeNode, segmentationNode, liver, clicked
):
    """The middle of a voxel twice as large lies as near to eight of those before: Slicer takes one of them."""
    specifyGeometry(segmentationNode, 0.5)
    sizes, resampled = [int(mask.sum()) / 8 for mask in clicked], digestOfSegment(segmentationNode, liver)
    segmenter.undo(liver)
    assert len(clicksOf(segmenter, liver)) == 1
    assert heldMask(segmentationNode, liver)[1].voxels.sum() == pytest.approx(sizes[0], rel=0.02)
    segmenter.redo(liver)
    assert len(clicksOf(segmenter, liver)) == 2
    assert digestOfSegment(segmentationNode, liver) == resampled
    assert stepsBack(segmenter, liver) == 2


def test_what_somebody_changed_in_coarser_voxels_is_an_edit(segmenter, segmentationNode, liver, clicked, monkeypatch):
    specifyGeometry(segmentationNode, 0.5)
    matrix, mask = heldMask(segmentationNode, liver)
    inside = np.argwhere(mask.voxels)[mask.voxels.sum() // 2] + mask.box.begin
    box = Box(tuple(inside.tolist()), tuple((inside + 1).tolist()))
    setVoxels(segmentationNode, liver, matrix, BoxedMask(box, np.ones((1, 1, 1), np.uint8)), False)
    compared, isOnGrid = [], MaskGrids.isOnGrid
    monkeypatch.setattr(MaskGrids, "isOnGrid", lambda *masks: compared.append(masks) or isOnGrid(*masks))
    for _ in range(3):  # as a panel does that is brought in step
        assert segmenter.canUndo(liver)
    assert len(compared) == 1, "a large segment is not resampled again and again"
    segmenter.undo(liver)
    assert len(clicksOf(segmenter, liver)) == 2, "the edit alone is taken back"


def test_after_coarser_voxels_neighbours_stay_and_all_can_be_undone(
    segmenter, volumeNode, segmentationNode, liver, spleen, clicked
):
    specifyGeometry(segmentationNode, 0.5)
    neighbour = digestOfSegment(segmentationNode, spleen)
    while segmenter.canUndo(liver):
        segmenter.undo(liver)
        settle(segmenter)
        if heldMask(segmentationNode, liver)[1] is not None:
            assert np.allclose(spacing(segmentationNode, liver), (4.0, 5.0, 6.0)), "what was specified stays"
        assert digestOfSegment(segmentationNode, spleen) == neighbour
    assert heldMask(segmentationNode, liver)[1] is None
