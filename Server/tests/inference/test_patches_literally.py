"""Patches of any grid, cut and painted back, against the rules written down once more for one voxel at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import grids
from sammed3d.core.geometry import Box, canonical_axes
from sammed3d.core.interpolation import resize
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume
from sammed3d.inference.answers import Fading
from sammed3d.inference.compositing import MASK_LOGIT, Layer, mask_prompt, paint
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.preset import Preset

EDGE = 12
PRESET = Preset(patch_shape=(EDGE,) * 3, low_res_shape=(4, 4, 4), normalisation="none")
NEAR = 1e-3
"""Of a sample: places so near to where a rule changes are not looked at."""
SURE = 1e-3
"""Logits so near to 0 may be of either sign."""


def at(array, place):
    """Trilinear at a place in voxels; beyond the outermost centres the edge is repeated."""
    place = np.clip(place, 0, np.array(array.shape) - 1)
    first = np.minimum(np.floor(place).astype(int), np.maximum(np.array(array.shape) - 2, 0))
    total = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        index = np.minimum(first + corner, np.array(array.shape) - 1)
        weight = np.prod([f if c else 1 - f for c, f in zip(corner, place - first, strict=True)])
        total += weight * float(array[tuple(index)])
    return total


def is_beyond(place, shape, tolerance=NEAR):
    """Whether a place lies outside of an image; None where that is too near to tell."""
    away = np.maximum(-0.5 - place, place - (np.array(shape) - 0.5)).max()
    return None if abs(away) < tolerance else bool(away > 0)


def windows(lattice):
    """Windows that show something of a lattice, also beyond its ends."""
    starts = [st.integers(1 - EDGE, n - 1) for n in lattice.shape]
    return st.tuples(*starts).map(lambda b: Box(b, tuple(n + EDGE for n in b)))


def some_voxels(rng, count=40):
    return rng.integers(0, EDGE, (count, 3))


@given(grids(30), st.data(), st.integers(0, 99))
@settings(max_examples=60)
def test_a_voxel_of_a_patch_is_the_image_at_its_place_in_the_world(grid, data, seed):
    rng = np.random.default_rng(seed)
    array = rng.uniform(-1000, 1000, grid.shape).astype(np.float32)
    assume(array.size > 1)
    lattice = Lattice(grid, PRESET.spacing)
    window = data.draw(windows(lattice))
    patch = cut_patch(Volume(array, grid), lattice, window, PRESET)
    for voxel in some_voxels(rng):
        inside = all(0 <= v + b < n for v, b, n in zip(voxel, window.begin, lattice.shape, strict=True))
        place = grid.to_index(patch.grid.to_world(voxel))
        for axis, source_axis in enumerate(canonical_axes(grid.index_to_world).source):
            if lattice.shape[axis] == 1:  # one sample sees a thin volume
                place[source_axis] = min(place[source_axis], grid.shape[source_axis] - 1)
        beyond = is_beyond(place, grid.shape) if inside else True
        if beyond is not None:
            expected = 0.0 if beyond else at(array, place)
            assert patch.voxels[tuple(voxel)] == pytest.approx(expected, abs=0.05)


def drawn_layers(data, lattice, rng):
    layers = []
    for _ in range(data.draw(st.integers(1, 3))):
        window = data.draw(windows(lattice))
        fading = None
        if layers or data.draw(st.booleans()):
            fading = Fading(lattice.borders_inside(window), data.draw(st.sampled_from([2, 4, 16])))
        mean = data.draw(st.sampled_from([0, -9]))  # of those, few are above 0, or none
        layers.append(Layer(window, rng.normal(mean, 4, (4, 4, 4)).astype(np.float32), fading))
    return layers


def drawn_base(data, grid, rng):
    return data.draw(st.sampled_from([None, BoxedMask.of((rng.random(grid.shape) < 0.3).astype(np.uint8))]))


def opacity(layer, sample):
    """How opaque a layer is at a sample of its window: it rises from each face that fades, the least counts."""
    least = 1.0
    for n, size, faces in zip(sample, layer.window.shape, layer.fading.faces if layer.fading else (), strict=False):
        for from_face, fades in zip((n, size - 1 - n), faces, strict=True):
            least = min(least, (from_face + 0.5) / layer.fading.margin) if fades else least
    return least


def composited(layers, window):
    """Logits and cover of each sample of a window, one after the other."""
    logits, cover = np.zeros(window.shape), np.zeros(window.shape)
    for layer in layers:
        answer = resize(layer.low_res, layer.window.shape)
        for sample in np.ndindex(window.shape):
            there = np.add(sample, window.begin) - layer.window.begin
            if (there >= 0).all() and (there < layer.window.shape).all():
                a = opacity(layer, there)
                logits[sample] = a * answer[tuple(there)] + (1 - a) * logits[sample]
                cover[sample] = a + (1 - a) * cover[sample]
    return logits, cover


@given(grids(16), st.data(), st.integers(0, 99))
@settings(max_examples=40)
def test_a_voxel_is_what_its_layers_say_at_its_place_over_the_mask_that_was_there(grid, data, seed):
    rng = np.random.default_rng(seed)
    lattice = Lattice(grid, PRESET.spacing)
    layers, base = drawn_layers(data, lattice, rng), drawn_base(data, grid, rng)
    before = BoxedMask.of((rng.random(grid.shape) < 0.3).astype(np.uint8))
    mask = paint(lattice, layers, base, before)
    full = np.zeros(grid.shape) if mask is None else mask.full(grid.shape)
    was, began = (np.zeros(grid.shape) if m is None else m.full(grid.shape) for m in (before, base))
    window = layers[-1].window
    shown = lattice.in_volume(window)
    logits, cover = composited(layers, shown)
    if base is None:
        logits, cover = logits - (1 - cover) * MASK_LOGIT, np.ones_like(cover)
    for voxel in rng.integers(0, grid.shape, (60, 3)):
        sample = lattice.grid.to_index(grid.to_world(voxel))
        beyond = is_beyond(sample - window.begin, window.shape)
        if beyond:
            assert full[tuple(voxel)] == was[tuple(voxel)]
        elif beyond is False:
            here = sample - shown.begin
            start = MASK_LOGIT if began[tuple(voxel)] else -MASK_LOGIT
            found = at(logits, here) + (1 - at(cover, here)) * start
            if abs(found) > SURE:
                assert full[tuple(voxel)] == (found > 0)


@given(grids(16), st.data(), st.integers(0, 99))
@settings(max_examples=40)
def test_a_mask_prompt_is_the_mean_of_what_layers_and_mask_say(grid, data, seed):
    rng = np.random.default_rng(seed)
    lattice = Lattice(grid, PRESET.spacing)
    layers, base = drawn_layers(data, lattice, rng), drawn_base(data, grid, rng)
    window = data.draw(windows(lattice))
    logits, cover = composited(layers, window)
    began = np.zeros(grid.shape, np.float32) if base is None else base.full(grid.shape).astype(np.float32)
    assume(base is None or np.ptp(began))
    share = 0.0 if base is None else cut_patch(Volume(began, grid), lattice, window, PRESET).voxels
    whole = logits + (1 - cover) * MASK_LOGIT * (2 * share - 1)
    expected = whole.reshape(4, 3, 4, 3, 4, 3).mean(axis=(1, 3, 5))
    assert mask_prompt(lattice, window, (4, 4, 4), layers, base) == pytest.approx(expected, abs=1e-3)
