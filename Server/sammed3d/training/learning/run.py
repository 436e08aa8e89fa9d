"""A run that learns: measured before, on the way and after, by the clicks that a user would need."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sammed3d.errors import ModelError
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.evaluation.run import evaluate
from sammed3d.files.datasets import Case, content_digest
from sammed3d.files.outputs import make_folder, write_text
from sammed3d.files.patients import image_digests
from sammed3d.training.learning.comparison import (
    chance_of,
    gains_of,
    in_words,
    least_chance,
    measured_cases,
    most_chance,
    paired,
)
from sammed3d.training.learning.learners import Learner, learner_for
from sammed3d.training.learning.split import Split, sample_case, split_cases, written
from sammed3d.zoo import load_predictor
from sammed3d.zoo.about_file import learnt_from
from sammed3d.zoo.load import load_model, locate
from sammed3d.zoo.store import RUN_CARD, RUN_WEIGHTS

AT = (1, 3, 5, 10)
"""Clicks after which the result is shown and judged."""
ENOUGH = 0.7
"""Dice for which clicks are counted."""
CHECKS = 8
"""How often the weights are measured on the way."""
PATIENCE = 3
"""Checks without gain after which a run ends early."""
MOST_STRUCTURES = 40
"""That are measured, about; see `measured_cases`."""
MOST_FORGOTTEN = 0.02
"""Mean Dice that the sample data may lose, which are rehearsed."""
PROTOCOL = PROTOCOLS["honest"]
STATE = "learning.json"
CANDIDATE = "candidate_{steps}.safetensors"
"""Weights that are measured; they are the run's best ones once its state says so."""
METHOD = "model"
"""What scores call the model, before and after."""


