"""Encoder and decoder latency on an NVIDIA GPU, warmed up and synchronised; batch 1, 128³."""

from __future__ import annotations

import functools
import itertools
import sys

import torch
from common import filled_network, patch, seconds


def main() -> None:
    """Print a table: precision x compiled, encoder and decoder in ms."""
    if not torch.cuda.is_available():
        sys.exit("No CUDA device here: nothing measured.")
    device = torch.device("cuda")
    voxels = patch().to(device)
    coords, labels = torch.full((1, 1, 3), 64.0, device=device), torch.ones(1, 1, device=device)
    low_res = torch.zeros(1, 1, 32, 32, 32, device=device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; goal: encoder below 8 ms")
    with torch.inference_mode():
        exact = filled_network().to(device).encode(voxels)
    for compiled, precision in itertools.product((False, True), (torch.float32, torch.float16, torch.bfloat16)):
        network = filled_network().to(device)
        encode = torch.compile(network.encode, mode="reduce-overhead") if compiled else network.encode
        decode = torch.compile(network.decode) if compiled else network.decode
        with torch.inference_mode(), torch.autocast("cuda", precision, enabled=precision != torch.float32):
            embedding = encode(voxels).clone()
            clicks = (embedding, coords, labels, low_res)
            encoder = seconds(functools.partial(encode, voxels), 30, 5, torch.cuda.synchronize)
            decoder = seconds(functools.partial(decode, *clicks), 30, 5, torch.cuda.synchronize)
        difference = float((embedding.float() - exact).abs().max())
        name = str(precision).removeprefix("torch.") + (" compiled" if compiled else "")
        print(f"{name:18} encoder {1000 * encoder:7.2f} ms  decoder {1000 * decoder:6.2f} ms  off by {difference:.1e}")


if __name__ == "__main__":
    main()
