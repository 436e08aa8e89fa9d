"""Segments on real MRML nodes: what is written, and above all what is not."""

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from helpers import ThresholdPredictor, make_affine
from mrmlNodes import linearTransform, voxels
from sammed3d import Session, Update
from SAMMed3DSegmentLib.SegmentWriter import SegmentWriter
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode


@pytest.fixture
def session(volumeNode):
    return Session(volumeFromNode(volumeNode), ThresholdPredictor())


def randomWorld(session, rng):
    return tuple(session.volume.grid.to_world(rng.uniform(1, np.subtract(session.volume.grid.shape, 2))))


def test_the_segment_is_the_sessions_mask_after_every_click(session, segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = SegmentWriter(segmentationNode, volumeNode)
    rng = np.random.default_rng(0)
    for n in range(12):
        writer.write(segmentId, session.click(randomWorld(session, rng), positive=n % 3 != 2))
        assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())
    while (update := session.undo()) is not None:
        writer.write(segmentId, update)
        assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())


def test_other_segments_stay_bit_identical_after_100_clicks(session, segmentationNode, volumeNode):
    segmentation = segmentationNode.GetSegmentation()
    writer = SegmentWriter(segmentationNode, volumeNode)
    rng = np.random.default_rng(1)
    neighbours = [segmentation.AddEmptySegment(name) for name in ("spleen", "kidney", "bone")]
    for neighbour in neighbours:
        session.add_object()
        writer.write(neighbour, session.click(randomWorld(session, rng)))
    before = [voxels(segmentationNode, neighbour) for neighbour in neighbours]
    assert all(b.any() for b in before)
    segmentId = segmentation.AddEmptySegment("liver")
    session.add_object("liver")
    for n in range(100):
        writer.write(segmentId, session.click(randomWorld(session, rng), positive=n % 4 != 3))
    for neighbour, mask in zip(neighbours, before, strict=True):
        assert np.array_equal(voxels(segmentationNode, neighbour), mask)
    assert np.array_equal(voxels(segmentationNode, segmentId), session.mask("liver"))
    assert (session.mask("liver") & before[0]).any(), "they overlap, and still none is damaged"


def test_a_hand_edit_survives_where_the_mask_does_not_change(session, segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = SegmentWriter(segmentationNode, volumeNode)
    first = session.click(tuple(session.volume.grid.to_world((20, 25, 15))))
    writer.write(segmentId, first)
    byHand = Update("liver", first.box, np.zeros_like(first.voxels), first.voxels, {})  # somebody erases all of it
    writer.write(segmentId, byHand)
    second = session.click(tuple(session.volume.grid.to_world((5, 5, 5))))
    writer.write(segmentId, second)
    added = np.zeros((40, 50, 30), np.uint8)
    added[second.box.slices] = second.voxels & ~second.previous
    assert added.any()
    assert np.array_equal(voxels(segmentationNode, segmentId), added)


def test_the_editors_intensity_mask_is_honoured(session, segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = SegmentWriter(segmentationNode, volumeNode)
    writer.editorNode.SetSourceVolumeIntensityMask(True)
    writer.editorNode.SetSourceVolumeIntensityMaskRange(300, 500)
    writer.write(segmentId, session.click(tuple(session.volume.grid.to_world((20, 25, 15)))))
    array = session.volume.array
    allowed = session.mask() * ((array >= 300) & (array <= 500))
    written = voxels(segmentationNode, segmentId)
    assert allowed.any()
    assert not np.array_equal(allowed, session.mask())
    assert np.array_equal(written, allowed)


def test_undo_and_redo_of_the_editor(session, segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = SegmentWriter(segmentationNode, volumeNode)
    writer.write(segmentId, session.click(tuple(session.volume.grid.to_world((20, 25, 15)))))
    first = voxels(segmentationNode, segmentId)
    writer.write(segmentId, session.click(tuple(session.volume.grid.to_world((5, 5, 5)))))
    second = voxels(segmentationNode, segmentId)
    assert not np.array_equal(first, second)
    writer.undo()
    assert np.array_equal(voxels(segmentationNode, segmentId), first)
    writer.redo()
    assert np.array_equal(voxels(segmentationNode, segmentId), second)


def test_a_transform_of_the_volume_alone_moves_the_segment_with_it(scene, session, segmentationNode, volumeNode):
    """The volume is moved by whole voxels against the segmentation: the mask lands where the volume is seen."""
    ijkToRAS = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    shift = np.eye(4)
    shift[:3, 3] = ijkToRAS[:3, :3] @ [2, 3, -1]
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = SegmentWriter(segmentationNode, volumeNode)
    writer.write(segmentId, session.click(tuple(session.volume.grid.to_world((20, 25, 15)))))
    image = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentId, image)
    filled = np.argwhere(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).T)
    corner = image.GetExtent()[::2]
    where = filled.mean(axis=0) + corner
    matrix = np.array([[_imageToWorld(image).GetElement(r, c) for c in range(4)] for r in range(4)])
    seen = (matrix @ [*where, 1])[:3]
    expected = shift @ ijkToRAS @ [*np.argwhere(session.mask()).mean(axis=0), 1]
    assert np.linalg.norm(seen - expected[:3]) < 0.5


def _imageToWorld(image):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix
