"""What grows with what: time and memory of clicks against the volume's size, clicks, objects and cores.

    python benchmarks/growth.py [--quick] [--only volume ...]

Each part runs in a process of its own, with one thread but where cores are what it is about, and counts seconds of the
processor, which other work on the machine hardly changes; cores are compared by the clock. Draws charts into
docs/pictures, and prints the numbers. `--quick` takes a minute or two and draws nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import filled_network, forget_peak, peak_mib

import sammed3d
from sammed3d.charts import line_chart
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.predictors.torch_predictor import TorchPredictor

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
EDGES, EDGES_QUICK = (64, 128, 256, 384, 512), (64, 128, 192)
UNIT = 64
"""Voxels: edges are drawn as multiples of it."""
CLICKS, CLICKS_QUICK = 100, 8
OBJECTS, OBJECTS_QUICK = 20, 3
OTHERS = ("sam_med3d", "fastsam3d")
"""Networks with generated weights, on a small and a large volume."""


def predictor_of(model: str) -> Predictor:
    """Load the default model, or build another one with generated weights."""
    if model == "default":
        return sammed3d.load_predictor(model, device="cpu")
    return TorchPredictor(filled_network(model), Preset(), model, device="cpu")


def ball_in_noise(edge: int) -> Volume:
    """A ball in the middle of a cube of 1 mm voxels, int16; its diameter is a quarter of the edge, 64 mm at most."""
    array = np.random.default_rng(edge).integers(0, 60, (edge, edge, edge), dtype=np.int16)
    radius = min(edge // 8, 32)
    part = array[tuple(slice(edge // 2 - radius, edge // 2 + radius) for _ in range(3))]
    squared = sum((axis - radius + 0.5) ** 2 for axis in np.ogrid[tuple(slice(2 * radius) for _ in range(3))])
    part[squared < radius**2] += 600
    return Volume(array, Grid(array.shape, np.eye(4)), f"{edge} voxels")


def spent(action: Callable[[], object]) -> float:
    """Return the seconds of the processor that an action takes."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def around(volume: Volume, count: int) -> list[tuple[tuple[float, float, float], bool]]:
    """Clicks that all go to one patch: the middle of the ball, then in turn one beside it and one inside."""
    edge = volume.grid.shape[0]
    apart = np.stack(np.meshgrid(*[np.arange(-2.5, 3)] * 3), axis=-1).reshape(-1, 3) * edge / 42
    inside = np.random.default_rng(1).permutation(apart)[:count]
    inside[0] = 0
    beside = np.array([min(edge // 8, 32) + 6.0, 0, 0])
    offsets = [place if n % 2 == 0 else place / 2 + beside for n, place in enumerate(inside)]
    return [(tuple((edge / 2 + offset).tolist()), n % 2 == 0) for n, offset in enumerate(offsets)]


def against_volume(model: str, edge: int) -> list[dict[str, float]]:
    """Measure a first click, further ones (the median of three), and the peak of the process without the volume."""
    predictor = predictor_of(model)
    Session(ball_in_noise(32), predictor).click((16.0, 16.0, 16.0))  # what torch does at its first use
    volume = ball_in_noise(edge)
    session, places = Session(volume, predictor), around(volume, 4)
    forget_peak()
    first = spent(lambda: session.click(*places[0]))
    further = [spent(lambda p=place: session.click(*p)) for place in places[1:]]
    beside = peak_mib() - volume.array.nbytes / 2**20
    return [{"edge": edge, "first": first, "further": statistics.median(further), "mib": beside}]


def against_clicks(model: str, count: int) -> list[dict[str, float]]:
    """Measure each of many clicks on one object in one patch."""
    volume, rows = ball_in_noise(128), []
    session = Session(volume, predictor_of(model))
    for n, place in enumerate(around(volume, count), start=1):
        forget_peak()
        before = peak_mib()
        seconds = spent(lambda p=place: session.click(*p))
        rows.append({"click": n, "further": seconds, "mib": before, "peak": peak_mib()})
    return rows


def against_objects(model: str, count: int) -> list[dict[str, float]]:
    """Measure the first click and an undo of each of several objects on one patch."""
    volume, rows = ball_in_noise(128), []
    session = Session(volume, predictor_of(model))
    for n, (place, _) in enumerate(around(volume, 2 * count)[::2], start=1):
        session.add_object(f"object {n}")
        first = spent(lambda p=place: session.click(p))
        rows.append({"objects": n, "first": first, "undo": spent(session.undo), "mib": peak_mib()})
        session.redo()
    return rows


def against_cores(model: str, repeats: int) -> list[dict[str, float]]:
    """Measure clicks by the clock with the threads that this process was given."""
    volume, predictor, first, further = ball_in_noise(128), predictor_of(model), [], []
    for n in range(repeats):
        array = volume.array.copy()
        array[0, 0, 0] = 100 + n  # another patch, whose embedding nobody knows
        session = Session(Volume(array, volume.grid, "cores"), predictor)
        for times, place in zip((first, further), around(volume, 3)[::2], strict=True):
            begin = time.perf_counter()
            session.click(place[0])
            times.append(time.perf_counter() - begin)
    return [{"threads": int(os.environ["OMP_NUM_THREADS"]), "first": min(first), "further": min(further)}]


PARTS = {"volume": against_volume, "clicks": against_clicks, "objects": against_objects, "cores": against_cores}


def measured(part: str, model: str, argument: Any, threads: int = 1) -> list[dict[str, float]]:
    """Run a part in a process of its own, tell what it found, and return that."""
    given = [sys.executable, __file__, "--part", part, "--model", model, "--argument", json.dumps(argument)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True, env=environment)  # noqa: S603
    rows: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    for row in rows if len(rows) <= OBJECTS else rows[:: len(rows) // 10]:
        print(f"{part:8} {model:10} " + "  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    return rows


def chart(name: str, rows: list[dict[str, float]], across: str, x: str, unit: int, curves: dict[str, str]) -> None:
    """Draw columns of rows, each as a share of its largest value, which its name says."""
    drawn = {}
    for column, words in curves.items():
        most = max(row[column] for row in rows)
        ending = f"{most:.0f} MiB" if column in ("mib", "peak") else f"{most:.2f} s"
        drawn[f"{words}: 1 is {ending}"] = [(row[x] / unit, row[column] / most) for row in rows]
    (PICTURES / f"growth-{name}.svg").write_text(line_chart(drawn, across, "share of the largest"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    for inner in ("--part", "--model", "--argument"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked.model, json.loads(asked.argument))))
        return
    quick, found = asked.quick, {}
    if "volume" in asked.only:
        edges = EDGES_QUICK if quick else EDGES
        found["volume"] = [row for edge in edges for row in measured("volume", "default", edge)]
        for model in () if quick else OTHERS:
            for edge in (EDGES[1], EDGES[-1]):
                measured("volume", model, edge)
    if "clicks" in asked.only:
        found["clicks"] = measured("clicks", "default", CLICKS_QUICK if quick else CLICKS)
    if "objects" in asked.only:
        found["objects"] = measured("objects", "default", OBJECTS_QUICK if quick else OBJECTS)
    if "cores" in asked.only:
        for threads in (1, 2):
            measured("cores", "default", 2 if quick else 5, threads)
    if not quick:
        draw(found)


def draw(found: dict[str, list[dict[str, float]]]) -> None:
    """Draw what was measured."""
    if rows := found.get("volume"):
        words = {"first": "first click", "further": "further click", "mib": "memory without the volume"}
        chart("volume", rows, f"edge of the volume, in {UNIT} voxels", "edge", UNIT, words)
    if rows := found.get("clicks"):
        last = [rows[n - 5 : n] for n in range(6, len(rows) + 1)]  # the first click encodes the patch
        medians = [five[-1] | {"further": statistics.median(row["further"] for row in five)} for five in last]
        words = {"further": "a click, median of five", "mib": "memory between clicks", "peak": "peak of a click"}
        chart("clicks", medians, "clicks on one object", "click", 1, words)
    if rows := found.get("objects"):
        words = {"first": "first click on an object", "mib": "memory of the process"}
        chart("objects", rows[1:], "objects in one patch", "objects", 1, words)


if __name__ == "__main__":
    main()
