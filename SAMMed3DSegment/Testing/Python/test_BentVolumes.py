"""Volumes under non-linear transforms: whatever is clicked, drawn, undone or done again, it is what a session makes."""

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume, voxels
from sammed3d import Scribble, Session
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld, worldToVolume
from segmenters import Models, newSegmenter, settle

SHAPE = (40, 50, 30)
MOST = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
places = st.tuples(*[st.floats(0.1, 0.9) for _ in range(3)])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("click"), places, st.booleans()),
        st.tuples(st.just("draw"), places, places),
        st.tuples(st.just("undo")),
        st.tuples(st.just("redo")),
    ),
    min_size=2,
    max_size=5,
)
kinds = st.sampled_from(["bspline", "thin plate", "composite"])


def bent(scene, kind, seed):
    """A transform that bends by up to 12 mm and can be inverted, as registration makes them."""
    random = np.random.default_rng(seed)
    if kind == "composite":
        node, inner = bent(scene, "bspline", seed), bent(scene, "thin plate", seed + 1)
        node.SetAndObserveTransformNodeID(inner.GetID())
        return node
    if kind == "bspline":
        grid = vtk.vtkImageData()
        grid.SetDimensions(8, 8, 8)
        grid.SetOrigin(-200, -200, -200)
        grid.SetSpacing(70, 70, 70)
        grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
        for index in np.ndindex(8, 8, 8):
            for axis in range(3):
                grid.SetScalarComponentFromDouble(*index, axis, random.uniform(-12, 12))
        transform = slicer.vtkOrientedBSplineTransform()
        transform.SetCoefficientData(grid)
    else:
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for corner in np.ndindex(3, 3, 3):
            place = np.array(corner) * 120.0 - 120
            source.InsertNextPoint(place)
            target.InsertNextPoint(place + random.uniform(-8, 8, 3))
        transform = vtk.vtkThinPlateSplineTransform()
        transform.SetBasisToR()
        transform.SetSourceLandmarks(source)
        transform.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", kind)
    node.SetAndObserveTransformToParent(transform)
    return node


def made(scene, kind, seed, both):
    """A segmenter on a bent volume, with an empty segment; its segmentation is bent too, or straight."""
    scene.Clear(0)
    volume = addVolume(scene, phantom(SHAPE), OBLIQUE)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    transform = bent(scene, kind, seed)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    if both:
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    models = Models()
    segmenter, thread = newSegmenter(volume, segmentation, models)
    return segmenter, thread, segmentation.GetSegmentation().AddEmptySegment("", "liver")


def do(segmenter, segmentId, step):
    grid = volumeFromNode(segmenter.volumeNode).grid
    world = [tuple(grid.to_world(np.array(p) * SHAPE)) for p in step[1:] if isinstance(p, tuple)]
    if step[0] == "click":
        segmenter.click(segmentId, volumeToWorld(segmenter.volumeNode, world[0]), step[2])
    elif step[0] == "draw":
        segmenter.draw(segmentId, Scribble(tuple(world)))
    else:
        getattr(segmenter, step[0])(segmentId)
    settle(segmenter)


@given(kind=kinds, seed=st.integers(0, 99), place=places)
@MOST
def test_places_go_there_and_back(scene, kind, seed, place):
    segmenter, thread, _ = made(scene, kind, seed, True)
    local = tuple(volumeFromNode(segmenter.volumeNode).grid.to_world(np.array(place) * SHAPE))
    back = worldToVolume(segmenter.volumeNode, volumeToWorld(segmenter.volumeNode, local))
    thread.stop()
    assert np.linalg.norm(np.subtract(back, local)) < 0.05


@pytest.mark.slow
@given(kind=kinds, seed=st.integers(0, 99), what=steps)
@MOST
def test_a_segment_that_is_bent_with_its_volume_is_what_a_session_makes(scene, kind, seed, what):
    segmenter, thread, segmentId = made(scene, kind, seed, True)
    try:
        for step in [("click", (0.5, 0.5, 0.5), True), *what]:
            do(segmenter, segmentId, step)
            [prompts] = segmenter.objectPrompts([segmentId])
            session = Session(volumeFromNode(segmenter.volumeNode), Models()["default"])
            session.add_object("liver")
            session.set_prompts(prompts)
            assert np.array_equal(voxels(segmenter.segmentationNode, segmentId, SHAPE), session.mask())
    finally:
        segmenter.forgetScene()
        thread.stop()


@pytest.mark.slow
@given(kind=kinds, seed=st.integers(0, 99), what=steps)
@MOST
def test_undo_and_redo_bring_the_same_voxels_where_the_volume_alone_is_bent(scene, kind, seed, what):
    segmenter, thread, segmentId = made(scene, kind, seed, False)
    try:
        states = [digestOfSegment(segmenter.segmentationNode, segmentId)]
        for step in [("click", (0.5, 0.5, 0.5), True), *(s for s in what if s[0] in ("click", "draw"))]:
            do(segmenter, segmentId, step)
            states.append(digestOfSegment(segmenter.segmentationNode, segmentId))
        for expected in reversed(states[:-1]):
            do(segmenter, segmentId, ("undo",))
            assert digestOfSegment(segmenter.segmentationNode, segmentId) == expected
        for expected in states[1:]:
            do(segmenter, segmentId, ("redo",))
            assert digestOfSegment(segmenter.segmentationNode, segmentId) == expected
        assert not segmenter.canRedo(segmentId)
    finally:
        segmenter.forgetScene()
        thread.stop()