@dataclass(frozen=True)
class Learned:
    """What came of a run.

    Attributes:
        before: scores of the model that it began with, on the cases kept aside.
        after: those of the result, on the same structures.
        rehearsed: mean Dice on the sample data before and after.
        split: which cases were what.
        steps: steps of the optimizer up to the weights that were kept.
        seconds: time of all training.
        significance: largest probability of chance with which the gain counts; None for what `most_chance` says.
    """

    before: Evaluation
    after: Evaluation
    rehearsed: tuple[float, float]
    split: Split
    steps: int
    seconds: float
    significance: float | None = None

    @property
    def gain(self) -> float:
        """Mean Dice gained, over the clicks of `AT`."""
        return mean_dice(self.after) - mean_dice(self.before)

    @property
    def gains(self) -> list[float]:
        """Mean Dice that each patient, or image, gained."""
        return gains_of(self.before, self.after, self.split.patients, AT)

    @property
    def is_better(self) -> bool:
        """Whether the result is better on the cases kept aside, and has not forgotten the sample data."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """What speaks against installing the result, in words."""
        if not self.gain > 0:
            return [f"it is not better than what it began with (mean Dice {self.gain:+.3f})"]
        found, chance, most = [], chance_of(self.gains), most_chance(len(self.gains), self.significance)
        if chance > most:
            found.append(
                f"its gain (mean Dice {self.gain:+.3f}) may be chance, which would bring as much with a probability of "
                f"{chance:.2f}; at most {most:.2f} counts (--significance)"
            )
        before, after = self.rehearsed
        if not after > before - MOST_FORGOTTEN:
            found.append(f"it forgot other structures (sample CT {before:.3f} -> {after:.3f})")
        return found


@dataclass
class _State:
    """Where a run stands; times in seconds of training.

    Attributes:
        seconds: so far.
        budget: that it has.
        best: mean Dice of the best weights so far, those that it began with included; None before that was measured.
        steps: steps up to the best weights.
        without_gain: checks since the best one.
        checks: seconds, steps and mean Dice of each.
    """

    seconds: float = 0.0
    budget: float = 0.0
    best: float | None = None
    steps: int = 0
    without_gain: int = 0
    checks: list[tuple[float, int, float]] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        """Whether there is time left, and reason to use it."""
        return self.seconds < self.budget and self.without_gain < PATIENCE


class LearningRun:
    """A run in a folder; goes on from there if it holds one.

    Args:
        cases: the dataset.
        model: name or checkpoint of the model to begin with.
        folder: folder of the run.
        seconds: time to train; measuring comes on top.
        device: torch device, or "auto".
        seed: seed of the split, crops and clicks.
        say: told what happens.
        family: family of the model to begin with, where its file does not tell.
        significance: largest probability of chance with which a gain counts, 0..1; see `most_chance`.

    Raises:
        VolumeError: too few cases.
        ModelError: no gain of so few patients is as significant as that, the model cannot be trained, or the folder
            holds a run with another model, seed or data, or with labels that were corrected since.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        model: str,
        folder: Path,
        seconds: float,
        device: str = "auto",
        seed: int = 2023,
        say: Callable[[str], None] = lambda _line: None,
        family: str | None = None,
        significance: float | None = None,
    ) -> None:
        self._family, self._significance = family, significance
        self._model, self._folder, self._device, self._seed, self._say = model, folder, device, seed, say
        images = image_digests(case for case in cases if case.label is not None)
        self.split = split_cases(cases, seed, images)
        measuring = self.split.measuring
        if significance is not None and significance < (least := least_chance(measuring)):
            raise ModelError(
                f"--significance {significance:g} cannot be reached: {measuring} patients or images measure, "
                f"and of so many no gain is less likely by chance than {least:.2g}. Give it more cases, of which a "
                "quarter measures, or a larger number."
            )
        used = (*self.split.learn, *self.split.stop, *self.split.test)
        contents = {case.name: content_digest(case, images.get(case.name, "")) for case in used}
        self._about = {"model": model, "split": json.loads(written(self.split)), "seed": seed, "contents": contents}
        known = learnt_from(locate(model, family).path)
        taught = {images[case.name] for case in (*self.split.learn, *self.split.stop)}
        self._learnt_from = tuple(sorted(known | taught))
        if seen := sum(images[case.name] in known for case in self.split.test):
            remark = (
                f"{Path(model).name} has learnt from the images of {seen} of the {len(self.split.test)} label maps "
                "that measure it, so it looks better than it is. Begin with a model that has not seen them."
            )
            self.split = replace(self.split, remark=f"{self.split.remark} {remark}".strip())
            say(remark)
        make_folder(folder)
        self._state = _State()
        if (folder / STATE).is_file():
            known = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if known["about"] != self._about:
                raise ModelError(
                    f"{folder}: holds a run with another model, dataset or seed, or with labels as they were before "
                    "they were corrected. Choose another folder (--run), or delete it."
                )
            self._state = _State(**known["state"])
        if seconds > self._state.budget:
            self._state.budget, self._state.without_gain = seconds, 0

    def learn(self) -> Learned:
        """Measure, train, and measure again."""
        self._keep_best()
        rehearsed = [sample_case()]
        learner = self._learner(rehearsed) if self._state.goes_on else None  # what cannot learn is said first
        before = self._measured("before", self._model, self.split.test)
        sample_before = self._measured("sample-before", self._model, rehearsed)
        if learner is not None:
            self._train(learner)
        best = self._folder / RUN_WEIGHTS
        if not best.is_file():
            raise ModelError(
                f"{self._folder}: in {self._state.seconds / 60:.0f} minutes nothing did better than the model that it "
                "began with. Give it more time (--minutes) or more cases."
            )
        after = self._measured(f"after-{self._state.steps}", str(best), self.split.test)
        sample_after = self._measured(f"sample-after-{self._state.steps}", str(best), rehearsed)
        forgotten = (mean_dice(sample_before), mean_dice(sample_after))
        state, significance = self._state, self._significance
        learned = Learned(*paired(before, after), forgotten, self.split, state.steps, state.seconds, significance)
        write_text(self._folder / RUN_CARD, card(learned, self._model))
        return learned

    def _learner(self, rehearsed: Sequence[Case]) -> Learner:
        device = "cpu" if self._device == "auto" and not torch.cuda.is_available() else self._device
        device = device.replace("auto", "cuda")  # what trains does not run on every device that predicts
        folder = self._folder / "training"
        folder.mkdir(exist_ok=True)
        start = load_model(self._model, self._family)
        return learner_for(start, self.split.learn, rehearsed, folder, device, self._seed, self._say)

    def _train(self, learner: Learner) -> None:
        """Train to the end of the budget, or until checks bring no gain; the best weights are kept."""
        state = self._state
        if state.best is None:
            state.best = mean_dice(self._measured("stop-before", self._model, self.split.stop))
            self._say(
                f"before: mean Dice {state.best:.3f} on {len(self.split.stop)} label maps that watch the training"
            )
        while state.goes_on:
            span = min(state.budget / CHECKS, state.budget - state.seconds)
            state.seconds += learner.learn(span, state.seconds / state.budget)
            learner.save()
            self._check(learner)
            self._save()
            self._keep_best()

    def _keep_best(self) -> None:
        """Put the weights in place that the saved state says are the best, also where a run was killed before that."""
        best = CANDIDATE.format(steps=self._state.steps)
        for file in self._folder.glob(CANDIDATE.format(steps="*")):
            if file.name == best:
                file.replace(self._folder / RUN_WEIGHTS)
            else:
                file.unlink()

    def _check(self, learner: Learner) -> None:
        """Measure the weights as they are, and note whether they are the best."""
        model, weights = learner.model()
        candidate = self._folder / CANDIDATE.format(steps=learner.steps)
        trained = f"{learner.steps} steps on {len(self.split.learn)} cases"
        origin = f"learnt from {model.origin or model.name}; {trained}"
        licence = f"that of {model.name} ({model.licence}) and of the cases" if model.licence else ""
        name = self._folder.resolve().name
        learned = replace(model, name=name, origin=origin, licence=licence, learnt_from=self._learnt_from)
        learned.write(candidate, weights)
        score = mean_dice(self._evaluated(str(candidate), self.split.stop))
        state = self._state
        better = score > (state.best or 0.0)
        self._say(
            f"{state.seconds / 60:.1f} of {state.budget / 60:.1f} minutes, {learner.steps} steps: mean Dice {score:.3f}"
            f"{', kept' if better else ''}"
        )
        state.checks.append((state.seconds, learner.steps, score))
        state.without_gain = 0 if better else state.without_gain + 1
        if better:
            state.best, state.steps = score, learner.steps
        else:
            candidate.unlink()

    def _save(self) -> None:
        self._write(self._folder / STATE, {"about": self._about, "state": asdict(self._state)})

    def _write(self, file: Path, content: Any) -> None:
        """Write JSON whole or not at all: a run that is stopped, or meets a full disk, goes on from what is there."""
        write_text(file, json.dumps(content, indent=1))

    def _measured(self, name: str, model: str, cases: Sequence[Case]) -> Evaluation:
        """Measure a model, or read what was measured when the run was started before."""
        file = self._folder / f"{name}.json"
        done = Evaluation(name, PROTOCOL, self._seed)
        if file.is_file():
            done.scores = [Score(**values) for values in json.loads(file.read_text(encoding="utf-8"))]
            return done
        self._say(f"measuring {name} on {len(cases)} cases")
        done.scores = self._evaluated(model, cases).scores
        if not done.scores:
            raise ModelError(f"Nothing could be measured on {', '.join(case.name for case in cases)}. See data check.")
        self._write(file, [asdict(score) for score in done.scores])
        self._save()
        return done

    def _evaluated(self, model: str, cases: Sequence[Case]) -> Evaluation:
        family = self._family if model == self._model else None
        predictor = load_predictor(model, self._device, family=family)
        done = evaluate(predictor, measured_cases(cases, MOST_STRUCTURES), PROTOCOL, seed=self._seed)
        done.scores = [replace(score, method=METHOD) for score in done.scores]
        return done


