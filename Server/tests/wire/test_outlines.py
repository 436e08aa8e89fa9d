"""Outlines of logits: the mask is the same bit for bit, far fewer bytes, and what becomes of bytes that lie."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers import by_name, grids
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.interpolation import resize
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.answers import Bounds, Fading
from sammed3d.inference.compositing import Layer, mask_prompt, paint
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.predictor import Prediction
from sammed3d.inference.settling import paint_within_bounds
from sammed3d.wire import arrays, messages, outlines
from sammed3d.wire.arrays import WireError, pack_planes

LOW, PATCH = (16, 16, 16), (32, 32, 32)


def rough(seed, smooth=1.5, shift=0.0, shape=LOW):
    """Logits with many borders, thin parts and single voxels."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    field = ndimage.gaussian_filter(noise, smooth)
    return (4 * field / field.std() + shift).astype(np.float32)


def crossed(low_res, samples=PATCH):
    return outlines.unpack(outlines.pack(low_res, samples), low_res.shape)[0]


@settings(max_examples=40, deadline=None)
@given(grids(48), st.integers(0, 2**32 - 1), st.floats(0.3, 3), st.floats(-8, 4), st.sampled_from([1, 2, 4]), st.data())
def test_on_any_grid_the_mask_is_that_of_the_whole_logits(grid, seed, smooth, shift, ratio, data):
    lattice = Lattice(grid, (1.5, 1.5, 1.5))
    window = lattice.window_at(grid.to_world([data.draw(st.integers(0, n - 1)) for n in grid.shape]).tolist(), PATCH)
    low_res = rough(seed, smooth, shift, tuple(n // ratio for n in PATCH))
    mask, same = (paint(lattice, [Layer(window, logits, None)], None, None) for logits in (low_res, crossed(low_res)))
    assert (mask is None) == (same is None)
    assert mask is None or (mask.box == same.box and np.array_equal(mask.voxels, same.voxels))


@settings(max_examples=60, deadline=None)
@given(grids(48), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 2, 4]), st.integers(1, 3), st.data())
def test_laid_over_others_bounds_that_settle_the_mask_settle_it_right(grid, seed, drawn, ratio, count, data):
    """Layers over one another or over a drawn mask, the last or all of which crossed as outlines."""
    lattice, rng = Lattice(grid, (1.5, 1.5, 1.5)), np.random.default_rng(seed)
    start = grid.to_world([data.draw(st.integers(0, n - 1)) for n in grid.shape]).tolist()
    shape = tuple(n // ratio for n in PATCH)
    base = BoxedMask.of(ndimage.gaussian_filter(rng.standard_normal(grid.shape), 2) > 0) if drawn else None
    layers = []
    for n in range(count + (not drawn)):
        window = lattice.window_at(start, PATCH).shifted((rng.integers(-20, 21, 3) * (n > 0)).tolist())
        if lattice.covered(window) is not None and window.intersection(Box((0, 0, 0), lattice.shape)) is not None:
            low_res = rough(seed + n, rng.uniform(0.5, 3), rng.uniform(-5, 3), shape)
            fading = Fading(lattice.borders_inside(window), 6) if n > 0 or drawn else None
            layers.append(Layer(window, low_res, fading))
    assume(layers[-1].fading)
    known = 0 if data.draw(st.booleans()) else len(layers) - 1
    crossed_over = [*layers[:known], *(outlined(lattice, layers, n, base) for n in range(known, len(layers)))]
    mask = paint(lattice, layers, base, base)
    same, missing = paint_within_bounds(lattice, crossed_over, base, base)
    event(f"settled: {not missing}")
    if missing:
        assert any(marked.any() for marked in missing)
        crossed_over = [told(*each) for each in zip(crossed_over, layers, missing, strict=True)]
        same, missing = paint_within_bounds(lattice, crossed_over, base, base)
    assert not missing, "what was missing is enough"
    assert (mask is None) == (same is None)
    assert mask is None or (mask.box == same.box and np.array_equal(mask.voxels, same.voxels))


def outlined(lattice, layers, number, base):
    """A layer of which the outline crossed."""
    layer = layers[number]
    shape = layer.low_res.shape
    seen = mask_prompt(lattice, layer.window, shape, layers[:number], base) if number or base else None
    packed = outlines.pack(layer.low_res, PATCH, seen, layer.fading or Fading.nowhere())
    found, bounds = outlines.unpack(packed, shape)
    assert (bounds.lowest(found) <= layer.low_res).all()
    assert (layer.low_res <= bounds.highest(found)).all()
    return replace(layer, low_res=found, bounds=bounds)


def told(layer, whole, marked):
    """A layer with some more of its logits."""
    if layer.bounds is None:
        assert not marked.any()
        return layer
    low_res = np.where(marked, whole.low_res, layer.low_res)
    return replace(layer, low_res=low_res, bounds=layer.bounds.with_exact(marked))


def test_what_is_laid_over_an_object_mostly_is_settled_and_far_smaller():
    lattice = Lattice(Grid((128, 128, 128), np.diag([1.0, 1.0, 1.0, 1.0])), (1.0, 1.0, 1.0))
    shape, patch = (32, 32, 32), (64, 64, 64)
    first, second = lattice.window_at((50, 64, 64), patch), lattice.window_at((80, 64, 64), patch)
    axes = np.stack(np.meshgrid(*[np.arange(32) * 2 + 0.5] * 3, indexing="ij"))
    settled, sizes = 0, []
    for seed in range(10):
        rough_bar = 14 - np.linalg.norm(axes[1:] - 31.5, axis=0) + 0.2 * rough(seed, shape=shape)
        layers = [Layer(first, rough_bar.astype(np.float32), None)]
        low_res = (rough_bar + 0.1 * rough(seed + 99, shape=shape)).astype(np.float32)
        seen = mask_prompt(lattice, second, shape, layers, None)
        fading = Fading(lattice.borders_inside(second), 8)
        packed = outlines.pack(low_res, patch, seen, fading)
        found, bounds = outlines.unpack(packed, shape)
        before = paint(lattice, layers, None, None)
        mask = paint(lattice, [*layers, Layer(second, low_res, fading)], None, before)
        same, missing = paint_within_bounds(lattice, [*layers, Layer(second, found, fading, bounds)], None, before)
        assert missing or mask.digest == same.digest
        settled += not missing
        sizes.append(len(packed) / len(arrays.pack(low_res)))
    assert settled >= 9
    assert max(sizes) < 0.35


def test_bounds_that_leave_a_voxel_open_are_not_taken_for_an_answer():
    lattice = Lattice(Grid((32, 32, 32), np.diag([1.5, 1.5, 1.5, 1.0])), (1.5, 1.5, 1.5))
    window, base = lattice.window_at((24, 24, 24), PATCH), BoxedMask.of(np.ones((32, 32, 32), bool))
    low_res = np.full(LOW, -7, np.float32)
    nothing = Bounds(np.zeros(LOW, bool), (1, 1), (-9, -1))
    shifted = window.shifted((16, 0, 0))
    for first, soft in ((window, False), (shifted, True)):
        layer = Layer(first, low_res, Fading(lattice.borders_inside(first), 6) if soft else None, nothing)
        mask, missing = paint_within_bounds(lattice, [layer], base, base)
        assert bool(missing) is soft
        assert (mask is None) is not soft


def test_what_is_kept_is_exact_and_the_rest_has_its_sign():
    low_res = rough(3)
    kept = outlines.border(low_res, PATCH)
    found = crossed(low_res)
    assert 0 < kept.sum() < kept.size
    assert np.array_equal(found[kept], low_res[kept])
    assert np.array_equal(found[~kept], np.where(low_res[~kept] > 0, 1, -1))


def test_a_sample_that_a_mere_sign_would_turn_keeps_its_logits():
    """One strong voxel outweighs its neighbours; were it 1 like any other, they would win."""
    low_res = np.full(LOW, -3, np.float32)
    low_res[8, 8, 8] = 400
    found = crossed(low_res)
    assert found[8, 8, 8] == 400
    assert np.array_equal(resize(found, PATCH) > 0, resize(low_res, PATCH) > 0)


@pytest.mark.parametrize("value", [-5.0, 0.0, 5.0])
def test_without_a_border_nothing_is_kept(value):
    low_res = np.full(LOW, value, np.float32)
    assert not outlines.border(low_res, PATCH).any()
    assert np.array_equal(crossed(low_res) > 0, low_res > 0)
    assert len(outlines.pack(low_res, PATCH)) < 150


def test_nearly_nothing_is_a_border_too():
    """Signs that rounding may turn are not relied upon."""
    low_res = np.full(LOW, 1e-9, np.float32)
    low_res[:8] *= -1
    low_res[0, 0, 0] = 7
    kept = outlines.border(low_res, PATCH)
    assert kept[8:].all()
    assert np.array_equal(resize(crossed(low_res), PATCH) > 0, resize(low_res, PATCH) > 0)


def test_slices_have_outlines_too():
    low_res = rough(1, shape=(64, 64, 1))
    found = crossed(low_res, (256, 256, 1))
    assert np.array_equal(resize(found, (256, 256, 1)) > 0, resize(low_res, (256, 256, 1)) > 0)


def test_a_ball_takes_a_fraction_of_its_logits():
    axes = np.meshgrid(*[np.arange(64)] * 3, indexing="ij")
    distance = np.sqrt(sum((axis - 32) ** 2 for axis in axes))
    logits = (12 - distance + 0.1 * rough(0, shape=(64, 64, 64))).astype(np.float32)
    assert len(outlines.pack(logits, (128, 128, 128))) < len(arrays.pack(logits)) / 10


def test_an_answer_says_that_it_is_an_outline_and_logits_that_are_none_are_sent_whole():
    low_res = rough(5)
    sent = Prediction(low_res, 0.5, {"decode": 1.0})
    found = messages.answer_from_bytes(messages.answer_to_bytes(sent, PATCH), LOW)
    assert (found.score, found.seconds, found.whole) == (0.5, {"decode": 1.0}, False)
    assert np.array_equal(found.low_res, crossed(low_res))
    assert messages.answer_from_bytes(messages.answer_to_bytes(sent), LOW).whole
    low_res[0, 0, 0] = np.nan
    with pytest.raises(WireError, match="NaN"):
        messages.answer_from_bytes(messages.answer_to_bytes(sent, PATCH), LOW)


def malformed():
    good = outlines.pack(rough(0), PATCH)
    head = good[:20]
    yield "empty", b""
    yield "cut in the head", good[:12]
    yield "cut in a plane", good[:-1]
    yield "more than the outline", good + b"x"
    yield "whole logits", arrays.pack(rough(0))
    yield "other version", good[:4] + b"\x09" + good[5:]
    yield "other shape", outlines.pack(rough(0, shape=(16, 16, 8)), (32, 32, 16))
    yield "32 TiB", good[:8] + struct.pack("<III", 2**15, 2**15, 2**15) + good[20:]
    inside, all_kept = np.zeros(512, np.uint8), np.full(512, 255, np.uint8)
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("other signs", 1.0)):
        values = np.full(4096, value, np.float32)
        yield name, head + b"".join(pack_planes(part) for part in (inside, all_kept, values.view("<u4")))
    yield "too few values", head + b"".join(pack_planes(part) for part in (inside, all_kept, np.zeros(9, "<u4")))

    seen = np.zeros(LOW, np.float32)
    laid_over = outlines.pack(rough(0), PATCH, seen, Fading(((True, True),) * 3, 4))
    yield "cut in its bounds", laid_over[:30]
    for ends in ((0, 1, -1, -1), (2, 1, -1, -1), (1, np.inf, -1, -1), (1, 1, -np.inf, 0), (1, 1, -1, 1), (np.nan,) * 4):
        yield f"bounds of {ends}", laid_over[:20] + struct.pack("<4f", *ends) + laid_over[36:]


@pytest.mark.parametrize(("name", "data"), by_name(malformed()))
def test_what_is_no_outline_is_refused(name, data):
    with pytest.raises(WireError):
        outlines.unpack(data, LOW)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_flipped_byte_ends_in_another_error(data):
    good = bytearray(outlines.pack(rough(0), PATCH))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found, _ = outlines.unpack(bytes(good), LOW)
    except WireError:
        return
    assert found.shape == LOW
    assert np.isfinite(found).all()


def test_an_oblique_volume_larger_than_a_patch():
    grid = Grid((60, 70, 50), np.array([[0.7, 0.2, 0, 5], [-0.2, 0.9, 0.1, 3], [0, 0, 1.3, -9], [0, 0, 0, 1.0]]))
    lattice = Lattice(grid, (1.0, 1.0, 1.0))
    window = lattice.window_at(grid.to_world((30, 35, 25)).tolist(), PATCH)
    masks = [paint(lattice, [Layer(window, logits, None)], None, None) for logits in (rough(8), crossed(rough(8)))]
    assert masks[0].digest == masks[1].digest
