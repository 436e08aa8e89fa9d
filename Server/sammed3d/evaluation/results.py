"""The scores of an evaluation, and what tables show of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sammed3d.evaluation import metrics
from sammed3d.evaluation.protocols import Protocol


@dataclass(frozen=True)
class Score:
    """One structure after one click.

    Attributes:
        case: name of the case.
        structure: name of the structure.
        ml: its volume.
        method: the model's name, or that of a baseline.
        click: number of clicks so far.
        dice, iou, nsd, volume_error: the scores of `metrics`; `nsd` with a tolerance of 2 mm.
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
        protocol: name of the protocol.
        seed: seed of random clicks.
        scores: one for each structure, method and click.
        pictures: PNG of the last click, by case and structure.
        failures: a line for each structure that could not be measured, with the reason.
        left_out: structures that were not to be measured, by the reason.
    """

    model: str
    protocol: Protocol
    seed: int
    scores: list[Score] = field(default_factory=list)
    pictures: dict[tuple[str, str], bytes] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    _groups: dict[tuple[str, str, str], list[Score]] = field(default_factory=dict, init=False, repr=False)
    _grouped: tuple[list[Score] | None, int] = field(default=(None, 0), init=False, repr=False)

    def leave_out(self, what: str, why: str) -> None:
        """Note down that something was not measured on purpose."""
        self.left_out.setdefault(why, []).append(what)

    def take_whole(self, scores: Iterable[Score], each: int) -> None:
        """Add the scores of structures that were measured to the end; `each` is how many scores one has then."""
        found: dict[tuple[str, str], list[Score]] = {}
        for score in scores:
            found.setdefault((score.case, score.structure), []).append(score)
        self.scores += [score for of in found.values() if len(of) == each for score in of]

    @property
    def methods(self) -> list[str]:
        """The model, then the baselines."""
        return list(dict.fromkeys(score.method for score in self.scores))

    @property
    def structures(self) -> list[tuple[str, str]]:
        """Case and structure, in the order in which they were measured."""
        return list(dict.fromkeys((score.case, score.structure) for score in self.scores))

    @property
    def at(self) -> list[int]:
        """After how many clicks tables show scores: those of the protocol that were made, and the last one."""
        last = max((score.click for score in self.scores), default=0)
        return [n for n in self.protocol.at if n < last] + [last] if last else list(self.protocol.at)

    def curve(self, method: str, metric: str = "dice") -> list[float]:
        """Return the mean of a metric over all structures, after each click."""
        by_click: dict[int, list[float]] = {}
        for score in self.scores:
            if score.method == method:
                by_click.setdefault(score.click, []).append(getattr(score, metric))
        return [float(np.mean(by_click[n])) for n in sorted(by_click)]

    def of(self, method: str, case: str, structure: str, metric: str = "dice") -> list[float]:
        """Return the values of a metric for one structure, after each click."""
        return [getattr(score, metric) for score in self._groups_now().get((method, case, structure), ())]

    def summary(self) -> dict[str, Any]:
        """Return what tables show: means by method and click, and what the protocol's publication reports."""
        table: dict[str, Any] = {}
        at = self.at
        for method in self.methods:
            curves = {metric: self.curve(method, metric) for metric in ("dice", "iou", "nsd")}
            errors = self.curve(method, "volume_error")
            table[method] = {
                **{m: {str(n): c[n - 1] for n in at if n <= len(c)} for m, c in curves.items()},
                "volume_error": {str(n): errors[n - 1] for n in at if n <= len(errors)},
                **({"best_of_clicks": self._best_of_clicks(method)} if self.protocol.best_of_clicks else {}),
                "dice_area": metrics.area_under(curves["dice"]),
                "nsd_area": metrics.area_under(curves["nsd"]),
            }
        return {
            "model": self.model,
            "protocol": self.protocol.name,
            "seed": self.seed,
            "structures": len(self.structures),
            "failures": self.failures,
            "left_out": self.left_out,
            "methods": table,
        }

    def _groups_now(self) -> dict[tuple[str, str, str], list[Score]]:
        """Return the scores by method, case and structure; grouped once for all that asks after the last one."""
        known, count = self._grouped
        if known is not self.scores or count != len(self.scores):
            self._groups = {}
            for score in self.scores:
                self._groups.setdefault((score.method, score.case, score.structure), []).append(score)
            self._grouped = self.scores, len(self.scores)
        return self._groups

    def _best_of_clicks(self, method: str) -> float:
        return float(np.mean([max(self.of(method, *which)) for which in self.structures]))
