"""SAM-Med3D's encoder on the CPU: torch against onnxruntime, 128³, batch 1, 2 threads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from common import filled_network, patch, seconds

from sammed3d import Preset
from sammed3d.zoo.onnx_export import export_onnx
from sammed3d.zoo.onnx_network import OnnxNetwork


def main() -> None:
    """Print both times and the largest difference."""
    torch.set_num_threads(2)
    network, voxels = filled_network(), patch()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        export_onnx(network, Preset(), "SAM-Med3D", Path(folder))
        exported = OnnxNetwork(Path(folder))
        ours = seconds(lambda: network.encode(voxels), repeats=7)
        theirs = seconds(lambda: exported.encode(voxels), repeats=7)
        difference = float((network.encode(voxels) - exported.encode(voxels)).abs().max())
    print(
        f"encoder  torch {ours:.2f} s  onnxruntime {theirs:.2f} s  ratio {theirs / ours:.2f}  off by {difference:.0e}"
    )


if __name__ == "__main__":
    main()
