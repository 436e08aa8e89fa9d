"""Dice with and without following, on the structures of a dataset that are longer than a patch's inner part.

    python benchmarks/following.py DATASET [--model default] [--longer 150] [--clicks 6] [--together NAME=LABEL+LABEL]

The careful user of `simulation/clicks.py` segments each structure twice: with following switched off, then with it. One
line of JSON for each, as it ends, then the means.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sammed3d
from sammed3d.core.geometry import Box
from sammed3d.evaluation.metrics import dice
from sammed3d.files.datasets import Case, find_cases, read_labels
from sammed3d.files.volume import Volume
from sammed3d.inference.follow_limits import FollowSettings
from sammed3d.inference.session import Session
from sammed3d.simulation.clicks import next_click


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--longer", type=float, default=150.0, help="mm, the structure's longest edge")
    parser.add_argument("--clicks", type=int, default=6)
    parser.add_argument("--only", nargs="*", default=[], help="names of structures")
    parser.add_argument("--together", nargs="*", default=[], help="NAME=LABEL+LABEL: measure labels as one structure")
    options = parser.parse_args()
    predictor = sammed3d.load_predictor(options.model, "cpu")
    results: dict[str, list[list[float]]] = {"never": [], "always": []}
    for case in find_cases(options.dataset):
        volume = Volume.read(case.image)
        for name, truth in structures(case, volume, options.together):
            box = Box.around(truth)
            if box is None or (options.only and name not in options.only):
                continue
            extent = max(n * s for n, s in zip(box.shape, volume.grid.spacing, strict=True))
            if extent <= options.longer:
                continue
            for mode, known in results.items():
                measured = measure(volume, predictor, truth, FollowSettings(mode, patches=8), options.clicks)
                known.append(measured["dice"])
                print(
                    json.dumps({"case": case.name, "structure": name, "mm": round(extent), "mode": mode, **measured}),
                    flush=True,
                )
    for mode, rows in results.items():
        print(json.dumps({"mode": mode, "structures": len(rows), "mean": np.mean(rows, axis=0).round(3).tolist()}))


def structures(case: Case, volume: Volume, together: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and mask of each structure of a case, and of those that are measured as one."""
    labels = read_labels(case, volume.grid)
    values = {case.name_of(int(value)): int(value) for value in np.unique(labels) if value}
    for name, value in values.items():
        yield name, labels == value
    for entry in together:
        name, _, parts = entry.partition("=")
        if all(part in values for part in parts.split("+")):
            yield name, np.isin(labels, [values[part] for part in parts.split("+")])


def measure(volume: Volume, predictor, truth: np.ndarray, settings: FollowSettings, count: int) -> dict[str, list]:
    """Click, and return Dice, patches followed and seconds after each click."""
    session = Session(volume, predictor)
    session.following = settings
    result: dict[str, list] = {"dice": [], "patches": [], "seconds": []}
    for _ in range(count):
        click = next_click(session.mask(), truth, volume.grid)
        if click is None:
            break
        begin = time.perf_counter()
        update = session.click(click.world, click.positive)
        result["seconds"].append(round(time.perf_counter() - begin, 1))
        result["dice"].append(round(float(dice(session.mask(), truth)), 3))
        result["patches"].append(0 if update.followed is None else update.followed.patches)
    return result


if __name__ == "__main__":
    main()
