"""How far an object moved between two frames: found where it can be, none where nothing moved or nothing is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from helpers import make_affine
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume
from sammed3d.inference import motion
from sammed3d.inference.motion import Neighbourhood, moved

GRIDS = {
    "even": Grid((60, 64, 56), make_affine((2.5, 2.5, 2.5))),
    "fine": Grid((110, 110, 50), make_affine((1.2, 1.2, 3.0), (0.2, 0.1, -0.3), (5, 6, 7))),
    "thick slices": Grid((90, 90, 24), make_affine((1.4, 1.4, 6.0))),
}


@pytest.fixture(scope="module", params=list(GRIDS))
def grid(request):
    return GRIDS[request.param]


def distance(grid, middle, spread=(1, 1, 1)):
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    return np.linalg.norm((index - middle) * grid.spacing / spread, axis=-1)


def scene(grid, shift=(0, 0, 0), seed=0, radius=14.0, gain=1.0, swell=1.0):
    """An organ in front of a texture that stands still, moved by voxels, with noise of its own; and its mask."""
    texture = ndimage.gaussian_filter(np.random.default_rng(99).standard_normal(grid.shape), 3) * 300
    middle = (np.array(grid.shape) - 1) / 2 + shift
    inside = distance(grid, middle, (1.0, 0.8, 1.2)) < radius * swell
    image = np.where(inside, 200 * gain, texture) + np.random.default_rng(seed).normal(0, 15, grid.shape)
    return Volume(image.astype(np.float32), grid), BoxedMask.of(inside)


def shift_between(first, second):
    (volume, mask), (other, _) = first, second
    found = Neighbourhood.of(volume, mask).found_in(other)
    return None if found is None else found.shift


def voxels_of(grid, mm):
    return np.rint(np.array(mm) / grid.spacing)


@pytest.mark.parametrize("mm", [(12, 0, 0), (-6, 9, 12), (5, -18, -6)])
def test_a_shift_is_found_to_a_fraction_of_a_sample_in_whatever_voxels(grid, mm):
    wanted = voxels_of(grid, mm)
    found = shift_between(scene(grid), scene(grid, wanted, seed=1))
    assert (np.abs(found - wanted) * grid.spacing <= np.maximum(0.9, np.array(grid.spacing) / 3)).all()


def test_what_stands_still_has_no_shift_at_all_whatever_the_noise(grid):
    for seed in (1, 2):
        assert not shift_between(scene(grid), scene(grid, seed=seed)).any()
    assert not shift_between(scene(grid), scene(grid, seed=1, gain=1.2)).any(), "brighter by then"
    assert not shift_between(scene(grid), scene(grid, seed=1, swell=1.1)).any(), "larger by then"


def test_what_is_not_found_again_is_said():
    grid = GRIDS["even"]
    first = scene(grid)
    noise = Volume(np.random.default_rng(5).normal(0, 100, grid.shape).astype(np.float32), grid)
    assert shift_between(first, (noise, None)) is None
    assert shift_between(first, (replace(first[0], array=-first[0].array), None)) is None, "its grey values turned"
    assert shift_between(first, scene(grid, voxels_of(grid, (55, 0, 0)), seed=1)) is None, "too far away"
    flat = np.zeros(grid.shape, np.float32)
    flat[0, 0, 0] = 1
    assert shift_between(first, (Volume(flat, grid), None)) is None, "nothing there"
    assert shift_between((Volume(flat, grid), first[1]), first) is None, "nothing was there"


def test_another_shape_shows_at_the_edge_and_noise_and_a_shift_do_not(grid):
    volume, mask = scene(grid, radius=20.0)
    looked = Neighbourhood.of(volume, mask)
    for same in (scene(grid, seed=1, radius=20.0), scene(grid, voxels_of(grid, (6, -3, 6)), seed=2, radius=20.0)):
        assert looked.found_in(same[0]).changed < 0.25
    for swell in (0.8, 1.2):
        assert looked.found_in(scene(grid, seed=1, radius=20.0, swell=swell)[0]).changed > 0.25


def test_it_is_looked_for_as_far_as_it_is_large_and_no_farther_than_30_mm():
    grid = GRIDS["even"]
    for radius, reach in ((4.0, 10.0), (8.0, 17.5), (16.0, 30.0), (22.0, 30.0)):
        looked = Neighbourhood.of(*scene(grid, radius=radius))
        assert tuple(looked.reach) == (int(np.ceil(reach / 2.5)),) * 3


def test_an_object_at_the_end_of_the_image_is_found_also_where_some_of_it_leaves():
    grid = GRIDS["even"]
    near = voxels_of(grid, (0, 0, 70 - 22.5))
    wanted = near + np.array([0, 0, 4])
    assert np.allclose(shift_between(scene(grid, near), scene(grid, wanted, seed=1)), [0, 0, 4], atol=0.34)


def test_a_large_object_in_a_fine_image_is_looked_at_in_as_few_samples():
    grid = Grid((100, 100, 80), make_affine((2.5, 2.5, 2.5)))
    looked = Neighbourhood.of(*scene(grid, radius=90.0))
    assert looked.grey.size <= motion.MOST_SAMPLES
    wanted = voxels_of(grid, (10, -10, 0))
    found = looked.found_in(scene(grid, wanted, seed=1, radius=90.0)[0])
    assert (np.abs(found.shift - wanted) * grid.spacing < 2).all()


def test_a_mask_moves_by_whole_voxels_and_is_cut_at_the_end_of_the_grid():
    grid = Grid((6, 6, 6), np.eye(4))
    mask = BoxedMask(Box((3, 3, 3), (5, 5, 5)), np.ones((2, 2, 2), np.uint8))
    assert moved(mask, (-1, 0, 1), grid).box == Box((2, 3, 4), (4, 5, 6))
    assert moved(mask, (2, 0, 0), grid).box == Box((5, 3, 3), (6, 5, 5))
    assert moved(mask, (3, 0, 0), grid) is None
