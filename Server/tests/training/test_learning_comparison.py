"""Before and after learning: what is measured, and how much of a gain may be chance."""

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
    measured_cases,
    paired,
    structures_of,
)

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
    cases = [Case(name, Path(name), None) for name in ("a1", "a2", "b")]
    assert gains_of(before, after, cases, (1,)) == pytest.approx([0.1, 0.3, -0.05])
    cases = [replace(case, patient=case.name[0]) for case in cases]
    assert gains_of(before, after, cases, (1, 2)) == pytest.approx([0.2, -0.05])


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
