"""Before and after: which structures measure, the same ones both times, and how much of a gain may be chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sammed3d.evaluation.results import Evaluation
from sammed3d.files.datasets import Case, read_labels
from sammed3d.files.volume import Volume

FLIPS = 12
"""Up to so many patients all signs of their gains are tried; of more, so many draws as of these."""
SIGNIFICANCE = 0.2
"""Largest probability of chance with which a gain counts, where enough patients measure."""


def measured_cases(cases: Sequence[Case], most: int) -> list[Case]:
    """Return cases with a share of their structures, about `most` of all; each kind keeps its share, by its name.

    Of all structures, one kind after the other, every n-th is taken. Case after case it might be the same kind each
    time: of a liver and a tumour in each, every second one would be a liver.

    Raises:
        VolumeError: a case cannot be read.
    """
    listed = [(name, n, values) for n, case in enumerate(cases) for name, values in structures_of(case).items()]
    every = max(1, math.ceil(len(listed) / most))
    kinds = {name: rank for rank, name in enumerate(dict.fromkeys(name for name, _, _ in listed))}
    chosen = sorted(listed, key=lambda each: kinds[each[0]])[::every]
    found = []
    for n, case in enumerate(cases):
        left_out = [each for each in listed if each[1] == n and each not in chosen]
        if any(each[1] == n for each in chosen) or not left_out:
            found.append(replace(case, without=case.without.union(*(values for _, _, values in left_out))))
    return found


def structures_of(case: Case) -> dict[str, list[int]]:
    """Return the structures of a case's label map: names and values.

    Raises:
        VolumeError: it cannot be read.
    """
    return case.structures_in(read_labels(case, Volume.read(case.image).grid))


def paired(before: Evaluation, after: Evaluation) -> tuple[Evaluation, Evaluation]:
    """Return the scores of the structures that were measured both times."""
    both = set(before.structures) & set(after.structures)
    one, other = (
        replace(each, scores=[score for score in each.scores if (score.case, score.structure) in both])
        for each in (before, after)
    )
    return one, other


def gains_of(before: Evaluation, after: Evaluation, patients: Mapping[str, str], at: Collection[int]) -> list[float]:
    """Return the mean Dice that each patient gained; each image, where the dataset names no patients.

    Args:
        before: scores.
        after: scores of the same structures.
        patients: a word for each case, by its name, which those of a patient or image share; see `Split`.
        at: numbers of the clicks that count.
    """
    differences: dict[str, list[float]] = {}
    for sign, scores in ((-1, before.scores), (1, after.scores)):
        for score in scores:
            if score.click in at:
                differences.setdefault(patients[score.case], []).append(sign * score.dice)
    return [2 * float(np.mean(values)) for values in differences.values()]


def chance_of(gains: Sequence[float]) -> float:
    """Return the probability that the mean gain is as large, or larger, if each gain had either sign by chance.

    A paired permutation test, one-sided: exact, for more than `FLIPS` gains by draws. Of n it is 1 / 2^n at least.
    """
    if len(gains) <= FLIPS:
        signs = np.array(list(itertools.product((1, -1), repeat=len(gains))))
    else:
        drawn = np.random.RandomState(0).choice((1, -1), size=(2**FLIPS - 1, len(gains)))
        signs = np.vstack([np.ones(len(gains)), drawn])
    sums = signs @ np.array(gains)
    return float((sums >= sum(gains) - 1e-12).mean())


def least_chance(patients: int) -> float:
    """Return the smallest probability that `chance_of` gives for so many patients: that of all having gained."""
    return 0.5 ** min(patients, FLIPS)


def most_chance(patients: int, significance: float | None = None) -> float:
    """Return the largest probability of chance with which a gain counts.

    Args:
        patients: how many were measured.
        significance: what was asked for; None for `SIGNIFICANCE`, or where so few cannot reach that, that all gain.
    """
    return max(SIGNIFICANCE, least_chance(patients)) if significance is None else significance


def in_words(gains: Sequence[float]) -> str:
    """Say how many patients or images gained, and how likely that is by chance."""
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (
        f"Of {len(gains)} patients or images {better} gained and {worse} lost. Without any learning chance would bring "
        f"a gain as large with a probability of {chance_of(gains):.2f}."
    )
