"""Mixed precision against float32 on this machine: time, and how much the masks agree.

    python benchmarks/precision.py [--checkpoint FILE] [--device cuda]
    python benchmarks/precision.py --data DATASET [--model default] [--device cpu]

With a dataset, the careful user of `simulation/clicks.py` segments a structure of each of its first volumes in float32;
the same clicks are then given to both precisions. Else it is five clicks of SAM-Med3D on a patch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import filled_network, patch, seconds

import sammed3d
from sammed3d.core.prompts import Click
from sammed3d.evaluation.metrics import dice
from sammed3d.files.datasets import Case, find_cases, read_labels
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.session import Session
from sammed3d.predictors.torch_predictor import choose_device
from sammed3d.simulation.clicks import next_click
from sammed3d.zoo.checkpoint import load_weights, read_checkpoint

CLICKS = 10


def main() -> None:
    """Print a line for each precision, or for each volume."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="real weights; else deterministic random ones")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", type=Path, help="folder of labelled cases")
    parser.add_argument("--volumes", type=int, default=5, help="how many of them")
    parser.add_argument("--model", default="default", help="model for the dataset")
    options = parser.parse_args()
    if options.data:
        cases = find_cases(options.data)
        on_volumes(cases[:: max(1, len(cases) // options.volumes)][: options.volumes], options)
    else:
        on_a_patch(options.checkpoint, choose_device(options.device))


def on_volumes(cases: list[Case], options: argparse.Namespace) -> None:
    """Print how much masks of real structures agree, and what clicks take."""
    exact, mixed = (sammed3d.load_predictor(options.model, options.device, p) for p in ("float32", "bfloat16"))
    for case in cases:
        volume = Volume.read(case.image)
        labels = read_labels(case, volume.grid)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        truth = labels == int(sizes.argmax())
        clicks, masks, times = segment(volume, exact, truth, None)
        _, others, other_times = segment(volume, mixed, truth, clicks)
        agree = [dice(a, b) for a, b in zip(masks, others, strict=True)]
        print(
            f"{case.name}: first click {times[0]:.2f} and {other_times[0]:.2f} s, a further one "
            f"{np.median(times[1:]):.2f} and {np.median(other_times[1:]):.2f} s; Dice "
            + " ".join(f"{d:.4f}" for d in agree),
            flush=True,
        )


def segment(
    volume: Volume, predictor: Predictor, truth: np.ndarray, clicks: list[Click] | None
) -> tuple[list[Click], list[np.ndarray], list[float]]:
    """Give some clicks, or those of the careful user; returns them, masks and seconds after each."""
    session = Session(volume, predictor)
    given: list[Click] = []
    masks, times = [], []
    for n in range(CLICKS if clicks is None else len(clicks)):
        click = next_click(session.mask(), truth, volume.grid) if clicks is None else clicks[n]
        if click is None:
            break
        times.append(sum(session.click(click.world, click.positive).seconds.values()))
        masks.append(session.mask().copy() > 0)
        given.append(click)
    return given, masks, times


def on_a_patch(checkpoint: Path | None, device: torch.device) -> None:
    """Print what SAM-Med3D's encoder takes, and how much masks agree after five clicks."""
    network = filled_network()
    if checkpoint:
        load_weights(network, read_checkpoint(checkpoint))
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
    agree = [2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())) for a, b in pairs]
    exact, mixed = times[torch.float32], times[torch.bfloat16]
    print(f"encoder on {device}: float32 {exact:.3f} s, bfloat16 {mixed:.3f} s, {exact / mixed:.2f} times faster")
    print("Dice between float32 and bfloat16 masks after clicks 1-5:", " ".join(f"{d:.4f}" for d in agree))


if __name__ == "__main__":
    main()
