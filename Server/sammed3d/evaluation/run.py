"""Measure a model on labelled volumes: structures in, scores by click out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sammed3d.errors import SAMMed3DError
from sammed3d.evaluation import apart, metrics, pictures
from sammed3d.evaluation.apart import DIED, Workers
from sammed3d.evaluation.baselines import BASELINES
from sammed3d.evaluation.protocols import Protocol, Step, steps_of
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.files.datasets import Case, read_labels
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor

NSD_TOLERANCE = 2.0  # mm
NSD_FROM_DICE = 0.2
"""Below this Dice the surface score counts as 0 and is not computed, as in CVPR 2025's challenge."""


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
        cases: those without labels are counted as left out.
        protocol: one of `PROTOCOLS`.
        clicks: number of clicks; None for the protocol's own.
        baselines: names in `BASELINES`. They get the clicks of the honest user.
        smallest_ml: structures smaller than this are left out, and counted.
        every: take every n-th structure of a case only; the others are counted as left out.
        seed: seed of random clicks; each structure starts from it, so that its clicks do not depend on the others.
        on_score: called after each click.
    """
    evaluation = Evaluation(predictor.name, protocol, seed)
    count = clicks or protocol.clicks
    for case, volume, name, truth in _structures(cases, smallest_ml, every, evaluation):
        ml = float(truth.sum()) * volume.grid.voxel_volume / 1000
        preset = protocol.preset_for(predictor.preset, case)
        rng = np.random.RandomState(seed)
        runs = {predictor.name: protocol.steps(predictor, preset, volume, truth, count, rng)}
        for baseline in baselines:
            runs[baseline] = steps_of(BASELINES[baseline](volume).click, volume, truth, count)
        for method, steps in runs.items():
            try:
                for n, step in enumerate(steps, 1):
                    score = _score(step, case.name, name, ml, method, n)
                    evaluation.scores.append(score)
                    on_score(score)
            except SAMMed3DError as error:
                evaluation.failures.append(f"{case.name}, {name}, {method}: {error}")
                evaluation.scores = [s for s in evaluation.scores if (s.case, s.structure) != (case.name, name)]
                break
            if method == predictor.name and step.truth.shape == volume.grid.shape:
                evaluation.pictures[case.name, name] = pictures.png(volume, step.mask, step.truth, step.clicks)
    return evaluation


def evaluate_apart(
    cases: Sequence[Case],
    measure: Callable[..., Evaluation],
    load: Callable[[], Predictor],
    workers: Workers,
    empty: Evaluation,
    on_score: Callable[[Score], None] = lambda _: None,
) -> Evaluation:
    """Measure cases apart from one another; the result is that of `evaluate`, in the order of the cases.

    Args:
        cases: the cases.
        measure: `evaluate` with all its settings, a function of a predictor and cases; it is sent to other processes.
        load: makes the predictor.
        workers: where.
        empty: without scores; they are put into it.
        on_score: called after each click of a case that is done.
    """
    if workers.count == 1 and not workers.ray:
        return measure(load(), cases, on_score=on_score)
    for part in apart.parts(cases, measure, load, workers, functools.partial(_lost, empty=empty), on_score):
        empty.model = part.model
        empty.scores += part.scores
        empty.pictures |= part.pictures
        empty.failures += part.failures
        for why, names in part.left_out.items():
            empty.left_out.setdefault(why, []).extend(names)
    return empty


def _lost(case: Case, empty: Evaluation) -> Evaluation:
    return replace(empty, scores=[], pictures={}, failures=[f"{case.name}: {DIED}"], left_out={})


def _structures(
    cases: Sequence[Case], smallest_ml: float, every: int, evaluation: Evaluation
) -> Iterator[tuple[Case, Volume, str, npt.NDArray[np.bool_]]]:
    """Yield what is to be measured; notes down what cannot be, and what is left out."""
    for case in cases:
        if case.label is None:
            evaluation.leave_out(case.name, "no label map")
            continue
        try:
            volume = Volume.read(case.image)
            labels = read_labels(case, volume.grid)
        except SAMMed3DError as error:
            evaluation.failures.append(str(error))
            continue
        structures = case.structures_in(labels)
        if not structures:
            evaluation.leave_out(case.name, "an empty label map")
        for number, (name, values) in enumerate(structures.items()):
            truth = np.isin(labels, values)
            if number % every:
                evaluation.leave_out(f"{case.name}, {name}", f"not every {every}th structure (--every)")
            elif float(truth.sum()) * volume.grid.voxel_volume / 1000 < smallest_ml:
                evaluation.leave_out(f"{case.name}, {name}", f"below {smallest_ml:g} ml (--smallest)")
            else:
                yield case, volume, name, truth


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
