"""Measure a model on labelled volumes: structures in, scores by click out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.errors import SAMMed3DError
from sammed3d.evaluation import metrics, pictures
from sammed3d.evaluation.baselines import BASELINES
from sammed3d.evaluation.protocols import Protocol, Step, steps_of
from sammed3d.files.datasets import Case, read_labels
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor

NSD_TOLERANCE = 2.0  # mm
NSD_FROM_DICE = 0.2
"""Below this Dice the surface score counts as 0 and is not computed, as in CVPR 2025's challenge."""


@dataclass(frozen=True)
class Score:
    """One structure after one click.

    Attributes:
        case: name of the case.
        structure: name of the structure.
        ml: its volume.
        method: the model's name, or that of a baseline.
        click: how many clicks there were.
        dice, iou, nsd, volume_error: see `metrics`; `nsd` with a tolerance of 2 mm.
    """

    case: str
    structure: str
    ml: float
    method: str
    click: int
    dice: float
    iou: float
    nsd: float
    volume_error: float


@dataclass(eq=False)
class Evaluation:
    """All scores of a run.

    Attributes:
        model: the model's name.
        protocol: how it was measured.
        seed: of random clicks.
        scores: one for each structure, method and click.
        pictures: PNG of the last click, by case and structure.
        failures: what could not be measured, and why.
    """

    model: str
    protocol: Protocol
    seed: int
    scores: list[Score] = field(default_factory=list)
    pictures: dict[tuple[str, str], bytes] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The model, then the baselines."""
        return list(dict.fromkeys(score.method for score in self.scores))

    @property
    def structures(self) -> list[tuple[str, str]]:
        """Case and structure, in the order in which they were measured."""
        return list(dict.fromkeys((score.case, score.structure) for score in self.scores))

    def curve(self, method: str, metric: str = "dice") -> list[float]:
        """Return the mean of a metric over all structures, after each click."""
        by_click: dict[int, list[float]] = {}
        for score in self.scores:
            if score.method == method:
                by_click.setdefault(score.click, []).append(getattr(score, metric))
        return [float(np.mean(by_click[n])) for n in sorted(by_click)]

    def of(self, method: str, case: str, structure: str, metric: str = "dice") -> list[float]:
        """Return the values of a metric for one structure, after each click."""
        return [getattr(s, metric) for s in self.scores if (s.method, s.case, s.structure) == (method, case, structure)]

    def summary(self) -> dict[str, Any]:
        """Return what tables show: means by method and click, and what the protocol's publication reports."""
        table: dict[str, Any] = {}
        for method in self.methods:
            curves = {metric: self.curve(method, metric) for metric in ("dice", "iou", "nsd")}
            errors = self.curve(method, "volume_error")
            table[method] = {
                **{m: {str(n): c[n - 1] for n in self.protocol.at if n <= len(c)} for m, c in curves.items()},
                "volume_error": {str(n): errors[n - 1] for n in self.protocol.at if n <= len(errors)},
                "best_of_clicks": self._best_of_clicks(method),
                "dice_area": metrics.area_under(curves["dice"]),
                "nsd_area": metrics.area_under(curves["nsd"]),
            }
        return {
            "model": self.model,
            "protocol": self.protocol.name,
            "seed": self.seed,
            "structures": len(self.structures),
            "failures": self.failures,
            "methods": table,
        }

    def _best_of_clicks(self, method: str) -> float:
        return float(np.mean([max(self.of(method, *which)) for which in self.structures]))

    def write(self, folder: Path) -> None:
        """Write `scores.csv`, `summary.json` and `report.html`."""
        from sammed3d.evaluation.report import html  # noqa: PLC0415 - imports this module

        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [f.name for f in fields(Score)])
            writer.writeheader()
            writer.writerows(asdict(score) for score in self.scores)
        (folder / "summary.json").write_text(json.dumps(self.summary(), indent=2), encoding="utf-8")
        (folder / "report.html").write_text(html(self), encoding="utf-8")


def evaluate(
    predictor: Predictor,
    cases: Sequence[Case],
    protocol: Protocol,
    *,
    clicks: int | None = None,
    baselines: Sequence[str] = (),
    smallest_ml: float = 0.0,
    every: int = 1,
    seed: int = 2023,
    on_score: Callable[[Score], None] = lambda _: None,
) -> Evaluation:
    """Measure a model, and baselines with the same rule for clicks.

    Args:
        predictor: the model.
        cases: with labels.
        protocol: one of `PROTOCOLS`.
        clicks: how many; None for the protocol's own number.
        baselines: names in `BASELINES`. They get the clicks of the honest user.
        smallest_ml: structures smaller than this are left out.
        every: take every n-th structure of a case only.
        seed: of random clicks; each structure starts from it, so that its clicks do not depend on the others.
        on_score: called after each click.
    """
    done = Evaluation(predictor.name, protocol, seed)
    count = clicks or protocol.clicks
    for case, volume, name, truth in _structures(cases, smallest_ml, every, done.failures):
        ml = float(truth.sum()) * volume.grid.voxel_volume / 1000
        runs = {predictor.name: protocol.steps(predictor, volume, truth, count, np.random.RandomState(seed))}
        for baseline in baselines:
            runs[baseline] = steps_of(BASELINES[baseline](volume).click, volume, truth, count)
        for method, steps in runs.items():
            try:
                for n, step in enumerate(steps, 1):
                    score = _score(step, case.name, name, ml, method, n)
                    done.scores.append(score)
                    on_score(score)
            except SAMMed3DError as error:
                done.failures.append(f"{case.name}, {name}, {method}: {error}")
                done.scores = [s for s in done.scores if (s.case, s.structure) != (case.name, name)]
                break
            if method == predictor.name and step.truth.shape == volume.grid.shape:
                done.pictures[case.name, name] = pictures.png(volume, step.mask, step.truth, step.clicks)
    return done


def _structures(
    cases: Sequence[Case], smallest_ml: float, every: int, failures: list[str]
) -> Iterator[tuple[Case, Volume, str, npt.NDArray[np.bool_]]]:
    for case in cases:
        try:
            volume = Volume.read(case.image)
            labels = read_labels(case, volume.grid)
        except SAMMed3DError as error:
            failures.append(str(error))
            continue
        values = [int(v) for v in np.unique(labels) if v > 0]
        for value in values[::every]:
            truth = labels == value
            if float(truth.sum()) * volume.grid.voxel_volume / 1000 >= smallest_ml:
                yield case, volume, case.name_of(value), truth


def _score(step: Step, case: str, structure: str, ml: float, method: str, click: int) -> Score:
    overlap = metrics.dice(step.mask, step.truth)
    surface = metrics.nsd(step.mask, step.truth, step.spacing, NSD_TOLERANCE) if overlap > NSD_FROM_DICE else 0.0
    return Score(
        case,
        structure,
        ml,
        method,
        click,
        overlap,
        metrics.iou(step.mask, step.truth),
        surface,
        metrics.volume_error(step.mask, step.truth),
    )
