import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import io_orientation

from helpers import grids, make_affine
from sammed3d.core.geometry import Box, Grid, canonical_axes, sides_towards, voxel_offset
from sammed3d.errors import VolumeError


@given(grids(), st.tuples(*[st.floats(-100, 200)] * 3))
def test_world_to_index_to_world_is_identity(grid, index):
    world = grid.to_world(index)
    assert np.abs(grid.to_world(grid.to_index(world)) - world).max() < 1e-6


@given(grids())
def test_every_corner_voxel_is_inside_and_half_a_voxel_more_is_not(grid):
    for corner in grid.corners():
        assert grid.contains(corner)
    beyond = np.array(grid.shape) - 0.4
    assert not grid.contains(grid.to_world(beyond))
    assert grid.contains(grid.to_world(beyond - 0.2))


@given(grids())
def test_canonical_axes_are_those_of_nibabel(grid):
    axes = canonical_axes(grid.index_to_world)
    expected = io_orientation(grid.index_to_world)
    for image_axis, (world_axis, direction) in enumerate(expected):
        assert axes.source[int(world_axis)] == image_axis
        assert axes.flipped[int(world_axis)] == (direction < 0)


@given(grids())
def test_applying_and_undoing_an_axis_map_gives_the_array_back(grid):
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    axes = canonical_axes(grid.index_to_world)
    assert np.array_equal(axes.undo(axes.apply(array)), array)


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 5, 5), np.eye(4)),
        ((5, 5), np.eye(4)),
        ((5, 5, 5), np.zeros((4, 4))),
        ((5, 5, 5), np.diag([1, 1, np.nan, 1])),
        ((5, 5, 5), np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
    ],
)
def test_impossible_grids_are_refused(shape, affine):
    with pytest.raises(VolumeError):
        Grid(shape, affine)


def test_matching_grids_agree_in_shape_and_place():
    grid = Grid((4, 5, 6), make_affine((1, 2, 3), (0.1, 0, 0.2), (5, 6, 7)))
    assert grid.matches(Grid((4, 5, 6), grid.index_to_world + 1e-6 * np.eye(4)[[0, 1, 2, 0]] * [[1], [1], [1], [0]]))
    assert not grid.matches(Grid((4, 5, 7), grid.index_to_world))
    assert not grid.matches(grid.window((0, 0, 1), (4, 5, 6)))


def test_box_around_a_mask_is_tight():
    mask = np.zeros((6, 7, 8), np.uint8)
    assert Box.around(mask) is None
    mask[2, 3:5, 7] = 1
    assert Box.around(mask) == Box((2, 3, 7), (3, 5, 8))


def test_box_arithmetic():
    a, b = Box((0, 0, 0), (4, 4, 4)), Box((2, 3, 1), (6, 5, 3))
    assert a.union(b) == Box((0, 0, 0), (6, 5, 4))
    assert a.intersection(b) == Box((2, 3, 1), (4, 4, 3))
    assert a.intersection(Box((4, 0, 0), (5, 1, 1))) is None
    assert Box((2, 3, 1), (4, 4, 3)).within(b) == (slice(0, 2), slice(0, 1), slice(0, 2))
    assert a.shifted((1, 0, -1)) == Box((1, 0, -1), (5, 4, 3))
    assert a.grown(1) == Box((-1, -1, -1), (5, 5, 5))


@pytest.mark.parametrize(
    ("direction", "side"),
    [
        ((1, 0, 0), "R"),
        ((-2, 0, 0), "L"),
        ((0, 1, 0), "A"),
        ((0, -1, 0.1), "P"),
        ((0, 0, 3), "S"),
        ((0.1, 0, -1), "I"),
        ((0.5, -0.8, 0), "PR"),
        ((-0.6, 0.5, 0.4), "LAS"),
    ],
)
def test_a_direction_is_named_by_the_sides_it_points_to(direction, side):
    assert sides_towards(direction) == side


@pytest.mark.parametrize(("change", "shared"), [(0.009, True), (0.02, False)])
def test_grids_share_their_voxels_within_a_hundredth_of_one(change, shared):
    target = make_affine((0.8, 1.2, 2.5), (0.3, -0.2, 0.1), (5, 6, 7))
    source = target.copy()
    source[:3, 3] = (target @ [4 + change, -2, 7, 1])[:3]
    assert voxel_offset(source, target) == ((4, -2, 7) if shared else None)


@pytest.mark.parametrize(("wider", "shared"), [(5e-6, True), (5e-5, False)])
def test_grids_of_slightly_other_voxels_drift_apart_over_a_thousand(wider, shared):
    target = make_affine((0.8, 1.2, 2.5), (0.3, -0.2, 0.1), (5, 6, 7))
    source = target @ np.diag([1 + wider, 1, 1, 1])
    assert (voxel_offset(source, target) is not None) == shared
