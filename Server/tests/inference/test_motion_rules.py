"""What decides whether an object moved, each rule by itself: what is clear enough, what is certain, what is thin."""

import numpy as np
import pytest
from scipy import ndimage

from helpers import make_affine
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume
from sammed3d.inference.motion import (
    LEAST_LIKENESS,
    UNEXPLAINED,
    Neighbourhood,
    _between,
    _likeness,
    _sampled,
    _vertex,
)

EVEN = Grid((40, 40, 40), make_affine((2.5, 2.5, 2.5)))
FINE = Grid((60, 60, 60), make_affine((1.0, 1.0, 1.0)))


def volume(array, grid=EVEN):
    return Volume(np.asarray(array, np.float32), grid)


def scene():
    """A ball in a texture, and its mask."""
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(EVEN.shape), 1.5) * 400
    distance = np.linalg.norm(np.indices(EVEN.shape) - np.reshape([20, 20, 20], (3, 1, 1, 1)), axis=0)
    return np.where(distance < 5, 150 + texture / 2, texture), BoxedMask.of(distance < 5)


def likenesses(looked, other):
    """Return how well the best place agrees, and the one where it was."""
    grey, seen = _sampled(other, looked.searched, looked.factors)
    found = _likeness(looked.grey, looked.counts, grey, seen > 0, looked.reach)
    return float(found.max()), float(found[looked.reach])


def between(image, share, noise):
    """An image that shows the object at two places at once, `share` of it four samples on, with noise."""
    there = np.roll(image, 4, axis=0)
    return volume(share * there + (1 - share) * image + np.random.default_rng(2).normal(0, noise, image.shape))


def test_a_place_that_explains_hardly_more_than_none_is_no_shift():
    image, mask = scene()
    looked = Neighbourhood.of(volume(image), mask)
    other = between(image, 0.51, 0)
    best, still = likenesses(looked, other)
    assert best > still > LEAST_LIKENESS
    assert 1 - best > UNEXPLAINED * (1 - still)
    assert not looked.found_in(other).shift.any()
    clear = between(image, 0.8, 0)
    best, still = likenesses(looked, clear)
    assert 1 - best < UNEXPLAINED * (1 - still)
    assert looked.found_in(clear).shift == pytest.approx([4, 0, 0], abs=0.4)


def test_what_agrees_a_little_better_elsewhere_and_too_little_where_it_was_is_not_found():
    image, mask = scene()
    looked = Neighbourhood.of(volume(image), mask)
    tried = [between(image, 0.51, noise) for noise in range(30, 70, 2)]
    both = [likenesses(looked, other) for other in tried]
    wanted = [n for n, (best, still) in enumerate(both) if best > LEAST_LIKENESS > still]
    assert wanted
    for n in wanted:
        best, still = both[n]
        assert 1 - best > UNEXPLAINED * (1 - still)
        assert looked.found_in(tried[n]) is None


def test_in_an_image_without_any_difference_nothing_is_alike_however_large_its_numbers():
    image, mask = scene()
    for scale in (1e-6, 1.0, 1e9):
        looked = Neighbourhood.of(volume(image * scale), mask)
        flat = np.full(EVEN.shape, 1000 * scale)
        flat[0, 0, 0] = 0
        assert looked.found_in(volume(flat)) is None
        nothing = Neighbourhood.of(volume(flat), mask)
        assert nothing.found_in(volume(image * scale)) is None


def sheet(thick):
    """A bright sheet in dim noise: thinner than a sample of 2.5 mm where it is 1 mm thick; and its mask."""
    inside = np.zeros(FINE.shape, bool)
    inside[30 : 30 + thick, 15:45, 15:45] = True
    image = np.where(inside, 300.0, 0.0) + np.random.default_rng(thick).normal(0, 3, FINE.shape)
    return volume(image, FINE), BoxedMask.of(inside)


def test_also_an_object_thinner_than_half_a_sample_has_an_inside_and_an_edge_that_changes():
    looked = Neighbourhood.of(*sheet(1))
    assert looked.inside.any()
    assert looked.found_in(sheet(1)[0]).changed < 0.25
    assert looked.found_in(sheet(4)[0]).changed > 0.25


def test_a_place_between_samples_is_the_top_of_a_parabola_and_none_at_an_end_or_on_a_plateau():
    line = np.array([0.1, 0.2, 0.8, 0.7, 0.3])
    for axis in range(3):
        likeness = np.moveaxis(np.broadcast_to(line[:, None, None], (5, 3, 3)), 0, axis)
        best = tuple(2 if each == axis else 1 for each in range(3))
        assert _vertex(likeness, best, axis) == pytest.approx(2 + 0.5 * (0.2 - 0.7) / (0.2 - 1.6 + 0.7))
        assert [_vertex(likeness, best, other) for other in range(3) if other != axis] == [1, 1]
        for end in (0, 4):
            assert _vertex(likeness, tuple(end if each == axis else 1 for each in range(3)), axis) == end


@pytest.mark.parametrize("left", [(0.25, 0, 0), (-0.25, 0.5, 0), (0.1, -0.3, -0.4)])
def test_samples_between_others_are_interpolated_towards_the_side_that_is_asked(left):
    i, j, k = np.indices((6, 7, 8)).astype(float)
    moved = 3 * (i + left[0]) - 2 * (j + left[1]) + 5 * (k + left[2])
    found = _between(3 * i - 2 * j + 5 * k, np.array(left))
    inner = np.s_[1:-1, 1:-1, 1:-1]
    assert np.allclose(found[inner], moved[inner])


def test_noise_alone_changes_no_edge_at_all():
    image, mask = scene()
    looked = Neighbourhood.of(volume(image), mask)
    for seed in range(5):
        noisy = volume(image + np.random.default_rng(seed).normal(0, 40, image.shape))
        assert looked.found_in(noisy).changed == 0


def test_where_an_object_leaves_the_image_no_edge_is_compared_with_what_lies_beyond():
    inside = np.zeros(EVEN.shape, bool)
    inside[12:28, 12:28, 30:] = True
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(EVEN.shape), 1.5) * 100
    image = np.where(inside, 500 + texture, texture)
    looked = Neighbourhood.of(volume(image), BoxedMask.of(inside))
    further = np.roll(image, 2, axis=2)
    further[..., :2] = image[..., :2]
    found = looked.found_in(volume(further))
    assert found.shift == pytest.approx([0, 0, 2], abs=0.34)
    assert found.changed < 0.1


@pytest.mark.parametrize("moved", [1.5, 2.5, -1.5])
def test_half_a_voxel_more_changes_no_edge_though_it_is_interpolated(moved):
    def image(away):
        fine = np.indices((80, 80, 80)) / 2 - 0.25 - np.reshape([20 + away, 20, 20], (3, 1, 1, 1))
        share = (np.linalg.norm(fine, axis=0) < 6).reshape(40, 2, 40, 2, 40, 2).mean(axis=(1, 3, 5))
        return 300 * share + np.random.default_rng(7).normal(0, 2, EVEN.shape), share > 0.5

    first, inside = image(0)
    found = Neighbourhood.of(volume(first), BoxedMask.of(inside)).found_in(volume(image(moved)[0]))
    assert found.shift == pytest.approx([moved, 0, 0], abs=0.05)
    assert found.changed < 0.025
