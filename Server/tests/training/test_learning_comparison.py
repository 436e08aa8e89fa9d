"""Before and after learning: what is measured, and how much of a gain may be chance."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import make_affine, phantom, write_image
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.files.datasets import Case
from sammed3d.training.learning.comparison import (
    FLIPS,
    chance_of,
    gains_of,
    in_words,
    least_chance,
    measured_cases,
    most_chance,
    paired,
    structures_of,
)
from sammed3d.training.learning.run import Learned
from sammed3d.training.learning.split import Split

NAMES = {3: "liver", 5: "tumour", 6: "tumour"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Thirty cases of one image with a liver and a tumour each."""
    folder = tmp_path_factory.mktemp("cases")
    affine = make_affine((3.0, 3.0, 3.0))
    values = np.array([3, 3, 3, 3, 5, 5, 6, 6], np.uint8)  # no background
    image = write_image(folder / "image.nii.gz", phantom((8, 8, 8)), affine)
    label = write_image(folder / "label.nii.gz", values[:, None, None] * np.ones((8, 8, 8), np.uint8), affine)
    return [Case(f"case{n:02d}", image, label, NAMES) for n in range(30)]


def test_of_many_structures_each_kind_is_measured_as_often_and_of_few_all(cases):
    assert structures_of(cases[0]) == {"liver": [3], "tumour": [5, 6]}
    assert [case.without for case in measured_cases(cases[:20], 40)] == 20 * [frozenset()], "of few all"
    chosen = measured_cases(cases, 40)
    measured = [(case.name, name) for case in chosen for name in structures_of(case)]
    assert [name for _, name in measured].count("liver") == [name for _, name in measured].count("tumour") == 15
    assert len({case.name for case in chosen}) == len(chosen)
    [one] = measured_cases([replace(cases[0], names={3: "z", 5: "b", 6: "a"})], 2)
    assert structures_of(one) == {"z": [3], "a": [6]}, "of one case every n-th label"
    few = measured_cases(cases, 4)
    assert sorted(name for case in few for name in structures_of(case)) == ["liver", "liver", "tumour", "tumour"]
    assert len(few) <= 4


def scores(of):
    """Return an evaluation with the same Dice at 1 and 2 clicks, by case and structure."""
    done = Evaluation("m", PROTOCOLS["honest"], 1)
    for (case, structure), dice in of.items():
        done.scores += [Score(case, structure, 1.0, "m", n, dice + n, 0, 0, 0) for n in (1, 2)]
    return done


def test_gains_are_of_patients_over_what_was_measured_both_times():
    before = scores({("a1", "x"): 0.5, ("a2", "x"): 0.3, ("b", "x"): 0.2, ("b", "y"): 0.4, ("c", "x"): 0.9})
    after = scores({("a1", "x"): 0.6, ("a2", "x"): 0.6, ("b", "x"): 0.1, ("b", "y"): 0.4, ("d", "x"): 0.1})
    before, after = paired(before, after)
    assert before.structures == after.structures == [("a1", "x"), ("a2", "x"), ("b", "x"), ("b", "y")]
    assert gains_of(before, after, {"a1": "a1", "a2": "a2", "b": "b"}, (1,)) == pytest.approx([0.1, 0.3, -0.05])
    assert gains_of(before, after, {"a1": "a", "a2": "a", "b": "b"}, (1, 2)) == pytest.approx([0.2, -0.05])


def judged(gains, significance=None, sample=0.5):
    """Return what came of a run in which each image gained so much."""
    cases = [Case(f"c{n}", Path(f"c{n}"), Path("label")) for n in range(len(gains))]
    before = scores({(case.name, "x"): 0.5 for case in cases})
    after = scores({(case.name, "x"): 0.5 + gain for case, gain in zip(cases, gains, strict=True)})
    split = Split((), (), tuple(cases), "", {case.name: case.name for case in cases})
    return Learned(before, after, (0.5, sample), split, 1, 1.0, significance)


def test_gains_that_chance_may_well_have_brought_do_not_count():
    assert judged([0.01]).is_better, "one image: that it gains is all that can be asked"
    assert not judged([0.3, -0.01]).is_better, "of two both have to gain"
    assert judged([0.3, 0.01]).is_better
    assert not judged([0.1, 0.1, -0.02]).is_better, "so do three"
    assert judged([0.1, 0.1, 0.001]).is_better
    mixed = [0.05, 0.06, 0.04, 0.05, -0.01]
    assert judged(mixed).is_better
    noise = judged([0.2, -0.1, 0.05, -0.12, 0.0])
    assert noise.gain > 0
    [fault] = noise.faults
    assert "may be chance, which would bring as much with a probability of 0." in fault
    assert "at most 0.20 counts (--significance)" in fault
    assert judged([0.2, -0.1, 0.05, -0.12, 0.0], significance=1.0).is_better, "any gain"
    assert not judged(mixed, significance=0.05).is_better
    assert judged([0.05, 0.06, 0.04, 0.05, 0.01], significance=0.05).is_better


def test_what_does_not_gain_or_forgets_too_is_told():
    assert judged([-0.1, 0.02]).faults == ["it is not better than what it began with (mean Dice -0.040)"]
    assert judged([math.nan]).faults == ["it is not better than what it began with (mean Dice +nan)"]
    chance, forgot = judged([0.3, -0.01], sample=0.4).faults
    assert "may be chance" in chance
    assert forgot == "it forgot other structures (sample CT 0.500 -> 0.400)"


def test_all_have_to_gain_where_too_few_measure_for_the_usual_significance():
    assert [most_chance(n) for n in (1, 2, 3, 20)] == [0.5, 0.25, 0.2, 0.2]
    assert [most_chance(n, 0.05) for n in (1, 20)] == [0.05, 0.05], "what was asked for holds"
    for n in (1, 3, FLIPS, FLIPS + 5):
        assert least_chance(n) == pytest.approx(chance_of(n * [0.1]), rel=0.1)


def test_chance_is_that_of_the_paired_permutation_test():
    assert chance_of([0.1, 0.2, 0.3]) == 1 / 8
    assert chance_of([0.1, 0.2, -0.05]) == 2 / 8  # all positive; or this
    assert chance_of([0.3]) == 1 / 2
    assert chance_of([0.0, 0.0]) == 1
    assert chance_of((FLIPS + 1) * [0.1]) == pytest.approx(1 / 2 ** (FLIPS + 1), abs=1e-3)
    noise = np.random.RandomState(1).normal(size=(400, 6))
    below = np.mean([chance_of(list(each)) <= 0.1 for each in noise])
    assert 0.05 < below < 0.15, "of noise, a tenth is at most 0.1"
    assert in_words([0.1, 0.2, -0.05]).startswith("Of 3 patients or images 2 gained and 1 lost.")
    assert "0.25" in in_words([0.1, 0.2, -0.05])
