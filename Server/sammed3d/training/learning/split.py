"""Which cases teach, which stop the training, and which measure what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sammed3d import samples
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import Case, drawn
from sammed3d.files.patients import patient_words

STOP_SHARE, TEST_SHARE = 0.15, 0.25


@dataclass(frozen=True)
class Split:
    """Cases by what they are for. All cases of a patient, as far as the dataset tells, are on one side.

    Attributes:
        learn: cases to learn from.
        stop: measured on the way; the weights that do best on them are kept.
        test: measured before and after, and never else.
        remark: a remark for readers of the result; "" for none.
        patients: a word for each case, by its name, which all cases of a patient or image share.
    """

    learn: tuple[Case, ...]
    stop: tuple[Case, ...]
    test: tuple[Case, ...]
    remark: str = ""
    patients: Mapping[str, str] = field(default_factory=dict)

    @property
    def measuring(self) -> int:
        """Number of patients, or images, that measure."""
        return len({self.patients[case.name] for case in self.test})


def split_cases(cases: Sequence[Case], seed: int, images: Mapping[str, str]) -> Split:
    """Draw the sides; the same seed and cases give the same ones.

    One more image moves at most one from those that teach to those that stop, and one from these to the test.

    Args:
        cases: the dataset; cases without labels are left out.
        seed: seed of the draw.
        images: digests of images by the names of cases, see `patient_words`.

    Raises:
        VolumeError: there are fewer than two images with labels.
    """
    groups: dict[str, list[Case]] = {}
    labelled = sorted((case for case in cases if case.label is not None), key=lambda case: case.name)
    words = patient_words(labelled, images)
    for case in labelled:
        groups.setdefault(words[case.name], []).append(case)
    if len(groups) < 2:
        raise VolumeError(
            f"The dataset holds {len(groups)} images with labels, of patients of their own. At least two are needed: "
            "one to learn from, and one to see whether it helped. Ten or more are better."
        )
    order = drawn(groups, seed)
    test = max(1, round(TEST_SHARE * len(order)))
    stop = max(1, round(STOP_SHARE * len(order))) if len(order) > 2 else 0

    def of(names: Sequence[str]) -> tuple[Case, ...]:
        return tuple(case for name in names for case in groups[name])

    measured = of(order[:test])
    if not stop:
        remark = (
            "The image that chose the weights is the one that measures them, so the result looks better than it is."
        )
        return Split(of(order[1:]), measured, measured, remark, words)
    remark = "One image alone measures the result, so it may be chance." if test == 1 else ""
    return Split(of(order[test + stop :]), of(order[test : test + stop]), measured, remark, words)


def sample_case() -> Case:
    """Return the CT that ships with the package, which is rehearsed against forgetting."""
    names = {value: name for name, value in samples.label_names().items()}
    return Case("sample_ct_abdomen", samples.CT_ABDOMEN, samples.CT_ABDOMEN_LABELS, names)


def written(split: Split) -> str:
    """Return the names of the cases as JSON, to tell whether a run has the same ones."""
    return json.dumps({side: [case.name for case in getattr(split, side)] for side in ("learn", "stop", "test")})
