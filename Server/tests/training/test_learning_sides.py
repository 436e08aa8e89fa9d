"""Which of the cases that are learnt from teach, which watch, and which measure."""

from dataclasses import replace

import pytest

from sammed3d.errors import VolumeError
from sammed3d.files.datasets import Case
from sammed3d.training.learning.split import sample_case, split_cases


def case(name, group=""):
    return Case(name, sample_case().image, sample_case().label, {}, group)


def names(cases):
    return {case.name for case in cases}


def test_cases_of_an_image_are_on_one_side_and_the_draw_is_repeatable():
    cases = [case(f"{n}_{part}", f"{n}") for n in range(8) for part in "ab"] + [Case("bare", sample_case().image, None)]
    one, again = split_cases(cases, 1, {}), split_cases(list(reversed(cases)), 1, {})
    assert one == again
    sides = [{c.group for c in side} for side in (one.learn, one.stop, one.test)]
    assert [len(side) for side in sides] == [5, 1, 2]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert len(one.learn) == 10
    assert one.remark == ""
    assert split_cases(cases, 2, {}) != one
    for n in range(3, 30):
        small, large = (split_cases([case(f"{i}") for i in range(count)], 1, {}) for count in (n, n + 1))
        assert not names(small.learn) & names(large.test), "what taught does not measure, once a case was added"
        assert len(names(small.stop) & names(large.test)) <= 1
        assert len(names(small.learn) & names(large.stop)) <= 1


def test_too_few_cases_are_refused_or_remarked():
    with pytest.raises(VolumeError, match=r"holds 1 images with labels, of patients of their own\. At least two"):
        split_cases([case("a", "x"), case("b", "x")], 1, {})
    two = split_cases([case("a"), case("b")], 1, {})
    assert two.stop == two.test
    assert "looks better than it is" in two.remark
    assert "may be chance" in split_cases([case("a"), case("b"), case("c")], 1, {}).remark


def test_patients_and_images_that_are_there_twice_are_on_one_side():
    cases = [replace(case(f"sub-{n // 2}_ses-{n % 2}"), patient=f"sub-{n // 2}") for n in range(12)]
    cases += [case("one"), case("the same")]
    for seed in range(8):
        drawn = split_cases(cases, seed, {"one": "digest", "the same": "digest"})
        sides = [names(side) for side in (drawn.learn, drawn.stop, drawn.test)]
        assert sum(map(len, sides)) == 14
        words = [{drawn.patients[name] for name in side} for side in sides]
        assert sum(map(len, words)) == 7, "six patients, and an image that is there twice"
        assert drawn.measuring == len(words[2])
        for side in sides:
            assert ("one" in side) == ("the same" in side)
            assert all((f"sub-{n}_ses-0" in side) == (f"sub-{n}_ses-1" in side) for n in range(6))
