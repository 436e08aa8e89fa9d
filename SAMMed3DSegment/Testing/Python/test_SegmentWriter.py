"""Segments on real MRML nodes: what is written, and above all what is not."""

import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from helpers import make_affine
from mrmlNodes import addVolume, drawByHand, importedSegments, linearTransform, voxels
from sammed3d import Box, Session
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import SegmentWriter
from SAMMed3DSegmentLib.MaskGrids import onGrid, transformBetween
from SAMMed3DSegmentLib.SegmentReader import heldMask, maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import Holdings, setOverwriteMode
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import newPredictor

ORIGIN, SPACING = np.array((10.0, -20.0, 30.0)), np.array((2.0, 2.5, 3.0))


class Writer:
    """Writes one mask after the other into a segment, as the segmenter does."""

    def __init__(self, segmentationNode, segmentId, volumeNode):
        self.place = segmentationNode, segmentId
        self.volumeNode = volumeNode
        self.held = Holdings.of(*self.place)

    def write(self, mask):
        self.held = SegmentWriter.write(*self.place, self.volumeNode, mask, self.held)
        return self.held

    def restore(self, held):
        self.held = SegmentWriter.restore(*self.place, held, self.held)


def block(*corners):
    """A mask that fills a box."""
    box = Box(*corners)
    return BoxedMask(box, np.ones(box.shape, np.uint8, order="F"))


@pytest.fixture
def session(volumeNode):
    return Session(volumeFromNode(volumeNode), newPredictor())


def randomWorld(session, rng):
    return tuple(session.volume.grid.to_world(rng.uniform(1, np.subtract(session.volume.grid.shape, 2))))


def test_the_segment_is_the_sessions_mask_after_every_click(session, segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer, held = Writer(segmentationNode, segmentId, volumeNode), []
    rng = np.random.default_rng(0)
    for n in range(12):
        session.click(randomWorld(session, rng), positive=n % 3 != 2)
        held.append(writer.write(session.current.mask))
        assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())
        assert held[-1].digest == Holdings.of(segmentationNode, segmentId).digest, "it knows what it wrote"
    for before in reversed(held[:-1]):
        session.undo()
        writer.restore(before)
        assert np.array_equal(voxels(segmentationNode, segmentId), session.mask())


@pytest.mark.slow
def test_other_segments_stay_bit_identical_after_100_clicks(session, segmentationNode, volumeNode):
    segmentation = segmentationNode.GetSegmentation()
    rng = np.random.default_rng(1)
    neighbours = [segmentation.AddEmptySegment(name) for name in ("spleen", "kidney", "bone")]
    for neighbour in neighbours:
        session.add_object()
        session.click(randomWorld(session, rng))
        Writer(segmentationNode, neighbour, volumeNode).write(session.current.mask)
    before = [voxels(segmentationNode, neighbour) for neighbour in neighbours]
    assert all(b.any() for b in before)
    segmentId = segmentation.AddEmptySegment("liver")
    session.add_object("liver")
    writer = Writer(segmentationNode, segmentId, volumeNode)
    for n in range(100):
        session.click(randomWorld(session, rng), positive=n % 4 != 3)
        writer.write(session.current.mask)
    for neighbour, mask in zip(neighbours, before, strict=True):
        assert np.array_equal(voxels(segmentationNode, neighbour), mask)
    assert np.array_equal(voxels(segmentationNode, segmentId), session.mask("liver"))
    assert (session.mask("liver") & before[0]).any(), "they overlap, and still none is damaged"


def test_a_hand_edit_survives_where_the_mask_does_not_change(segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = Writer(segmentationNode, segmentId, volumeNode)
    writer.write(block((2, 2, 2), (10, 10, 10)))
    drawByHand(segmentationNode, segmentId, volumeNode, Box((2, 2, 2), (10, 10, 5)), value=0)
    drawByHand(segmentationNode, segmentId, volumeNode, Box((20, 20, 20), (22, 22, 22)))
    edited = voxels(segmentationNode, segmentId)
    for end in (12, 15):
        writer.write(block((2, 2, 2), (10, end, 10)))
        edited[2:10, 10:end, 2:10] = 1
        assert np.array_equal(voxels(segmentationNode, segmentId), edited)


def segmentEditor(segmentationNode):
    """The Segment Editor's settings, as if it had been used on a segmentation."""
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmentationNode)
    return editor


