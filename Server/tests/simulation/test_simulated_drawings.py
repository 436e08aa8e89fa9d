"""The simulated user who draws: where, how exactly, and how long it takes."""

import numpy as np
import pytest

from helpers import make_affine
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import BoxPrompt
from sammed3d.core.rasterisation import voxels_of
from sammed3d.evaluation.metrics import dice
from sammed3d.simulation.drawings import box_for, clicks_in, lasso_for, scribble_for, seconds_of


@pytest.fixture
def grid():
    """Slices are across K."""
    return Grid((60, 50, 12), make_affine((1.0, 1.2, 4.0), (0.2, 0.1, -0.3), (5, 6, 7)))


@pytest.fixture
def banana(grid):
    """A bent object along I."""
    i, j, k = np.indices(grid.shape)
    return ((np.abs(j - 20 - (i - 30) ** 2 / 60) < 5) & (np.abs(i - 30) < 22) & (np.abs(k - 6) < 3)).astype(np.uint8)


def rng():
    return np.random.RandomState(0)


def test_a_stroke_follows_the_middle_of_what_is_missing(grid, banana):
    stroke = scribble_for(np.zeros_like(banana), banana, grid)
    assert stroke.positive
    voxels = voxels_of(stroke, grid)
    assert banana[tuple(voxels.T)].all()
    assert len(set(voxels[:, 2])) == 1
    assert 25 < np.ptp(voxels[:, 0]) < 35, "most of the length, not up to the edge"
    assert np.abs(voxels[:, 1] - 20 - (voxels[:, 0] - 30) ** 2 / 60).max() < 3


def test_where_there_is_too_much_strokes_and_loops_are_negative(grid, banana):
    surplus = banana.copy()
    surplus[:10, 40:, 2:9] = 1
    for drawing in (scribble_for(surplus, banana, grid), lasso_for(surplus, banana, grid, rng())):
        assert not drawing.positive
        assert (voxels_of(drawing, grid)[:, 1] >= 38).all()


def test_a_loop_follows_the_edge_with_a_hand_that_is_not_exact(grid, banana):
    loop = lasso_for(np.zeros_like(banana), banana, grid, rng())
    drawn = np.zeros_like(banana)
    voxels = voxels_of(loop, grid)
    drawn[tuple(voxels.T)] = 1
    level = voxels[0, 2]
    found = dice(drawn[:, :, level], banana[:, :, level])
    assert 0.85 < found < 1
    assert not drawn[:, :, :level].any()
    again = lasso_for(np.zeros_like(banana), banana, grid, rng())
    assert again == loop, "the same random numbers draw the same"


def test_a_box_holds_the_structure_and_little_more(grid, banana):
    box = box_for(banana, grid, rng())
    world = grid.to_world(np.argwhere(banana))
    assert (box.corners.min(axis=0) <= world.min(axis=0)).all()
    assert (box.corners.max(axis=0) >= world.max(axis=0)).all()
    assert np.abs(box.corners.min(axis=0) - world.min(axis=0)).max() < 12


def test_nothing_is_drawn_where_nothing_is_wrong(grid, banana):
    assert scribble_for(banana, banana, grid) is None
    assert lasso_for(banana, banana, grid, rng()) is None


def test_drawing_takes_time():
    assert seconds_of(Scribble(((0, 0, 0), (100, 0, 0)))) == pytest.approx(2.4 + 2)
    assert seconds_of(Lasso(((0, 0, 0), (50, 0, 0), (50, 50, 0), (0, 50, 0)))) == pytest.approx(2.4 + 8)
    assert seconds_of(BoxPrompt((0, 0, 0), (1, 1, 1))) == pytest.approx(9.6)
    assert [clicks_in(s) for s in (0.1, 2.4, 3.7, 9.6)] == [1, 1, 2, 4]
