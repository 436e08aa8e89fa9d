"""Clicks of SAM-Med3D's training and validation against transcriptions of their rules, draw by draw."""

import numpy as np
import pytest

from sammed3d.simulation.clicks import random_click, ritm_click

SHAPE = (9, 8, 10)


def box(*slices):
    mask = np.zeros(SHAPE, bool)
    mask[slices] = True
    return mask


TRUTH = box(slice(0, 6), slice(0, 7), slice(2, 8))  # touches two faces: outside of the patch is no object
CASES = {
    "nothing found yet": (box(), TRUTH),
    "something is missing, less is too much": (box(slice(3, 7), slice(0, 7), slice(2, 8)), TRUTH),
    "all of another place": (box(slice(7, 9), slice(0, 8), slice(0, 10)), box(slice(0, 1), slice(0, 3), slice(0, 3))),
    "both as deep": (box(slice(5, 9), slice(0, 4), slice(0, 4)), box(slice(0, 4), slice(4, 8), slice(0, 4))),
}


def depths(error):
    """Distance of each voxel to the nearest one that is no error, a layer round the patch included."""
    padded = np.pad(error, 1)
    nothing = np.argwhere(~padded)
    result = np.zeros(padded.shape)
    for voxel in np.argwhere(padded):
        result[tuple(voxel)] = np.sqrt(((nothing - voxel) ** 2).sum(1).min())
    return result[1:-1, 1:-1, 1:-1]


def by_ritm(predicted, truth, rng):
    missing, surplus = depths(truth & ~predicted), depths(predicted & ~truth)
    is_positive = missing.max() > surplus.max()
    depth = missing if is_positive else surplus
    candidates = np.argwhere(depth > depth.max() / 2)
    return tuple(candidates[rng.randint(len(candidates))].tolist()), bool(is_positive)


def at_random(predicted, truth, rng):
    missing, surplus = truth & ~predicted, predicted & ~truth
    candidates = np.argwhere(missing | surplus)
    voxel = tuple(candidates[rng.randint(len(candidates))].tolist())
    return voxel, bool(missing[voxel])


@pytest.mark.parametrize(("ours", "published"), [(random_click, at_random), (ritm_click, by_ritm)])
@pytest.mark.parametrize("case", CASES)
def test_clicks_are_the_published_ones(case, ours, published):
    predicted, truth = CASES[case]
    one, other = np.random.RandomState(7), np.random.RandomState(7)
    drawn = [ours(predicted, truth, one) for _ in range(12)]
    assert drawn == [published(predicted, truth, other) for _ in range(12)]
    assert len(set(drawn)) > 3
    assert one.randint(1000) == other.randint(1000), "as many random numbers were drawn"
