"""Dice of masks that are nearly right, and after clicks on them: does a click repair what it means, and nothing else?

    python benchmarks/refining.py DATASET [--model default] [--clicks 3] [--every 4] [--smallest 1] [--only NAME ...]

Each structure is spoiled in three ways: "cut", a third of it is missing at one end; "leak", a ball of a third of its
volume (8 mm of radius at least) is too much at its surface; "grown", 4 mm are too much all round. The careful user of
`simulation/clicks.py` clicks the largest error. One line of JSON for each, as it ends, then the means.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from labelled import structures
from scipy.ndimage import distance_transform_edt

import sammed3d
from sammed3d.core.geometry import Grid
from sammed3d.evaluation.metrics import dice
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.session import Session
from sammed3d.simulation.clicks import next_click

Mask = npt.NDArray[np.uint8]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--every", type=int, default=4, help="take every n-th structure of a case only")
    parser.add_argument("--smallest", type=float, default=1.0, help="ml")
    parser.add_argument("--only", nargs="*", default=[], help="names of structures")
    options = parser.parse_args()
    predictor = sammed3d.load_predictor(options.model, "cpu")
    rows: dict[str, list[list[float]]] = {}
    for each in structures(options.dataset, options.smallest, options.every, options.only):
        for way, mask in spoiled(each.truth, each.volume.grid):
            row = refined(each.volume, predictor, mask, each.truth, options.clicks)
            rows.setdefault(way, []).append(row)
            print(json.dumps(each.told | {"spoiled": way, "dice": [round(v, 3) for v in row]}), flush=True)
    for way, found in rows.items():
        print(f"{way}, {len(found)} structures: {np.round(np.mean(found, axis=0), 3).tolist()}")


def spoiled(truth: Mask, grid: Grid) -> Iterator[tuple[str, Mask]]:
    """Yield ways to be nearly right, and masks (I, J, K) that are."""
    spacing = np.array(grid.spacing)
    places = np.argwhere(truth)
    longest = int(np.argmax(np.ptp(places, axis=0) * spacing))
    end = np.quantile(places[:, longest], 2 / 3)
    yield "cut", np.where(np.indices(truth.shape)[longest] <= end, truth, 0).astype(np.uint8)

    depth = distance_transform_edt(truth, sampling=spacing)
    surface = np.argwhere((truth != 0) & (depth <= depth[truth != 0].min() + 0.1))
    at = surface[len(surface) // 3]
    third = truth.sum() * grid.voxel_volume / 3
    radius = max(8.0, (third / (4 / 3 * np.pi)) ** (1 / 3))
    axes = zip(np.ogrid[tuple(slice(n) for n in truth.shape)], at, spacing, strict=True)
    leak = sum(((axis - middle) * mm) ** 2 for axis, middle, mm in axes) <= radius**2
    yield "leak", np.maximum(truth, leak).astype(np.uint8)

    yield "grown", (distance_transform_edt(truth == 0, sampling=spacing) <= 4.0).astype(np.uint8)


def refined(volume: Volume, predictor: Predictor, mask: Mask, truth: Mask, clicks: int) -> list[float]:
    """Return Dice of a mask, and after each click on it; where there is nothing left to click, it stays."""
    session = Session(volume, predictor)
    session.start_from(mask)
    row = [dice(mask, truth)]
    for _ in range(clicks):
        click = next_click(session.mask(), truth, volume.grid)
        if click is not None:
            session.click(click.world, positive=click.positive)
        row.append(dice(session.mask(), truth))
    return row


if __name__ == "__main__":
    main()
