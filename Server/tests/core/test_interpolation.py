import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sammed3d.core.interpolation import AxisWeights, interpolate, resize


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
