"""Depths in a flat area and the ring round it, against distances between places in the world, on any plane."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import grids, make_affine
from sammed3d.core.drawings import plane_of
from sammed3d.core.geometry import Grid
from sammed3d.inference.flat_area import FlatArea

REACH = 9.0
SHARE = 0.02
"""By how much depths may differ, as a share: what is taken for a right angle may be so far from one."""
slopes = st.sampled_from([0.0, 0.0, 0.25, -0.4, 0.7, -0.9, 1.0])


@st.composite
def flat_voxels(draw, grid):
    """Voxels of a grid (N, 3) nearest to a plane, one in each of some lines of voxels along an axis."""
    axis = draw(st.integers(0, 2))
    across = [n for n in range(3) if n != axis]
    shape = [grid.shape[n] for n in across]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    pixels = np.argwhere(rng.random(shape) < draw(st.sampled_from([0.1, 0.6, 0.9, 1.0])))
    result = np.empty((len(pixels), 3), np.int64)
    result[:, across] = pixels
    tilt = np.array([draw(slopes), draw(slopes)])
    result[:, axis] = np.rint((grid.shape[axis] - 1) / 2 + (pixels - np.array(shape) // 2) @ tilt)
    return result[(result[:, axis] >= 0) & (result[:, axis] < grid.shape[axis])]


class Twin:
    """The same by places in the world: every line of voxels meets the plane somewhere."""

    def __init__(self, voxels, grid):
        self.grid = grid
        middle, normal, _ = plane_of(voxels.astype(float))
        self.axis = int(np.argmax(np.abs(normal)))
        self.across = [n for n in range(3) if n != self.axis]
        self.middle, self.normal = middle, normal
        self.pixels = {tuple(voxel[self.across]) for voxel in voxels.tolist() for voxel in [np.array(voxel)]}
        steps = [self.world(1, 0) - self.world(0, 0), self.world(0, 1) - self.world(0, 0)]
        self.spacing = [float(np.linalg.norm(step)) for step in steps]
        self.edge = [self.world(*pixel) for pixel in self.pixels if self.is_at_edge(*pixel)]

    def height(self, p, q):
        away = (np.array([p, q]) - self.middle[self.across]) @ self.normal[self.across]
        return float(self.middle[self.axis] - away / self.normal[self.axis])

    def world(self, p, q):
        index = np.empty(3)
        index[self.across] = p, q
        index[self.axis] = self.height(p, q)
        return self.grid.to_world(index)

    def is_at_edge(self, p, q):
        beside = [(p + a, q + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        return any(pixel not in self.pixels for pixel in beside)

    def to_edge(self, p, q):
        here = self.world(p, q)
        return min(float(np.linalg.norm(here - place)) for place in self.edge)

    def depth(self, voxel):
        return self.to_edge(*voxel[self.across]) + min(self.spacing) / 2

    def ring(self, nearest):
        """Return the voxels of the ring, and those of which rounding decides whether they belong to it."""
        certain, perhaps = set(), set()
        for p in range(self.grid.shape[self.across[0]]):
            for q in range(self.grid.shape[self.across[1]]):
                if (p, q) in self.pixels:
                    continue
                height = self.height(p, q) + 0.5
                voxel = np.empty(3, int)
                voxel[self.across], voxel[self.axis] = (p, q), np.floor(height)
                away = self.to_edge(p, q) - min(self.spacing) / 2
                low, high = nearest, nearest + 1.5 * max(self.spacing)
                slack = SHARE * (away + 1)
                if low - slack <= away < high + slack:
                    perhaps.add((*voxel.tolist(),))
                    near = abs(height - np.rint(height)) < 1e-4
                    if near:
                        voxel[self.axis] -= 1
                        perhaps.add((*voxel.tolist(),))
                    elif low + slack <= away < min(high - slack, REACH):
                        certain.add((*voxel.tolist(),))
        inside = [{v for v in some if all(0 <= at < n for at, n in zip(v, self.grid.shape, strict=True))}
                  for some in (certain, perhaps)]  # fmt: skip
        return inside[0], inside[1]


def check(voxels, grid, nearest):
    area, twin = FlatArea(voxels, grid, REACH), Twin(voxels, grid)
    assert np.array_equal(area.voxels, voxels)
    assert np.allclose(area.depths, [twin.depth(voxel) for voxel in voxels], rtol=SHARE, atol=1e-3)
    certain, perhaps = twin.ring(nearest)
    ring = {tuple(voxel) for voxel in area.ring(nearest).tolist()}
    assert len(ring) == len(area.ring(nearest)), "each once"
    assert certain <= ring <= perhaps


@given(grids(9), st.data(), st.sampled_from([0.5, 2.0, 5.0]))
@settings(max_examples=60)
def test_depths_and_ring_are_distances_in_the_world(grid, data, nearest):
    voxels = data.draw(flat_voxels(grid))
    assume(len(voxels))
    check(voxels, grid, nearest)


def test_on_a_plane_that_leans_two_ways_distances_are_those_in_the_plane():
    grid = Grid((13, 13, 25), make_affine((1.0, 1.0, 1.0)))
    pixels = np.argwhere(np.ones((9, 9), bool)) + 2
    check(np.column_stack([pixels, pixels.sum(axis=1)]), grid, 2.0)


def test_where_the_axes_of_an_image_are_no_right_angles_distances_are_in_mm_all_the_same():
    sheared = np.eye(4)
    sheared[0, 1] = 0.7
    grid = Grid((15, 15, 3), sheared)
    voxels = np.array([(i, j, 1) for i in range(3, 12) for j in range(3, 12)])
    check(voxels, grid, 2.0)
