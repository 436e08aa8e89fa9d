"""Rules of further patches, of given masks and of what moved, each by itself, where it begins and where it ends."""

import numpy as np
import pytest

from helpers import make_affine
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.compositing import Layer
from sammed3d.inference.following import Exit, is_believed, still_open
from sammed3d.inference.kept_detail import unchanged_kept
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.motion import _likeness
from sammed3d.inference.predictor import PatchClick
from sammed3d.inference.windows import Windows

EDGE = 64
SMALL = Box((100, 100, 100), (164, 164, 164))
WIDE = Box((68, 68, 68), (196, 196, 196))
"""The same middle, twice the edge."""
INNER = slice(9, 23)
"""Low-res voxels of a window that lie in its inner part: 32 of them are 64 samples, and 16 samples fade."""


@pytest.fixture
def windows():
    return Windows(Lattice(Grid((300, 300, 300), make_affine((1.5, 1.5, 1.5))), (1.5, 1.5, 1.5)), (EDGE,) * 3)


def answer(*blocks):
    logits = np.full((32, 32, 32), -5.0, np.float32)
    for block in blocks:
        logits[block] = 5.0
    return logits


@pytest.mark.parametrize(("outside", "is_open"), [(10, True), (9, False)])
def test_an_exit_is_open_where_a_third_of_it_was_not_looked_at(windows, outside, is_open):
    there, away = np.full((30 - outside, 3), 130.0), np.full((outside, 3), 250.0)
    found = still_open(windows, Exit(WIDE, np.concatenate([there, away])), [SMALL])
    assert (found is not None) == is_open
    if found is not None:
        assert len(found.samples) == outside


SEEN = answer((slice(12, 16), INNER, INNER))
MUCH_MORE = answer((INNER, INNER, INNER))
"""More than twice of what was there."""


@pytest.mark.parametrize(("clicked", "believed"), [(False, False), (True, True)])
def test_much_more_is_believed_after_a_click_alone(windows, clicked, believed):
    assert is_believed(windows, SMALL, SEEN, SEEN, [SMALL], clicked)
    assert is_believed(windows, SMALL, SEEN, MUCH_MORE, [SMALL], clicked) == believed


def test_what_a_smaller_window_left_outside_is_no_reason_against_a_wide_one(windows):
    """Patches find too little, and a wide one is looked at for that; one as wide would be a reason."""
    seen, more = answer((slice(14, 16), slice(13, 19), slice(13, 19))), answer((slice(13, 19),) * 3)
    long = answer((slice(13, 19),) * 3, (slice(1, 31), 15, 15))
    assert is_believed(windows, WIDE, seen, np.maximum(more, long), [SMALL])
    assert not is_believed(windows, WIDE, seen, np.maximum(more, long), [WIDE])


@pytest.mark.parametrize(("positive", "value"), [(True, 1), (False, 0)])
def test_a_click_that_the_mask_agrees_with_changes_no_voxel(windows, positive, value):
    """A mask finer than logits: its rough voxels stay where it is right at the click already."""
    grid = windows.lattice.source
    mask = np.zeros(grid.shape, np.uint8)
    mask[100:164, 100:164, 100:164] = value
    mask[20:40, 20:40, 20:40] = 1
    before = BoxedMask.of(mask)
    said = answer((slice(None),) * 3) if positive else answer()
    layer = Layer(SMALL, said, windows.fading(SMALL))
    painted = BoxedMask.of(np.ones(grid.shape, np.uint8) - mask)
    kept = unchanged_kept(windows, layer, [PatchClick((32, 32, 32), positive)], before, painted)
    assert np.array_equal(kept.full(grid.shape), mask)


def test_where_too_little_of_the_neighbourhood_is_in_the_image_nothing_is_alike():
    rng = np.random.default_rng(0)
    grey = rng.normal(size=(16, 16, 16))
    counts = np.zeros(grey.shape, bool)
    counts[4:12, 4:12, 4:12] = True
    for end, alike in ((11, True), (9, False)):  # seven eighths of it, and five
        seen = np.zeros(grey.shape, bool)
        seen[:end] = True
        still = float(_likeness(grey, counts, grey, seen, (2, 2, 2))[2, 2, 2])
        assert still == pytest.approx(1.0 if alike else -1.0)
