"""Networks with deterministic weights, small ones of the real class included."""

from __future__ import annotations

import torch

from golden_fill import fill
from sammed3d.inference.preset import Preset

TINY_SIZES = {
    "encoder": {
        "image_size": 64,
        "width": 48,
        "depth": 3,
        "heads": 4,
        "window": 3,
        "global_blocks": [1],
        "out_channels": 48,
    },
    "decoder_mlp": 64,
}
TINY_2D = {
    "encoder": {"image_size": 64, "width": 48, "depth": 2, "heads": 4, "window": 3, "global_blocks": [1]},
    "decoder_mlp": 64,
}
TINY_PRESET_2D = Preset(
    patch_shape=(64, 64, 1), low_res_shape=(16, 16, 1), normalisation="grey", fit="resize", boxes=True
)
TINY_PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Give a network the deterministic weights of the golden arrays."""
    weights = {k: torch.from_numpy(fill(k, tuple(v.shape)).reshape(v.shape)) for k, v in network.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval()
