"""What grows with what: time and memory of clicks against the volume's size, clicks, objects, cores and clients.

    python benchmarks/growth.py [--quick] [--only CURVE ...] [--models MODEL ...]

    volume      first and further click against the volume's size, 64 to 1024 voxels along each edge
    published   the first click as the published code makes it, against the same: in 3-D torchio resamples the whole
                volume, in 2-D a slice becomes 256 x 256 pixels; the network is the literal form
    clicks, objects     how many there were, in one patch
    cores       1 and 2 threads, by the clock
    clients     1 to 64 clients of a server

Models: the default one, and "sam_med3d", "fastsam3d" and "sam_med2d" with generated weights; with " literal" after the
name the network computes in the published long form (`volume` in one size, `cores` and `published`). A click of
SAM-Med2D is one slice of an object that started from a mask.

Each measurement runs in a process of its own, with one thread but where cores or clients are what it is about, and
counts seconds of the processor, which other work on the machine hardly changes; cores and clients are compared by the
clock. A volume for which there is not enough memory is left out, and said so. Draws charts into docs/pictures, and
prints the numbers. `--quick` takes a minute or two a curve and draws nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from growth_parts import LITERAL, PARTS

from sammed3d.charts import line_chart

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
EDGES, EDGES_QUICK = (64, 128, 256, 384, 512, 768, 1024), (64, 128, 192)
UNIT = 64
"""Voxels: edges are drawn as multiples of it."""
CLICKS, CLICKS_QUICK = 100, 8
OBJECTS, OBJECTS_QUICK = 20, 3
CLIENTS, CLIENTS_QUICK = (1, 2, 4, 8, 16, 32, 64), (1, 2)
GENERATED = ("sam_med3d", "fastsam3d", "sam_med2d")
MODELS = ("default", *GENERATED, *(model + LITERAL for model in GENERATED))
GIB = 2**30
BESIDE = 2 * GIB
"""What a process takes beside copies of the volume."""


UNITS = {"mib": "MiB", "peak": "MiB", "rate": "a second", "alone": "a second"}


def fits(edge: int, bytes_a_voxel: int) -> bool:
    """Whether there is memory for a volume and what is made of it; says so where there is not."""
    needed, there = BESIDE + bytes_a_voxel * edge**3, psutil.virtual_memory().available
    if needed > there:
        print(f"{edge} voxels: left out, for it takes {needed / GIB:.1f} GiB of {there / GIB:.1f}", flush=True)
    return needed <= there


def measured(part: str, model: str, argument: Any, threads: int = 1) -> list[dict[str, float]]:
    """Run a part in a process of its own, tell what it found, and return that; 0 threads are as many as there are."""
    given = [sys.executable, __file__, "--part", part, "--model", model, "--argument", json.dumps(argument)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OPENBLAS_NUM_THREADS": "1"} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True, env=environment)  # noqa: S603
    rows: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    for row in rows if len(rows) <= OBJECTS else rows[:: len(rows) // 10]:
        print(f"{part:9} {model:17} " + "  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    return rows


def chart(name: str, rows: list[dict[str, float]], across: str, x: str, unit: int, curves: dict[str, str]) -> None:
    """Draw columns of rows, each as a share of its largest value, which its name says."""
    drawn = {}
    for column, words in curves.items():
        most = max(row[column] for row in rows)
        ending = f"{most:.{0 if column in ('mib', 'peak') else 2}f} {UNITS.get(column, 's')}"
        drawn[f"{words}: 1 is {ending}"] = [(row[x] / unit, row[column] / most) for row in rows]
    (PICTURES / f"growth-{name}.svg").write_text(line_chart(drawn, across, "share of the largest"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="CURVE")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    for inner in ("--part", "--model", "--argument"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked.model, json.loads(asked.argument))))
        return
    for curve in asked.only:
        found = {model: rows for model in asked.models if (rows := curve_of(curve, model, asked.quick))}
        if found and not asked.quick:
            draw(curve, found)


def curve_of(curve: str, model: str, quick: bool) -> list[dict[str, float]]:
    """Measure a curve of a model; nothing where there is none, or it would say what another model's does."""
    edges = EDGES_QUICK if quick else EDGES
    if curve == "volume":
        most = edges if not model.endswith(LITERAL) else edges[1:2]  # around the encoder it does the same
        return [row for edge in most if fits(edge, 6) for row in measured(curve, model, edge)]
    if curve == "published":
        known = edges if model.endswith(LITERAL) else ()
        copies = 6 if model.startswith("sam_med2d") else 20  # bytes a voxel; of a slice nothing counts
        return [row for edge in known if fits(edge, copies) for row in measured(curve, model, edge)]
    if model.endswith(LITERAL) and curve != "cores":
        return []
    if curve == "clicks":
        return measured(curve, model, CLICKS_QUICK if quick else CLICKS)
    if curve == "objects":
        return measured(curve, model, OBJECTS_QUICK if quick else OBJECTS)
    if curve == "cores":
        return [row for threads in (1, 2) for row in measured(curve, model, 2 if quick else 5, threads)]
    return measured(curve, model, CLIENTS_QUICK if quick else CLIENTS, 0) if model == "default" else []


def draw(curve: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Draw what was measured: each column of the default model, and one column of all models."""
    edges = f"edge of the volume, in {UNIT} voxels"
    rows = found.get("default", [])
    if curve == "volume":
        words = {"first": "first click", "further": "further click", "mib": "memory without the volume"}
        if rows:
            chart("volume", rows, edges, "edge", UNIT, words)
        among("volume-models", found, edges, "edge", UNIT, "first")
    elif curve == "published":
        words = {"first": "first click", "prepared": "of that the whole volume", "mib": "memory without the volume"}
        if "sam_med3d literal" in found:
            chart("published", found["sam_med3d literal"], edges, "edge", UNIT, words)
    elif curve == "clicks":
        medians = {model: medians_of(each) for model, each in found.items()}
        words = {"further": "a click, median of five", "mib": "memory between clicks", "peak": "peak of a click"}
        if rows:
            chart("clicks", medians["default"], "clicks on one object", "click", 1, words)
        among("clicks-models", medians, "clicks on one object", "click", 1, "further")
    elif curve == "objects" and rows:
        words = {"first": "first click on an object", "mib": "memory of the process"}
        chart("objects", rows[1:], "objects in one patch", "objects", 1, words)
    elif curve == "clients" and rows:
        words = {
            "rate": "clicks",
            "alone": "clicks in one process alone",
            "p50": "wait",
            "p95": "wait, 95th percentile",
        }
        chart("clients", rows, "clients at once", "clients", 1, words)


def medians_of(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Take the median of every five clicks; the first click, which encodes the patch, is left out."""
    last = [rows[n - 5 : n] for n in range(6, len(rows) + 1)]
    return [five[-1] | {"further": statistics.median(row["further"] for row in five)} for five in last]


def among(name: str, found: dict[str, list[dict[str, float]]], across: str, x: str, unit: int, column: str) -> None:
    """Draw a column of several models, each as a share of its own largest value; what has one point is no curve."""
    most = {model: max(row[column] for row in rows) for model, rows in found.items() if len(rows) > 1}
    curves = {
        f"{model}: 1 is {top:.2f} s": [(row[x] / unit, row[column] / top) for row in found[model]]
        for model, top in most.items()
    }
    if curves:
        drawn = line_chart(curves, across, "share of the largest")
        (PICTURES / f"growth-{name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