def test_the_editors_intensity_mask_is_honoured(session, segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    editor = segmentEditor(segmentationNode)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(300, 500)
    session.click(tuple(session.volume.grid.to_world((20, 25, 15))))
    Writer(segmentationNode, segmentId, volumeNode).write(session.current.mask)
    array = session.volume.array
    allowed = session.mask() * ((array >= 300) & (array <= 500))
    assert allowed.any()
    assert not np.array_equal(allowed, session.mask())
    assert np.array_equal(voxels(segmentationNode, segmentId), allowed)


def test_undo_restores_what_masking_would_keep_now(segmentationNode, volumeNode):
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    writer = Writer(segmentationNode, segmentId, volumeNode)
    first, _ = writer.write(block((2, 2, 2), (10, 10, 10))), writer.write(block((2, 2, 2), (30, 30, 20)))
    editor = segmentEditor(segmentationNode)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(300, 500)
    writer.restore(first)
    assert np.array_equal(voxels(segmentationNode, segmentId), block((2, 2, 2), (10, 10, 10)).full((40, 50, 30)))


def test_nothing_is_erased_into_the_mask_segment(segmentationNode, volumeNode):
    """Inside a single segment, the Segment Editor gives what is erased to the mask segment."""
    segmentation = segmentationNode.GetSegmentation()
    area, segmentId = segmentation.AddEmptySegment("area"), segmentation.AddEmptySegment("liver")
    drawByHand(segmentationNode, area, volumeNode, Box((0, 0, 0), (20, 20, 20)))
    writer = Writer(segmentationNode, segmentId, volumeNode)
    writer.write(block((5, 5, 5), (30, 15, 15)))
    editor = segmentEditor(segmentationNode)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID(area)
    before = voxels(segmentationNode, area)
    writer.write(block((5, 5, 5), (8, 30, 15)))
    assert np.array_equal(voxels(segmentationNode, area), before)
    expected = np.zeros((40, 50, 30), np.uint8)
    expected[5:8, 5:20, 5:15] = 1
    assert np.array_equal(voxels(segmentationNode, segmentId), expected), "added inside the area, erased everywhere"


@pytest.mark.parametrize("mode", ["OverwriteVisibleSegments", "OverwriteAllSegments"])
def test_neighbours_get_back_what_was_overwritten(segmentationNode, volumeNode, mode):
    segmentation = segmentationNode.GetSegmentation()
    shown, hidden, segmentId = (segmentation.AddEmptySegment(name) for name in ("shown", "hidden", "liver"))
    drawByHand(segmentationNode, shown, volumeNode, Box((0, 0, 0), (20, 20, 20)))
    drawByHand(segmentationNode, hidden, volumeNode, Box((20, 0, 0), (30, 20, 20)))
    segmentationNode.GetDisplayNode().SetSegmentVisibility(hidden, False)
    before = {name: voxels(segmentationNode, name) for name in (shown, hidden)}
    setOverwriteMode(getattr(slicer.vtkMRMLSegmentEditorNode, mode))
    writer = Writer(segmentationNode, segmentId, volumeNode)
    empty = writer.held
    small = writer.write(block((5, 5, 5), (25, 10, 10)))
    taken = {name: voxels(segmentationNode, name) for name in (shown, hidden)}
    mine = voxels(segmentationNode, segmentId)
    assert np.array_equal(taken[shown], before[shown] & ~mine & 1)
    assert np.array_equal(
        taken[hidden], before[hidden] & ~mine & 1 if mode == "OverwriteAllSegments" else before[hidden]
    )
    writer.write(block((5, 5, 5), (25, 7, 10)))
    partly = before[shown] & ~voxels(segmentationNode, segmentId) & 1
    assert np.array_equal(voxels(segmentationNode, shown), partly), "a smaller mask belongs to nobody nowhere"
    for held, theirs in ((small, taken), (empty, before), (small, taken), (empty, before)):
        writer.restore(held)
        for name in (shown, hidden):
            assert np.array_equal(voxels(segmentationNode, name), theirs[name])


@pytest.mark.parametrize("offset", [(4, 4, 4), (-3, 2, 0), (0.5, 0, 0), (0.2, 0.3, -0.4)], ids=str)
def test_segments_of_a_crop_with_another_origin(scene, volumeNode, offset):
    """Same spacing, another origin: a label map imported from a crop, whole or half voxels away."""
    straight = addVolume(scene, volumeFromNode(volumeNode).array, make_affine(SPACING, (0, 0, 0), ORIGIN), "straight")
    node = importedSegments(scene, make_affine(SPACING, (0, 0, 0), ORIGIN + np.multiply(SPACING, offset)), straight)
    boxes = {"one": Box((3, 3, 2), (8, 8, 5)), "two": Box((3, 10, 2), (8, 15, 5))}
    before = {name: heldMask(node, name) for name in boxes}
    for name, box in boxes.items():
        read = maskOfSegment(node, name, straight)
        where = np.add(box.begin, offset)
        assert np.abs(np.subtract(read.box.begin, where)).max() <= 0.5, "read where it lies, to the nearest voxel"
        assert read.voxels.sum() == np.prod(box.shape)
    writer = Writer(node, "one", straight)
    first = writer.held
    writer.write(block((10, 10, 10), (14, 14, 14)))
    assert np.array_equal(maskOfSegment(node, "one", straight).voxels, np.ones((4, 4, 4)))
    writer.restore(first)
    segmentId = node.GetSegmentation().AddEmptySegment("new")
    Writer(node, segmentId, straight).write(block((2, 2, 2), (30, 30, 20)))
    assert np.array_equal(
        maskOfSegment(node, segmentId, straight).full((40, 50, 30))[2:30, 2:30, 2:20], np.ones((28, 28, 18))
    )
    for name, (matrix, mask) in before.items():
        there, now = heldMask(node, name)
        assert onGrid(now, there, matrix).digest == mask.digest, "no voxel of a sibling was invented, lost or moved"


def test_what_lies_outside_the_segmentations_grid_is_written_all_the_same(scene, volumeNode):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    crop = addVolume(
        scene, volumeFromNode(volumeNode).array[:10, :10, :10], make_affine(SPACING, (0.2, -0.1, 0.3), ORIGIN)
    )
    node.SetReferenceImageGeometryParameterFromVolumeNode(crop)
    segmentId = node.GetSegmentation().AddEmptySegment("liver")
    mask = block((5, 5, 5), (30, 30, 20))
    Writer(node, segmentId, volumeNode).write(mask)
    assert maskOfSegment(node, segmentId, volumeNode).digest == mask.digest


@pytest.mark.parametrize("inside", ["linear", "bspline", "linear in bspline"])
def test_a_volume_alone_under_a_transform(scene, segmentationNode, volumeNode, inside):
    """The mask lies where the volume is seen: each voxel of the segment is in the mask of the place that it shows."""
    warp = bspline(scene)
    linear = linearTransform(scene, make_affine((1, 1, 1), (0.2, 0.1, -0.1), (5, -6, 7)))
    node = warp if inside == "bspline" else linear
    if inside == "linear in bspline":
        linear.SetAndObserveTransformNodeID(warp.GetID())
    volumeNode.SetAndObserveTransformNodeID(node.GetID())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    mask = block((10, 15, 8), (30, 35, 22))
    writer = Writer(segmentationNode, segmentId, volumeNode)
    writer.write(mask)
    matrix, held = heldMask(segmentationNode, segmentId)
    back = transformBetween(segmentationNode, volumeNode)
    full, grid = mask.full((40, 50, 30)), volumeFromNode(volumeNode).grid
    near = Box(tuple(np.subtract(held.box.begin, 2)), tuple(np.add(held.box.end, 2)))
    filled, wrong = held.cut(near), 0
    for index in np.ndindex(near.shape):
        if any(i % 3 for i in index):  # a sample
            continue
        world = matrix @ [*np.add(near.begin, index), 1]
        inVolume = np.rint(grid.to_index(back.TransformPoint(world[:3]))).astype(int)
        inside = all(0 <= i < n for i, n in zip(inVolume, full.shape, strict=True)) and full[tuple(inVolume)]
        wrong += bool(inside) != bool(filled[index])
    assert wrong <= 2, "but for ties"
    writer.write(None)
    assert heldMask(segmentationNode, segmentId)[1] is None, "all of it goes again"


def bspline(scene):
    """A warp of some centimetres."""
    grid = vtk.vtkImageData()
    grid.SetDimensions(8, 8, 8)
    grid.SetOrigin(-200, -200, -200)
    grid.SetSpacing(70, 70, 70)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for i, j, k in np.ndindex(8, 8, 8):
        for axis in range(3):
            grid.SetScalarComponentFromDouble(i, j, k, axis, 12 * np.sin(i + 2 * j + 3 * k + axis))
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(grid)
    node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    node.SetAndObserveTransformToParent(transform)
    return node


def test_a_transform_of_the_volume_alone_moves_the_segment_with_it(scene, session, segmentationNode, volumeNode):
    """The volume is moved by whole voxels against the segmentation: the mask lands where the volume is seen."""
    ijkToRAS = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    shift = np.eye(4)
    shift[:3, 3] = ijkToRAS[:3, :3] @ [2, 3, -1]
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, shift).GetID())
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    session.click(tuple(session.volume.grid.to_world((20, 25, 15))))
    Writer(segmentationNode, segmentId, volumeNode).write(session.current.mask)
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
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix
