"""SAM-Med3D's encoder, 128³, batch 1, 2 CPU threads: the cheap exact form against the literal padded form.

And against its matrix products alone, by either library that torch brings (`sammed3d.predictors.products`).
"""

from __future__ import annotations

import sys

import torch
from common import filled_network, forget_peak, in_own_process, patch, peak_mib, seconds
from torch import nn

from sammed3d.nets.literal import make_literal
from sammed3d.predictors import products
from sammed3d.predictors.products import PackedLinear, Rates

TOKENS = 512


def measure(form: str) -> None:
    """Print encoder seconds, peak MiB that encoding adds, and decoder seconds."""
    torch.set_num_threads(2)
    network, voxels = filled_network(), patch()
    if form == "literal":
        make_literal(network)
    with torch.inference_mode():
        forget_peak()
        before = peak_mib()
        encoder = seconds(lambda: network.encode(voxels), repeats=3 if form == "literal" else 10)
        peak, total = peak_mib() - before, peak_mib()
        embedding = network.encode(voxels)
        coords, labels, low_res = torch.full((1, 1, 3), 64.0), torch.ones(1, 1), torch.zeros(1, 1, 32, 32, 32)
        decoder = seconds(lambda: network.decode(embedding, coords, labels, low_res), repeats=20)
    print(encoder, peak, total, decoder)


def measure_products(library: str) -> None:
    """Print seconds of the encoder, and of its linear layers alone, with "plain" or "packed" weights."""
    torch.set_num_threads(2)
    network, voxels = filled_network(), patch()
    if library == "packed":
        products.rates = lambda: Rates(1.0, 2.0)
        products.pack(network)
    layers = [m for m in network.image_encoder.modules() if isinstance(m, nn.Linear | PackedLinear)]
    tokens = {width: torch.randn(TOKENS, width) for width in {layer.in_features for layer in layers}}
    with torch.inference_mode():
        times = [
            (
                seconds(lambda: network.encode(voxels), repeats=1),
                seconds(lambda: [layer(tokens[layer.in_features]) for layer in layers], repeats=1),
            )
            for _ in range(8)
        ]
    print(*(min(column) for column in zip(*times, strict=True)))


def main() -> None:
    """Run both forms in processes of their own and print the ratios."""
    cheap, cheap_peak, cheap_total, decoder = in_own_process(__file__, "cheap")
    literal, literal_peak, literal_total, _ = in_own_process(__file__, "literal")
    print(
        f"encoder      literal {literal:6.2f} s    ours {cheap:6.2f} s    {literal / cheap:5.1f} times faster (goal 8)"
    )
    print(
        f"peak memory  literal {literal_total:6.0f} MiB  ours {cheap_total:6.0f} MiB  "
        f"ratio {cheap_total / literal_total:.2f} (goal 0.5); without weights "
        f"{literal_peak:.0f} and {cheap_peak:.0f} MiB"
    )
    for library in ["plain"] + ["packed"] * (products.rates().packed is not None):
        encoder, alone = in_own_process(__file__, library)
        print(f"{library:6s} weights: {encoder:.2f} s, {encoder / alone:.2f} times its linear layers ({alone:.2f} s)")
    print(f"further click {1000 * decoder:.0f} ms, 1/{cheap / decoder:.0f} of the encoder (goal 1/12)")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] in ("plain", "packed"):
        measure_products(sys.argv[1])
    else:
        measure(sys.argv[1])
