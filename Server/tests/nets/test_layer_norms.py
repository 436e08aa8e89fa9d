"""What is added to variances before the root: parity tests cannot see it, where variances are about 1."""

import pytest
import torch
from torch import nn

from networks import TINY_2D, TINY_SIZES
from sammed3d.nets import build
from sammed3d.nets.common import ChannelNorm

ENCODER, DECODER_AND_ADAPTER = 1e-6, 1e-5


@pytest.mark.parametrize(("name", "sizes"), [("sam_med3d", TINY_SIZES), ("sam_med2d", TINY_2D)])
def test_layers_have_the_published_epsilon(name, sizes):
    network = build(name, sizes)
    found = {key: module.eps for key, module in network.named_modules() if isinstance(module, nn.LayerNorm)}
    assert found == {
        key: ENCODER if key.startswith("image_encoder.") and ".Adapter." not in key else DECODER_AND_ADAPTER
        for key in found
    }
    assert {key.split(".")[0] for key in found} == {"image_encoder", "mask_decoder"}
    assert any(".Adapter." in key for key in found) == (name == "sam_med2d")
    others = [key for key, module in network.named_modules() if isinstance(module, ChannelNorm)]
    assert len(others) == 2 + 2 + 1, "neck, mask prompt, upscaling"


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_norm_over_channels_is_its_formula_where_hardly_anything_varies(dimensions):
    norm = ChannelNorm(4).double()
    x = 1e-3 * torch.randn(2, 4, *[3] * dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    with torch.inference_mode():
        assert (norm(x) - (x - mean) / (variance + 1e-6).sqrt()).abs().max() < 1e-12
