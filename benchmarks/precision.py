"""Mixed precision against float32 on this machine: time, and how much the masks agree."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import filled_network, patch, seconds

from sammed3d.predictors.torch_predictor import choose_device
from sammed3d.zoo.checkpoint import load_weights, read_checkpoint


def main() -> None:
    """Print a line for each precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="real weights; else deterministic random ones")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    network = filled_network()
    if arguments.checkpoint:
        load_weights(network, read_checkpoint(arguments.checkpoint))
    network, voxels = network.to(device), patch().to(device)
    masks, times = {}, {}
    for precision in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
            times[precision] = seconds(lambda: float(network.encode(voxels).sum()), repeats=5)
            embedding, low_res = network.encode(voxels), torch.zeros(1, 1, 32, 32, 32, device=device)
            masks[precision] = []
            for n in range(5):
                coords = torch.tensor([[[30.0 + 15 * n, 64.0, 90.0 - 10 * n]]], device=device)
                low_res, _ = network.decode(embedding, coords, torch.tensor([[(n + 1) % 2]], device=device), low_res)
                masks[precision].append(low_res.float().cpu() > 0)
    pairs = zip(masks[torch.float32], masks[torch.bfloat16], strict=True)
    dice = [2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())) for a, b in pairs]
    exact, mixed = times[torch.float32], times[torch.bfloat16]
    print(f"encoder on {device}: float32 {exact:.3f} s, bfloat16 {mixed:.3f} s, {exact / mixed:.2f} times faster")
    print("Dice between float32 and bfloat16 masks after clicks 1-5:", " ".join(f"{d:.4f}" for d in dice))


if __name__ == "__main__":
    main()
