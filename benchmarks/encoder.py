"""SAM-Med3D's encoder, 128³, batch 1, 2 CPU threads: the cheap exact form against the literal padded form.

And the encoders of it, SAM-Med2D and FT-SAM against their matrix products alone, by either library that torch brings
(`sammed3d.predictors.products`): the time that all their arithmetic would take at the rate of the linear layers.
"""

from __future__ import annotations

import itertools
import sys

import torch
from common import filled_network, forget_peak, in_own_process, patch, peak_mib, seconds
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from sammed3d.core.freed_memory import keep_freed
from sammed3d.nets.literal import make_literal
from sammed3d.predictors import products
from sammed3d.predictors.products import PackedLinear

ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - its counter knows CUDA's alone

IMAGES = {"sam_med3d": (1, 1, 128, 128, 128), "sam_med2d": (1, 3, 256, 256), "ft_sam2d": (1, 3, 256, 256)}
TOKENS = {"sam_med3d": 512, "sam_med2d": 256, "ft_sam2d": 256}


def measure(form: str) -> None:
    """Print encoder seconds, peak MiB that encoding adds, and decoder seconds."""
    torch.set_num_threads(2)
    network, voxels = filled_network(), patch()
    if form == "literal":
        make_literal(network)
    else:
        products.pack(network)
    keep_freed()
    with torch.inference_mode():
        forget_peak()
        before = peak_mib()
        encoder = seconds(lambda: network.encode(voxels), repeats=3 if form == "literal" else 10)
        peak, total = peak_mib() - before, peak_mib()
        embedding = network.encode(voxels)
        coords, labels, low_res = torch.full((1, 1, 3), 64.0), torch.ones(1, 1), torch.zeros(1, 1, 32, 32, 32)
        decoder = seconds(lambda: network.decode(embedding, coords, labels, low_res), repeats=20)
    print(encoder, peak, total, decoder)


def measure_products(library: str, name: str) -> None:
    """Print seconds of an encoder, of its large linear layers alone, and how many times those all of its products are.

    Args:
        library: "plain" for torch's own linear layers, "packed" for oneDNN's with packed weights.
        name: of the network.
    """
    torch.set_num_threads(2)
    keep_freed()
    network, image = filled_network(name), torch.rand(IMAGES[name])
    counted = FlopCounterMode(
        display=False, custom_mapping={ATTENTION: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)}
    )
    with torch.inference_mode(), counted:
        network.encode(image)
    large = [m for m in network.image_encoder.modules() if isinstance(m, nn.Linear) and m.in_features >= products.LEAST]
    in_large = sum(2 * TOKENS[name] * layer.in_features * layer.out_features for layer in large)
    products.pays = lambda: library == "packed"
    products.pack(network)
    layers = [m for m in network.image_encoder.modules() if isinstance(m, nn.Linear | PackedLinear)]
    layers = [m for m in layers if m.in_features >= products.LEAST]
    tokens = {width: torch.randn(TOKENS[name], width) for width in {layer.in_features for layer in layers}}
    with torch.inference_mode():
        times = [
            (
                seconds(lambda: network.encode(image), repeats=1),
                seconds(lambda: [layer(tokens[layer.in_features]) for layer in layers], repeats=1),
            )
            for _ in range(8)
        ]
    print(*(min(column) for column in zip(*times, strict=True)), counted.get_total_flops() / in_large)


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
    for name, library in itertools.product(IMAGES, ["plain"] + ["packed"] * products.works()):
        encoder, linear, times = in_own_process(__file__, library, name)
        print(
            f"{name}, {library} weights: {encoder:.2f} s, {encoder / linear:.2f} times its linear layers "
            f"({linear:.2f} s), {encoder / (linear * times):.2f} times all of its products"
        )
    print(f"further click {1000 * decoder:.0f} ms, 1/{cheap / decoder:.0f} of the encoder (goal 1/12)")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] in ("plain", "packed"):
        measure_products(*sys.argv[1:])
    else:
        measure(sys.argv[1])
