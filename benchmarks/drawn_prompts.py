"""Mean Dice after one scribble, lasso or box against one click, and against the clicks that take the same time.

    python benchmarks/drawn_prompts.py FOLDER [STRUCTURES OF A CASE]

FOLDER holds cases as `sammed3d evaluate` reads them. The simulated user is `sammed3d.simulation.drawings`; the model is
the default one, on the CPU. Prints a table, and how it stands after each case.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

import sammed3d
from sammed3d import Session, Volume
from sammed3d.evaluation.metrics import dice
from sammed3d.files.datasets import find_cases, read_labels
from sammed3d.simulation.clicks import next_click
from sammed3d.simulation.drawings import box_for, clicks_in, lasso_for, scribble_for, seconds_of

SMALLEST = 1.0
"""ml"""


def measure(volume: Volume, truth: np.ndarray, predictor) -> dict[str, float]:
    """Return scores, clicks of the same time, and seconds of computation for one structure."""
    rng = np.random.RandomState(0)
    nothing = np.zeros(truth.shape, np.uint8)
    drawn = {
        "scribble": scribble_for(nothing, truth, volume.grid),
        "lasso": lasso_for(nothing, truth, volume.grid, rng),
        "box": box_for(truth, volume.grid, rng),
    }
    clicks = {name: clicks_in(seconds_of(prompt)) for name, prompt in drawn.items()}
    found = {}
    session = Session(volume, predictor)
    for count in range(1, max(clicks.values()) + 1):
        click = next_click(session.mask(), truth, volume.grid)
        if click is not None:
            session.click(click.world, click.positive)
        found[f"after {count} clicks"] = dice(session.mask(), truth)
    result = {"1 click": found["after 1 clicks"]}
    for name, prompt in drawn.items():
        session = Session(volume, predictor)
        begin = time.perf_counter()
        session.set_box(prompt.begin, prompt.end) if name == "box" else session.draw(replace(prompt, after=0))
        result[f"{name}: seconds"] = time.perf_counter() - begin
        result[name] = dice(session.mask(), truth)
        result[f"{name}: clicks of the same time"] = clicks[name]
        result[f"{name}: Dice of those clicks"] = found[f"after {clicks[name]} clicks"]
        result[f"{name}: clicks that the model was told"] = len(session.translations(session.current.name)[0].clicks)
    return result


def main() -> None:
    folder, most = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4
    predictor = sammed3d.load_predictor("default", "cpu")
    results = defaultdict(list)
    for case in find_cases(folder):
        volume = Volume.read(case.image)
        labels = read_labels(case, volume.grid)
        large = [
            v for v in np.unique(labels) if v and (labels == v).sum() * volume.grid.voxel_volume >= SMALLEST * 1000
        ]
        np.random.RandomState(0).shuffle(large)
        for value in large[:most]:
            for name, number in measure(volume, (labels == value).astype(np.uint8), predictor).items():
                results[name].append(number)
        print(f"\n{case.name}: {len(results['1 click'])} structures so far")
        for name, numbers in results.items():
            print(f"  {name:40} {statistics.mean(numbers):.3f}", flush=True)


if __name__ == "__main__":
    main()
