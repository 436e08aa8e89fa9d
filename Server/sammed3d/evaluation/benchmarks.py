"""The tables that the family's publications report, measured on one's own copy of the data.

Which numbers a publication states is written down here, and nothing else: a cell that it does not state stays empty.
Numbers can be compared where data and protocol are the publication's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

OTHER, ALL = "other", "all"


@dataclass(frozen=True)
class Benchmark:
    """A published table.

    Attributes:
        name: by which it is asked for.
        title: for people.
        model: name of the model that it is about.
        columns: numbers of points, or "box"; in the order of the table.
        groups: words that the names of a row's structures hold, by row; a structure belongs to the first row that has
            one of its words. Without groups each structure is a row.
        published: Dice in percent by row and column, as its source states them; rows beside our own are other models.
        source: where the published numbers stand, and on which data.
        measured: how a number comes about, as the publication does it.
        lists: whether its data are lists of 2-D images.
    """

    name: str
    title: str
    model: str
    columns: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    published: Mapping[str, Mapping[str, float]]
    source: str
    measured: str
    lists: bool = False

    @property
    def points(self) -> int:
        """Number of points of the last column."""
        return max(int(column) for column in self.columns if column.isdigit())

    def row_of(self, structure: str) -> str:
        """Return the row that a structure belongs to."""
        if not self.groups:
            return structure
        words = f" {' '.join(re.findall(r'[a-z0-9]+', structure.lower()))} "
        return next((row for row, known in self.groups.items() if any(f" {word} " in words for word in known)), OTHER)


BEST = (
    "SAM-Med3D's validation of 2023 (protocol classic): the crop is cut round the reference, each pass sees the newest "
    "click, and N points stand for the best Dice of the first N clicks."
)
ANATOMY = {
    "lesion": ("lesion", "lesions", "tumor", "tumour", "tumors", "cancer", "nodule", "edema", "stroke", "cyst", "gtv"),
    "gland": ("adrenal", "thyroid", "prostate", "parotid", "submandibular", "gland", "glands", "pituitary"),
    "brain": (
        "brain", "hippocampus", "brainstem", "thalamus", "putamen", "caudate", "pallidum", "cerebellum", "amygdala",
        "accumbens", "cortex", "ventricles", "lateral ventricle", "chiasm",
    ),
    "cardiac": ("heart", "ventricle", "atrium", "myocardium", "auricle", "cardiac"),
    "muscle": ("muscle", "muscles", "gluteus", "iliopsoas", "autochthon", "psoas"),
    "bone": (
        "bone", "bones", "vertebra", "vertebrae", "rib", "ribs", "femur", "hip", "sacrum", "scapula", "clavicula",
        "clavicle", "humerus", "mandible", "skull", "sternum", "cochlea",
    ),
    "abdomen and thorax": (
        "liver", "spleen", "kidney", "kidneys", "pancreas", "stomach", "gallbladder", "esophagus", "oesophagus",
        "duodenum", "colon", "bowel", "intestine", "bladder", "lung", "lungs", "trachea", "aorta", "vein", "artery",
        "vena", "cava", "uterus", "rectum",
    ),
}  # fmt: skip
AMOS = {
    "spleen": ("spleen",),
    "right kidney": ("right kidney", "kidney right"),
    "left kidney": ("left kidney", "kidney left"),
    "gallbladder": ("gallbladder", "gall bladder"),
    "esophagus": ("esophagus", "oesophagus"),
    "liver": ("liver",),
    "stomach": ("stomach",),
    "aorta": ("aorta",),
    "inferior vena cava": ("vena cava", "postcava", "inferior vena cava"),
    "pancreas": ("pancreas",),
    "right adrenal gland": ("right adrenal gland", "adrenal gland right", "right adrenal"),
    "left adrenal gland": ("left adrenal gland", "adrenal gland left", "left adrenal"),
    "duodenum": ("duodenum",),
    "bladder": ("bladder",),
    "prostate or uterus": ("prostate", "uterus"),
}
"""The organs of AMOS, in its order."""

BENCHMARKS: dict[str, Benchmark] = {
    each.name: each
    for each in (
        Benchmark(
            "sam_med3d",
            "SAM-Med3D by anatomy",
            "sam_med3d_turbo",
            ("1", "3", "5", "10"),
            ANATOMY,
            {ALL: {"1": 76.27, "3": 79.02, "5": 79.75, "10": 80.71}},
            "SAM-Med3D's paper (ECCV BIC 2024), overall Dice on its validation data; turbo was trained further since. "
            "Which structure belongs to which group is our list of words.",
            BEST,
        ),
        Benchmark(
            "fastsam3d",
            "FastSAM3D on the organs of AMOS",
            "fastsam3d",
            ("1", "3", "5", "10"),
            AMOS,
            {},
            "No published numbers are written down here.",
            BEST,
        ),
        Benchmark(
            "bosam",
            "BoSAM with 1, 5 and 10 points",
            "bosam",
            ("1", "5", "10"),
            {},
            {
                ALL: {"1": 81.68, "5": 82.71, "10": 83.01},
                "SAM-Med3D-turbo, as BoSAM reports it": {"1": 39.05, "5": 62.41, "10": 67.49},
            },
            "BoSAM's README, on its own validation data.",
            BEST,
        ),
        Benchmark(
            "sam_med2d",
            "SAM-Med2D with a box and with points",
            "sam_med2d",
            ("box", "1", "3", "5"),
            {},
            {ALL: {"box": 79.30, "1": 70.01, "3": 76.35, "5": 78.68}},
            "SAM-Med2D's README, on its authors' own test set.",
            "SAM-Med2D's test: the box round each mask; points one after the other, the first anywhere in the mask, "
            "further ones anywhere in the error. Small images are padded.",
            lists=True,
        ),
    )
}
"""By name."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: of the group, the structure, or the other model.
        count: how many structures of cases were measured.
        ours: mean Dice in percent by column.
        published: the same as published, where it is.
    """

    name: str
    count: int
    ours: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)


def rows_of(benchmark: Benchmark, measured: Sequence[tuple[str, Mapping[str, float]]]) -> list[Row]:
    """Return the rows of a table.

    Args:
        benchmark: the table.
        measured: for each structure of each case its name, and its Dice (0..1) by column.
    """
    by_row: dict[str, list[Mapping[str, float]]] = {}
    for structure, values in measured:
        by_row.setdefault(benchmark.row_of(structure), []).append(values)
    order = [*benchmark.groups, OTHER] if benchmark.groups else sorted(by_row)
    rows = [_row(benchmark, name, by_row[name]) for name in order if name in by_row]
    rows.append(_row(benchmark, ALL, [values for _, values in measured]))
    others = [name for name in benchmark.published if name not in {row.name for row in rows}]
    return [*rows, *(Row(name, 0, {}, benchmark.published[name]) for name in others)]


def _row(benchmark: Benchmark, name: str, values: Sequence[Mapping[str, float]]) -> Row:
    ours = {column: 100 * float(np.mean([each[column] for each in values])) for column in benchmark.columns}
    return Row(name, len(values), ours, benchmark.published.get(name, {}))


def best_of(curve: Sequence[float], columns: Sequence[str]) -> dict[str, float]:
    """Return the best Dice of the first N clicks for each column N, as the classic tables report it."""
    return {column: max(curve[: int(column)]) for column in columns}


def markdown(benchmark: Benchmark, model: str, rows: Sequence[Row], left_out: Sequence[str] = ()) -> str:
    """Write a table with the published numbers beside ours."""
    heads = [
        f"{column} point{'s' if column != '1' else ''}" if column.isdigit() else column for column in benchmark.columns
    ]
    lines = [
        f"# {benchmark.title}: {model}",
        "",
        f"Mean Dice in percent. {benchmark.measured}",
        "",
        "| | measured | " + " | ".join(f"{head} | published" for head in heads) + " |",
        "|---|---|" + "---|---|" * len(heads),
    ]
    for row in rows:
        cells = [_cell(values.get(column)) for column in benchmark.columns for values in (row.ours, row.published)]
        lines.append(f"| {row.name} | {row.count or ''} | " + " | ".join(cells) + " |")
    lines += ["", f"Published: {benchmark.source} Numbers can be compared where the data are the same."]
    if left_out:
        lines += ["", "Not measured:", "", *(f"- {reason}" for reason in left_out)]
    return "\n".join(lines) + "\n"


def as_json(benchmark: Benchmark, model: str, rows: Sequence[Row], left_out: Sequence[str]) -> dict[str, Any]:
    """Return a table as JSON types."""
    table = {"benchmark": benchmark.name, "model": model, "source": benchmark.source, "measured": benchmark.measured}
    return table | {"rows": [asdict(row) for row in rows], "left_out": list(left_out)}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
