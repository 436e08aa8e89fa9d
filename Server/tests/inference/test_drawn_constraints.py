"""What somebody drew holds, whatever the model says: strokes, loops, boxes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drawn import BOX, PRESET, marks, session_of
from helpers import make_affine, phantom, small_volume
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.core.rasterisation import voxels_of
from sammed3d.errors import PromptError
from sammed3d.files.volume import Volume
from sammed3d.inference.constraints import honoured
from sammed3d.inference.flat_area import FlatArea
from sammed3d.inference.inferer import PromptState


def test_a_positive_click_outside_the_box_widens_it():
    session = session_of(threshold=-1000.0)
    session.set_box(*BOX)
    session.click((105.0, 75.0, 45.0))
    world = session.volume.grid.to_world(np.argwhere(session.mask()))
    assert 90.0 < world[:, 0].max() <= 105.0 + 1e-6


def test_a_box_as_thin_as_a_stroke_holds_the_slice_that_it_was_drawn_on():
    session = session_of(threshold=-1000.0)
    session.set_box((30.0, 45.0, 45.5), (90.0, 105.0, 45.5))
    assert set(np.argwhere(session.mask())[:, 2]) == {15}


def test_the_newer_of_two_drawings_holds_where_they_cross():
    session = session_of(threshold=1000.0)
    session.scribble(((30.0, 75.0, 45.0), (90.0, 75.0, 45.0)))
    session.scribble(((60.0, 45.0, 45.0), (60.0, 105.0, 45.0)), positive=False)
    first, second = session.current.drawings
    assert not marks(session, second).any()
    assert marks(session, first).sum() == len(marks(session, first)) - 1
    session.undo()
    assert marks(session, first).all()


angles = st.tuples(*[st.floats(-0.7, 0.7)] * 3)


voxel_sizes = st.tuples(*[st.sampled_from([0.8, 1.5, 3.0, 5.0])] * 3)


fractions = st.tuples(*[st.floats(-0.2, 1.2)] * 3)


@st.composite
def volumes(draw):
    """Oblique, anisotropic, one voxel thick."""
    shape = [draw(st.sampled_from([9, 24])) for _ in range(3)]
    shape[draw(st.integers(0, 2))] = draw(st.sampled_from([1, 2, 17]))
    affine = make_affine(draw(voxel_sizes), draw(angles), draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    return Volume((phantom(shape) + np.indices(shape).sum(axis=0) % 3 + 1).astype(np.int16), Grid(tuple(shape), affine))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(volumes(), st.lists(fractions, min_size=3, max_size=6), st.sampled_from([Scribble, Lasso]), st.booleans(),
       st.integers(0, 2))  # fmt: skip
@pytest.mark.slow
def test_what_is_drawn_holds_on_every_grid_and_what_lies_outside_is_refused(volume, places, kind, positive, axis):
    index = np.array(places) * (np.array(volume.grid.shape) - 1)
    if kind is Lasso:
        index[:, axis] = (volume.grid.shape[axis] - 1) // 2
    points = volume.grid.to_world(index)
    session = session_of(volume, 200.0, replace(PRESET, normalisation="none"))
    try:
        drawing = kind(tuple(map(tuple, points)), positive)
    except PromptError:  # a loop on one line
        return
    if not len(voxels_of(drawing, volume.grid)):
        with pytest.raises(PromptError, match="outside"):
            session.draw(drawing)
        assert session.objects == []
        return
    session.draw(drawing)
    assert (marks(session, session.current.drawings[0]) == positive).all()
    assert len(marks(session, session.current.drawings[0]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(volumes(), fractions, fractions)
def test_boxes_are_not_left_on_any_grid(volume, begin, end):
    last = np.array(volume.grid.shape) - 1
    corners = volume.grid.to_world(np.array([begin, end]) * last)
    session = session_of(volume, -1e6, replace(PRESET, normalisation="none"))
    if not volume.grid.contains(corners.mean(axis=0)):
        with pytest.raises(PromptError, match="outside"):
            session.set_box(*corners)
        return
    session.set_box(*corners)
    world = volume.grid.to_world(np.argwhere(session.mask()))
    half = np.abs(volume.grid.index_to_world[:3, :3]).sum(axis=1) / 2
    low, high = corners.min(axis=0), corners.max(axis=0)
    thin = high - low < 2 * half
    assert (world >= np.where(thin, (low + high) / 2 - half, low) - 1e-3).all()
    assert (world <= np.where(thin, (low + high) / 2 + half, high) + 1e-3).all()


def test_nothing_is_honoured_where_the_image_was_exchanged_under_it():
    state = PromptState(
        (), None, None, "m", (Scribble(((1e4, 1e4, 1e4),)), Lasso(((1e4, 0, 0), (1e4, 9, 0), (1e4, 9, 9))))
    )
    grid = small_volume().grid
    assert honoured(None, state, grid) is None


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_the_depth_of_a_flat_area_is_measured_in_its_plane(angle):
    grid = Grid((60, 60, 20), make_affine((1.0, 1.0, 4.0), (0, angle, 0)))
    turn = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.stack([30 + 15 * np.cos(turn), 30 + 15 * np.sin(turn), np.full(100, 40.0)], axis=1)
    circle[:, 2] -= (circle[:, 0] - 30) * np.tan(angle)  # level in the world
    voxels = voxels_of(Lasso(tuple(map(tuple, grid.to_world(circle / (1, 1, 4))))), grid)
    area = FlatArea(voxels, grid, 10.0)
    long_axis = 15 / np.cos(angle)
    assert 14 < area.depths.max() < long_axis + 1
    deepest = voxels[area.depths.argmax()]
    assert np.abs(deepest[:2] - 30).max() <= 2
    ring = area.ring(5.0)
    distance = np.hypot(*(ring[:, :2] - 30).T)
    assert len(ring) > 20
    assert distance.min() > 17
    assert distance.max() < 25
