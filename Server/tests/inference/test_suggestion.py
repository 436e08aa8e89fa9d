"""Where to click next, against the slow and literal reading of its rules."""

import itertools

import numpy as np
import pytest

from sammed3d.core.geometry import Box, Grid
from sammed3d.inference.suggestion import suggestion_from
from sammed3d.inference.uncertainty import Uncertainty

BOX = Box((3, 2, 4), (15, 13, 14))


def grid_of(rng):
    """A grid of some spacing and axes."""
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = axes.T * rng.uniform(0.8, 3.5, 3)
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return Grid((20, 20, 20), affine)


def smooth(rng):
    """A probability with regions of doubt, some thick and some thin."""
    field = rng.normal(size=BOX.shape)
    for axis in range(3):
        for _ in range(2):
            field = (np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)) / 4
    return 1 / (1 + np.exp(-field * rng.uniform(2, 40)))


def regions(voxels):
    """Connected parts of a set of voxels, across edges and corners too."""
    left, found = set(voxels), []
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    while left:
        part, ahead = set(), [left.pop()]
        while ahead:
            i, j, k = at = ahead.pop()
            part.add(at)
            near = {(i + a, j + b, k + c) for a, b, c in steps} & left
            left -= near
            ahead += near
        found.append(part)
    return found


def literal(uncertainty, grid, known):
    entropy, begin = uncertainty.entropy, np.array(BOX.begin)
    world = {at: grid.to_world(np.array(at) + begin) for at in np.ndindex(*BOX.shape)}
    doubtful = [
        at
        for at in np.ndindex(*BOX.shape)
        if entropy[at] > 0.5 and all(np.linalg.norm(world[at] - place) > 6 for place in known)
    ]
    if not doubtful:
        return None
    ends = [range(-1, n + 1) for n in BOX.shape]
    sure = np.array(sorted(set(itertools.product(*ends)) - set(doubtful))) * grid.spacing
    depth = {at: np.linalg.norm(sure - np.multiply(at, grid.spacing), axis=1).min() for at in doubtful}
    thick = [at for at in doubtful if depth[at] > 3] or doubtful
    best = max(regions(thick), key=lambda part: sum(float(entropy[at]) for at in part))
    most = max(depth[at] for at in best)
    deepest = np.array(sorted(at for at in best if depth[at] >= most - 1e-4))
    away = np.linalg.norm(deepest - deepest.mean(axis=0), axis=1)
    middles = [tuple(at) for at in deepest[away <= away.min() + 1e-6].tolist()]  # several where it is a tie
    [whole] = [part for part in regions(doubtful) if middles[0] in part]
    places = {at: (world[at], float(uncertainty.probability[at])) for at in middles}
    return places, len(whole) * np.prod(grid.spacing) / 1000


@pytest.mark.parametrize("seed", range(8))
def test_the_next_place_is_the_deepest_of_the_largest_doubtful_region(seed):
    rng = np.random.default_rng(seed)
    grid, probability = grid_of(rng), smooth(rng)
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    entropy = (-(p * np.log2(p) + (1 - p) * np.log2(1 - p))).astype(np.float32)
    uncertainty = Uncertainty(BOX, probability.astype(np.float32), np.zeros(BOX.shape, np.float32), entropy)
    known = [tuple(grid.to_world(rng.uniform(3, 13, 3)).tolist())]  # a click lies between voxels
    for _ in range(3):  # what was suggested is skipped the next time
        expected, found = literal(uncertainty, grid, known), suggestion_from(uncertainty, grid, known)
        if expected is None:
            assert found is None
            return
        places, millilitres = expected
        at = tuple(np.rint(grid.to_index(found.world) - BOX.begin).astype(int).tolist())
        assert at in places
        world, inside = places[at]
        assert np.allclose(found.world, world)
        assert found.probability == pytest.approx(inside)
        assert found.looks_inside == (inside > 0.5)
        assert found.millilitres == pytest.approx(millilitres)
        known.append(found.world)


def test_near_what_is_known_everywhere_nothing_is_suggested():
    grid = Grid((20, 20, 20), np.diag([1.0, 1.0, 1.0, 1.0]))
    unsure = np.zeros(BOX.shape, np.float32)
    unsure[4:7, 4:7, 4:7] = 1
    uncertainty = Uncertainty(BOX, unsure / 2, unsure, unsure)
    middle = tuple(np.add(BOX.begin, 5).astype(float))
    assert suggestion_from(uncertainty, grid).world == middle
    assert suggestion_from(uncertainty, grid, [middle]) is None
    far = (middle[0] + 8.5, middle[1], middle[2])
    assert suggestion_from(uncertainty, grid, [far]) is not None