def mean_dice(scores: Evaluation) -> float:
    """Return the mean Dice over all structures, after the clicks of `AT`."""
    found = [score.dice for score in scores.scores if score.click in AT]
    return float(np.mean(found)) if found else math.nan


def clicks_needed(scores: Evaluation, dice: float = ENOUGH) -> float:
    """Return the mean number of clicks until a Dice is reached; one more than there were where it never was."""
    needed = []
    for which in scores.structures:
        curve = scores.of(METHOD, *which)
        needed.append(next((n for n, value in enumerate(curve, start=1) if value >= dice), len(curve) + 1))
    return float(np.mean(needed))


def card(learned: Learned, model: str) -> str:
    """Describe the result: what it was learnt from, and what it does better or worse."""
    rows = "\n".join(
        f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |"
        for name, values in (("before", _at(learned.before)), ("after", _at(learned.after)))
    )
    structures = "\n".join(
        f"- {case}, {structure}: {np.mean(_only(learned.before, case, structure)):.2f} -> "
        f"{np.mean(_only(learned.after, case, structure)):.2f}"
        for case, structure in learned.after.structures
    )
    remarks = [each for each in (learned.split.remark, in_words(learned.gains)) if each]
    return f"""# Learnt from corrected cases

Research software: not for clinical decisions.

Began with {model}; {learned.steps} steps on {len(learned.split.learn)} label maps, {learned.seconds / 60:.0f} minutes.
Measured with simulated clicks on {len(learned.split.test)} label maps that it never saw.

{" ".join(remarks)}

| mean Dice after | {" | ".join(f"{n} clicks" if n > 1 else "1 click" for n in AT)} |
|---|{"---|" * len(AT)}
{rows}

Clicks until a Dice of {ENOUGH}: {clicks_needed(learned.before):.1f} before, {clicks_needed(learned.after):.1f} after.
Sample CT, which was rehearsed, mean Dice: {learned.rehearsed[0]:.3f} before, {learned.rehearsed[1]:.3f} after.

## Structures, mean Dice over these clicks

{structures}
"""


def _at(scores: Evaluation) -> list[float]:
    curve = scores.curve(METHOD)
    return [curve[n - 1] for n in AT if n <= len(curve)]


def _only(scores: Evaluation, case: str, structure: str) -> list[float]:
    curve = scores.of(METHOD, case, structure)
    return [curve[n - 1] for n in AT if n <= len(curve)]
