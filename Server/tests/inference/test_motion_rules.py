"""What decides whether an object moved, each rule by itself: what is clear enough, what is certain, what is thin."""

import numpy as np
import pytest
from scipy import ndimage

from helpers import make_affine
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume
from sammed3d.inference.motion import LEAST_LIKENESS, UNEXPLAINED, Neighbourhood, _likeness, _sampled

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
