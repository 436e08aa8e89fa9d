"""What a user drew holds: the rules of boxes and drawings once more, for one voxel at a time, on any grid."""

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import grids, make_affine
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.core.rasterisation import voxels_of
from sammed3d.errors import PromptError
from sammed3d.inference.constraints import agreement, honoured
from sammed3d.inference.inferer import PromptState

TOO_NEAR = 0.01
"""mm from a limit, nearer than which a voxel's centre may be on either side."""
NO_LIMIT = 1e7
"""mm: what somebody gives as the corners of a box that is to limit some axes alone."""
EDGES = 8
fractions = st.tuples(*[st.floats(-0.3, 1.3)] * 3)


def points_in(grid, places):
    """Places as fractions of a grid's extent, as world points."""
    return tuple(map(tuple, grid.to_world(np.array(places) * np.array(grid.shape) - 0.5).tolist()))


@st.composite
def drawings(draw, grid):
    places = draw(st.lists(fractions, min_size=1, max_size=5))
    painted, positive = draw(st.booleans()), draw(st.booleans())
    kind = draw(st.sampled_from([Scribble, Lasso]))
    try:
        return kind(points_in(grid, places), positive, painted)
    except PromptError:  # no loop
        assume(False)


@st.composite
def boxes(draw, grid):
    begin, end = (list(point) for point in points_in(grid, [draw(fractions), draw(fractions)]))
    for axis in range(3):
        kind = draw(st.sampled_from(["as drawn", "as drawn", "flat", "no limit"]))
        if kind == "flat":
            end[axis] = begin[axis]
        elif kind == "no limit":
            begin[axis], end[axis] = -NO_LIMIT, NO_LIMIT
    return BoxPrompt(tuple(begin), tuple(end))


@st.composite
def masks(draw, grid):
    """Nothing, everything, all from somewhere on, or some voxels."""
    kind = draw(st.sampled_from(["empty", "full", "block", "block", "some"]))
    if kind == "empty":
        return None
    array = np.zeros(grid.shape, np.uint8)
    if kind == "full":
        array[:] = 1
    elif kind == "block":
        array[tuple(slice(draw(st.integers(0, n - 1)), None) for n in grid.shape)] = 1
    else:
        array[:] = np.random.default_rng(draw(st.integers(0, 999))).random(grid.shape) < draw(st.floats(0.01, 0.9))
    return BoxedMask.of(array)


def literal_limits(box, state, grid):
    """Lowest and highest R, A, S: the box, as thick as a voxel at least, and what was asked for outside of it."""
    result = []
    for axis in range(3):
        extent = sum(abs(float(step)) for step in grid.index_to_world[axis, :3])
        low, high = min(box.begin[axis], box.end[axis]), max(box.begin[axis], box.end[axis])
        if high - low < extent:
            middle = (low + high) / 2
            low, high = middle - extent / 2, middle + extent / 2
        for click in state.clicks:
            if click.positive:
                low, high = min(low, click.world[axis]), max(high, click.world[axis])
        for drawing in state.drawings:
            for point in drawing.points if drawing.positive else ():
                low, high = min(low, point[axis]), max(high, point[axis])
        result.append((low, high))
    return result


def literal(mask, state, grid):
    """Return the mask (I, J, K) that is to come out, and where that can be told."""
    expected = np.zeros(grid.shape, np.uint8) if mask is None else mask.full(grid.shape)
    certain = np.ones(grid.shape, bool)
    if state.box is not None:
        limits = literal_limits(state.box, state, grid)
        for voxel in np.ndindex(grid.shape):
            away = [max(low - w, w - high) for (low, high), w in zip(limits, grid.to_world(voxel), strict=True)]
            certain[voxel] = abs(max(away)) > TOO_NEAR
            if max(away) > 0:
                expected[voxel] = 0
    for drawing in state.drawings:
        for voxel in voxels_of(drawing, grid).tolist():
            expected[tuple(voxel)] = drawing.positive
            certain[tuple(voxel)] = True
    return expected, certain


@given(grids(EDGES), st.data())
@settings(max_examples=200)
def test_a_mask_that_honours_its_prompts_is_what_the_rules_say_of_each_voxel(grid, data):
    mask = data.draw(masks(grid))
    box = data.draw(st.none() | boxes(grid))
    drawn = tuple(data.draw(st.lists(drawings(grid), max_size=2)))
    places = data.draw(st.lists(st.tuples(fractions, st.booleans()), max_size=2))
    clicks = tuple(Click(points_in(grid, [place])[0], positive) for place, positive in places)
    state = PromptState(clicks, box=box, drawings=drawn)
    before = None if mask is None else mask.digest
    found = honoured(mask, state, grid)
    expected, certain = literal(mask, state, grid)
    whole = np.zeros(grid.shape, np.uint8) if found is None else found.full(grid.shape)
    assert np.array_equal(whole[certain], expected[certain])
    if found is not None:
        assert found.digest == BoxedMask.of(whole).digest, "in the smallest box that holds it"
    assert before == (None if mask is None else mask.digest), "what was given is left as it was"
    again = honoured(found, state, grid)
    assert (again is None) == (found is None)
    assert found is None or again.digest == found.digest, "what agrees is left as it is"


@given(grids(EDGES), st.data())
def test_a_mask_agrees_with_a_voxel_that_it_has_on_the_side_that_is_asked_for(grid, data):
    mask, positive = data.draw(masks(grid)), data.draw(st.booleans())
    whole = np.zeros(grid.shape, np.uint8) if mask is None else mask.full(grid.shape)
    voxels = np.array(list(itertools.product(*(range(-1, n + 1) for n in grid.shape))))
    expected = []
    for voxel in voxels.tolist():
        inside = all(0 <= at < n for at, n in zip(voxel, grid.shape, strict=True)) and whole[tuple(voxel)] == 1
        expected.append(inside == positive)
    assert agreement(mask, voxels, positive).tolist() == expected
    assert agreement(mask, voxels[:0], positive).shape == (0,)


def test_a_box_that_limits_one_axis_alone_limits_it_as_closely_as_one_that_limits_all():
    grid = Grid((30, 20, 10), make_affine((2.0, 2.0, 2.0)))
    everything = BoxedMask.of(np.ones(grid.shape, np.uint8))
    for far in (1e2, 1e6, 1e9, 1e300):
        box = BoxPrompt((11.0, -far, -far), (21.0, far, far))
        found = honoured(everything, PromptState(box=box), grid).full(grid.shape)
        assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [6, 7, 8, 9, 10]
        assert found[6:11].all()
