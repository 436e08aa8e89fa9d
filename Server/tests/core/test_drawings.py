"""Drawings: what they refuse, their place among clicks, and the voxels that they mark."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import grids, make_affine
from sammed3d.core.drawings import Lasso, Scribble, moved_places
from sammed3d.core.geometry import Grid
from sammed3d.core.rasterisation import voxels_of
from sammed3d.errors import PromptError


def grid_of(shape=(20, 30, 10), spacing=(1.0, 1.0, 1.0), angles=(0, 0, 0)):
    return Grid(shape, make_affine(spacing, angles, (-5, 7, 3)))


def drawn(kind, grid, indices, **rest):
    """A drawing through voxel indices of a grid."""
    return kind(tuple(map(tuple, grid.to_world(np.array(indices, float)))), **rest)


@pytest.mark.parametrize("after", [-1, 1.5, True, None])
def test_a_place_is_a_number_of_clicks(after):
    with pytest.raises(PromptError, match="number of clicks"):
        Scribble(((0, 0, 0),), after=after)


def test_drawings_can_be_too_large():
    with pytest.raises(PromptError, match="10000 points, not 10001"):
        Scribble(((0.0, 0.0, 0.0),) * 10_001)
    assert len(Scribble(((0.0, 0.0, 0.0),) * 10_001, painted=True).points) == 10_001


def test_a_stroke_marks_every_voxel_that_it_passes_in_order():
    grid = grid_of()
    found = voxels_of(drawn(Scribble, grid, [(2, 3, 4), (8, 3, 4), (8, 6, 4)]), grid)
    assert found.tolist() == [[n, 3, 4] for n in range(2, 9)] + [[8, n, 4] for n in range(4, 7)]


def test_painted_voxels_are_taken_as_they_are():
    grid = grid_of()
    painted = [[9, 9, 9], [2, 3, 4], [2, 9, 4]]
    assert voxels_of(drawn(Scribble, grid, painted, painted=True), grid).tolist() == painted
    assert voxels_of(drawn(Lasso, grid, painted, painted=True), grid).tolist() == painted


@pytest.mark.parametrize("kind", [Scribble, Lasso])
def test_what_lies_outside_is_left_out(kind):
    grid = grid_of()
    loop = [(-1e7, -1e6, 4), (1e7, -1e6, 4), (1e7, 1e7, 4)]
    found = voxels_of(drawn(kind, grid, loop), grid)
    assert ((found >= 0) & (found < grid.shape)).all()
    assert len(voxels_of(drawn(kind, grid, [(-9, -9, 4), (-3, -9, 4), (-3, -5, 4)]), grid)) == 0


def test_lines_that_no_hand_draws_are_refused():
    grid = grid_of((2000, 2, 2))
    back_and_forth = [((0, 0, 0), (1999, 1, 1))[n % 2] for n in range(2000)]
    with pytest.raises(PromptError, match="too long"):
        voxels_of(drawn(Scribble, grid, back_and_forth), grid)


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.5, 0.2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_loop_marks_what_it_encloses_on_its_slice_alone(axis, angles):
    """A circle drawn on a slice of a grid in any position: the pixels whose centres are nearer than its radius."""
    grid = grid_of((30, 30, 30), (0.7, 1.3, 3.0), angles)
    across = [n for n in range(3) if n != axis]
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    loop = np.full((200, 3), 12.0)
    loop[:, across[0]], loop[:, across[1]] = 14 + 7.3 * np.cos(turn), 15 + 7.3 * np.sin(turn)
    found = voxels_of(drawn(Lasso, grid, loop), grid)
    index = np.stack(np.indices(grid.shape), -1)
    distance = np.hypot(index[..., across[0]] - 14, index[..., across[1]] - 15)
    expected = (distance < 7.3) & (index[..., axis] == 12)
    mask = np.zeros(grid.shape, bool)
    mask[tuple(found.T)] = True
    assert np.array_equal(mask, expected)


def test_a_loop_that_runs_on_over_its_start_encloses_the_same():
    grid = grid_of()
    square = [(2, 2, 4), (9, 2, 4), (9, 9, 4), (2, 9, 4)]
    once, twice = (voxels_of(drawn(Lasso, grid, loop), grid) for loop in (square, square + square[:3]))
    assert len(once) == 49
    assert set(map(tuple, once)) <= set(map(tuple, twice))


def test_a_loop_smaller_than_a_voxel_marks_that_voxel():
    grid = grid_of()
    tiny = [(4.1, 5.1, 6), (4.3, 5.1, 6), (4.3, 5.3, 6)]
    assert voxels_of(drawn(Lasso, grid, tiny), grid).tolist() == [[4, 5, 6]]


def test_a_loop_halfway_between_slices_goes_to_one_of_them():
    grid = grid_of(angles=(0.4, 0.2, -0.3))
    loop = [(2, 2, 4.5), (15, 2, 4.5), (15, 25, 4.5), (2, 25, 4.5)]
    assert set(voxels_of(drawn(Lasso, grid, loop), grid)[:, 2]) == {4}


@settings(max_examples=60, deadline=None)
@given(grids(12), st.lists(st.tuples(*[st.floats(-4, 15)] * 3), min_size=1, max_size=6))
def test_the_voxels_of_a_stroke_touch_it_and_are_inside_the_grid(grid, indices):
    found = voxels_of(drawn(Scribble, grid, indices), grid)
    assert len(np.unique(found, axis=0)) == len(found)
    assert ((found >= 0) & (found < grid.shape)).all()
    points = np.array(indices)
    share = np.linspace(0, 1, 201)[:, None]
    line = np.concatenate([points[:1]] + [a + share * (b - a) for a, b in itertools.pairwise(points)])
    for voxel in found:
        assert np.abs(line - voxel).max(axis=1).min() < 0.6
    inside = np.all((line > -0.45) & (line < np.array(grid.shape) - 0.55), axis=1)
    marked = set(map(tuple, found))
    for place in line[inside]:
        near = np.floor(place + 0.5).astype(int)
        assert any(tuple(near + step) in marked for step in np.stack(np.indices((3, 3, 3)), -1).reshape(-1, 3) - 1)


def test_drawings_keep_their_place_when_clicks_go_and_come():
    drawings = tuple(Scribble(((0, 0, 0),), after=n) for n in range(5))

    def places(before, after):
        return [d.after for d in moved_places(drawings, before, after)]

    assert places("abcd", "abcde") == [0, 1, 2, 3, 4], "one more at the end"
    assert places("abcd", "acd") == [0, 1, 1, 2, 3], "one less"
    assert places("abcd", "axcd") == [0, 1, 2, 3, 4], "one moved"
    assert places("abcd", "") == [0, 0, 0, 0, 0]
    assert places("abcd", "xyzw") == [0, 1, 2, 3, 4]
    assert places("abcd", "cde") == [0, 0, 0, 1, 2], "less in front, and one more"
    assert places("abcd", "axcde") == [0, 1, 2, 3, 4], "one moved, and one more"


@given(st.permutations("abcdef").map("".join), st.sets(st.sampled_from("abcdef")), st.integers(0, 3))
def test_a_drawing_stays_between_the_clicks_that_it_was_made_between(before, gone, more):
    after = "".join(click for click in before if click not in gone) + "xyz"[:more]
    drawings = tuple(Scribble(((0, 0, 0),), after=n) for n in range(len(before) + 1))
    for drawing, moved in zip(drawings, moved_places(drawings, before, after), strict=True):
        assert set(after[: moved.after]) - set("xyz") == set(before[: drawing.after]) - gone
