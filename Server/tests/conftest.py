"""Small networks and checkpoints that the tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from golden_fill import fill
from sammed3d.nets import SamMed3d, build
from sammed3d.preset import Preset
from sammed3d.zoo.checkpoint import write_checkpoint

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
TINY_PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Give a network the deterministic weights of the golden arrays."""
    weights = {k: torch.from_numpy(fill(k, tuple(v.shape)).reshape(v.shape)) for k, v in network.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval()


@pytest.fixture(scope="session")
def tiny_network() -> SamMed3d:
    """The same class as SAM-Med3D, in a size that takes milliseconds."""
    return filled(build("sam_med3d", TINY_SIZES))


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_network: SamMed3d, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That network as a safetensors file that carries sizes and preset."""
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    metadata = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json(), "name": "Tiny"}
    write_checkpoint(path, tiny_network.state_dict(), **metadata)
    return path
