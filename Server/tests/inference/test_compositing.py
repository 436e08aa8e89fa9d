"""Layers painted over one another: the mask of a part of a window is that of the whole."""

import numpy as np
import pytest
from scipy import ndimage

from helpers import make_affine, small_volume
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.interpolation import interpolate, resize
from sammed3d.inference.answers import Fading
from sammed3d.inference.compositing import MASK_LOGIT, Layer, paint
from sammed3d.inference.lattice import Lattice

PATCH = (32, 32, 32)
SURE = 1e-4
"""Logits so near to 0 may be of either sign, depending on the order of sums."""


def answer(rng, shift, ratio):
    """Low-res logits with a few parts above 0."""
    noise = rng.standard_normal(tuple(n // ratio for n in PATCH))
    field = ndimage.gaussian_filter(noise, rng.uniform(0.3, 1.5))
    return (4 * field / field.std() - shift).astype(np.float32)


def literally(lattice, layers):
    """Logits of the volume's voxels under the last layer, all samples of its window composited: box and (I, J, K)."""
    window = lattice.in_volume(layers[-1].window)
    logits, cover = np.zeros(window.shape, np.float32), np.zeros(window.shape, np.float32)
    for layer in layers:
        common = window.intersection(layer.window)
        if common is None:
            continue
        opacity = np.ones(layer.window.shape, np.float32)
        for axis, borders in enumerate(lattice.borders_inside(layer.window)):
            along = np.arange(layer.window.shape[axis])
            for fades, far in zip(borders, (along, along[::-1]), strict=True):
                if layer.fading and fades:
                    ramp = np.minimum((far + 0.5) / layer.fading.margin, 1).astype(np.float32)
                    opacity = np.minimum(opacity, ramp.reshape([-1 if a == axis else 1 for a in range(3)]))
        here, there = common.within(window), common.within(layer.window)
        a = opacity[there]
        logits[here] = a * resize(layer.low_res, layer.window.shape)[there] + (1 - a) * logits[here]
        cover[here] = a + (1 - a) * cover[here]
    region = lattice.covered(layers[-1].window)
    whole = lattice.to_file_order(logits - (1 - cover) * np.float32(MASK_LOGIT))
    return region, interpolate(whole, lattice.painting(window, region))


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("seed", range(30))
def test_a_mask_is_painted_where_it_may_be_as_if_everywhere(seed, ratio):
    rng = np.random.default_rng(seed)
    affine = make_affine(rng.uniform(0.7, 3.5, 3), rng.uniform(-3, 3, 3), rng.uniform(-500, 500, 3))
    lattice = Lattice(Grid((40, 36, 30), affine), (1.5, 1.5, 1.5))
    first = lattice.window_at(lattice.source.to_world(rng.uniform(5, 30, 3)).tolist(), PATCH)
    layers, mask, painted = [], None, 0
    for number, shift in enumerate(rng.uniform(2, 9, 3)):
        window = first.shifted(rng.integers(-16, 17, 3).tolist()) if number else first
        if lattice.covered(window) is None:
            continue
        fading = Fading(lattice.borders_inside(window), 6) if number else None
        layers.append(Layer(window, answer(rng, shift, ratio), fading))
        mask = paint(lattice, layers, None, mask)
        region, logits = literally(lattice, layers)
        inside = np.zeros(logits.shape, bool)
        shared = mask and mask.box.intersection(region)
        if shared:
            inside[shared.within(region)] = mask.voxels[shared.within(mask.box)]
        sure = np.abs(logits) > SURE
        assert np.array_equal(inside[sure], logits[sure] > 0)
        painted += inside.sum()
    assert painted > 0


def test_an_answer_with_nothing_inside_takes_away_what_was_there():
    lattice = Lattice(small_volume((16, 16, 16)).grid, (1.5, 1.5, 1.5))
    window = Box((0, 0, 0), PATCH)
    full, empty = (Layer(window, np.full((8, 8, 8), value, np.float32), None) for value in (3, -3))
    before = paint(lattice, [full], None, None)
    assert before.voxels.all()
    assert paint(lattice, [full, empty], None, before) is None
