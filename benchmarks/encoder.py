"""SAM-Med3D's encoder, 128³, batch 1, 2 CPU threads: the cheap exact form against the literal padded form."""

from __future__ import annotations

import sys

import torch
from common import filled_network, forget_peak, in_own_process, patch, peak_mib, seconds

from sammed3d.nets.literal import make_literal


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
    print(f"further click {1000 * decoder:.0f} ms, 1/{cheap / decoder:.0f} of the encoder (goal 1/12)")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
