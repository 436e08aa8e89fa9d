import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sammed3d.core.interpolation import (
    AxisWeights,
    contiguous,
    interpolate,
    mean_pool,
    resize,
    resizing_line,
    sources_of,
)


@given(st.integers(0, 9))
def test_resize_is_torch_trilinear(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(1, 12, 3), rng.integers(1, 20, 3)
    array = rng.standard_normal(source).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None, None], size=target.tolist(), mode="trilinear", align_corners=False
    )
    assert np.abs(resize(array, tuple(target.tolist())) - expected[0, 0].numpy()).max() < 1e-5


def test_low_res_logits_become_a_patch_as_published():
    low_res = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(low_res)[None, None], size=(128,) * 3, mode="trilinear")
    assert np.abs(resize(low_res, (128, 128, 128)) - expected[0, 0].numpy()).max() < 1e-5


def test_samples_half_a_voxel_outside_repeat_the_edge_or_give_zero():
    positions = np.array([-0.6, -0.5, -0.2, 0.5, 2.4, 2.5, 9.0, -np.inf])
    line = np.array([10.0, 20.0, 40.0]).reshape(3, 1, 1)
    one = AxisWeights.at(np.zeros(1), 1)
    edge = interpolate(line, (AxisWeights.at(positions, 3), one, one)).ravel()
    assert edge.tolist() == [10, 10, 10, 15, 40, 40, 40, 10]
    zero = interpolate(line, (AxisWeights.at(positions, 3, zero_outside=True), one, one)).ravel()
    assert zero.tolist() == [0, 10, 10, 15, 40, 0, 0, 0]


@pytest.mark.parametrize("step", [0.3, 1.0, 7.5])
def test_only_the_samples_with_a_weight_are_taken(step):
    weights = AxisWeights.at(np.arange(10) * step + 20, 1000)
    assert weights.take(np.zeros((1000, 1, 1)), 0).shape[0] <= 20
    assert weights.begin == 20
    assert weights.end <= 20 + 9 * step + 2


def test_memory_order_of_the_source_does_not_matter():
    array = np.random.default_rng(1).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    weights = tuple(AxisWeights.at(np.linspace(0, n - 1, 11), n) for n in array.shape)
    expected = interpolate(array, weights)
    assert np.array_equal(interpolate(np.asfortranarray(array), weights), expected)
    assert np.array_equal(interpolate(array[::-1, ::-1][::-1, ::-1], weights), expected)


@given(st.integers(0, 30))
def test_two_interpolations_at_once_are_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(-1000, 1000, rng.integers(2, 60, 3)).astype(np.int16)
    lines = [
        AxisWeights.at(np.sort(rng.uniform(-3, n + 3, rng.integers(2, 90))), n, zero_outside=True) for n in array.shape
    ]
    seconds = [resizing_line(line.targets, int(rng.integers(1, 70))) for line in lines]
    expected = interpolate(interpolate(array, tuple(lines)), tuple(seconds))
    found = interpolate(array, tuple(line.then(second) for line, second in zip(lines, seconds, strict=True)))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3  # of values up to 1000


def test_what_lies_between_two_interpolations_is_no_more_than_the_second_uses():
    every_tenth = AxisWeights.at(np.arange(5.0) * 10, 50)
    chained = AxisWeights.at(np.arange(50.0), 50).then(every_tenth)
    assert chained.first.targets == 10
    assert chained.part(1, 3).take(np.zeros((chained.first.end, 1, 1)), 0).shape[0] <= 13


@pytest.mark.parametrize("shape", [(16, 16, 16), (5, 7, 9), (1, 1, 1)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_field_is_put_into_c_order(shape, axes):
    field = np.random.default_rng(2).standard_normal(shape).astype(np.float32).transpose(axes)
    found = contiguous(field)
    assert found.flags.c_contiguous
    assert np.array_equal(found, field)


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_are_replaced_by_their_means(order):
    field = np.asarray(np.random.default_rng(3).standard_normal((4, 9, 5)), np.float32, order=order)
    expected = field.reshape(2, 2, 3, 3, 5, 1).mean(axis=(1, 3, 5))
    found = mean_pool(field, (2, 3, 5))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6
    with pytest.raises(ValueError, match="broadcast"):
        mean_pool(field, (2, 3, 2))


@given(st.integers(0, 20))
def test_sources_are_those_whose_weight_counts_in_either_memory_order(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 8, 3)
    lines = tuple(AxisWeights.at(rng.uniform(0, n - 1, rng.integers(1, 12)), int(n)) for n in shape)
    targets = rng.random(tuple(line.targets for line in lines)) < 0.2
    found = sources_of(targets, lines, tuple(shape))
    assert np.array_equal(sources_of(np.asfortranarray(targets), lines, tuple(shape)), found)
    for place in np.ndindex(*shape):
        source = np.zeros(shape, np.float32)
        source[place] = 1
        assert found[place] == (interpolate(source, lines)[targets] > 0).any()
