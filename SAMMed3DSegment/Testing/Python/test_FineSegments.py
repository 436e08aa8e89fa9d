"""Segments whose voxels are much finer than the volume's, as a model imported into a segmentation has them."""

import math

import numpy as np
import pytest
import slicer

from mrmlNodes import addSegment, voxels
from sammed3d import Box
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import MaskGrids
from SAMMed3DSegmentLib.SegmentReader import heldMask
from SAMMed3DSegmentLib.SegmentVoxels import setVoxels
from SAMMed3DSegmentLib.SegmentWriter import setOverwriteMode
from segmenters import SPOTS, clickAt, clicksOf, expectedMask, settle

FINE = 0.02
"""mm"""
MOST = 10_000_000


@pytest.fixture(autouse=True)
def noLargeImages(monkeypatch):
    """No image of more voxels is made than some times those of the volume, which has 60 000."""
    made = MaskGrids.imageOf

    def small(box, *arguments):
        assert math.prod(box.shape) < MOST, f"an image of {box.shape} voxels"
        return made(box, *arguments)

    monkeypatch.setattr(MaskGrids, "imageOf", small)


@pytest.fixture
def bone(scene, volumeNode):
    """A segmentation with a cube of 1 mm in voxels of 0.02 mm, and without a reference geometry."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bones")
    node.CreateDefaultDisplayNodes()
    segmentId = addSegment(node, "bone")
    matrix = np.diag((FINE, FINE, FINE, 1.0))
    matrix[:3, 3] = (MaskGrids.matrixOfVolume(volumeNode) @ (*SPOTS[0], 1))[:3]
    setVoxels(node, segmentId, matrix, BoxedMask(Box((0, 0, 0), (50,) * 3), np.ones((50,) * 3, np.uint8)), True)
    return node


def referenceOf(node):
    return node.GetSegmentation().GetConversionParameter("Reference image geometry")


def test_a_click_that_would_not_fit_is_taken_back(segmenter, volumeNode, bone):
    segmentId = bone.GetSegmentation().GetNthSegmentID(0)
    segmenter.setInput(volumeNode, bone)
    clickAt(segmenter, segmentId, SPOTS[0])
    assert "bone: its voxels of 0.02 mm are too fine" in segmenter.message
    assert "Click in a new segment" in segmenter.message
    assert "1 click of bone was taken back" in segmenter.message
    assert clicksOf(segmenter, segmentId) == ()
    matrix, held = heldMask(bone, segmentId)
    assert held.voxels.sum() == 50**3
    assert matrix[0, 0] == pytest.approx(FINE)
    segmenter.redo(segmentId)
    settle(segmenter)
    assert "too fine" in segmenter.message


def test_a_new_segment_beside_it_is_on_the_volumes_grid(segmenter, volumeNode, bone):
    segmentId = addSegment(bone, "new")
    segmenter.setInput(volumeNode, bone)
    assert not referenceOf(bone)
    clickAt(segmenter, segmentId, SPOTS[0])
    assert referenceOf(bone)
    assert np.array_equal(voxels(bone, segmentId), expectedMask(volumeNode, clicksOf(segmenter, segmentId)))


def test_it_loses_what_a_large_segment_overwrites_and_gets_it_back(segmenter, volumeNode, bone):
    setOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    first, segmentId = bone.GetSegmentation().GetNthSegmentID(0), addSegment(bone, "new")
    segmenter.setInput(volumeNode, bone)
    clickAt(segmenter, segmentId, SPOTS[0])
    assert heldMask(bone, first)[1] is None, "it lay inside"
    clickAt(segmenter, segmentId, SPOTS[1], positive=False)
    segmenter.undo(segmentId)
    segmenter.undo(segmentId)
    assert heldMask(bone, first)[1].voxels.sum() == 50**3
    assert not voxels(bone, segmentId).any()
