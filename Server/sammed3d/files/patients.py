"""Which cases are of one patient, as far as a dataset tells: they teach and measure on one side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sammed3d.errors import VolumeError
from sammed3d.files.datasets import Case, image_digest


def patient_words(cases: Iterable[Case], images: Mapping[str, str]) -> dict[str, str]:
    """Return a word for each case, by its name, which all cases of a patient share.

    Of one patient are cases that the dataset says so of (BIDS: the same `sub-`), those of one group, and those whose
    image files are the same, under whatever names and in whatever groups.

    Args:
        cases: the cases, which have names of their own.
        images: digest of each case's image, by its name; those without one are told apart by their names.
    """
    known: dict[str, str] = {}
    first: dict[str, str] = {}

    def root(word: str) -> str:
        while (above := known.setdefault(word, word)) != word:
            word = above
        return word

    words = {case.name: case.patient or case.group or case.name for case in cases}
    for name, word in sorted(words.items()):
        if digest := images.get(name):
            one, other = sorted((root(word), root(first.setdefault(digest, word))))
            known[other] = one
    return {name: root(word) for name, word in words.items()}


def image_digests(cases: Iterable[Case]) -> dict[str, str]:
    """Return the digest of each case's image by the case's name; none for those that cannot be read."""
    found = {}
    for case in cases:
        try:
            found[case.name] = image_digest(case)
        except VolumeError:
            continue
    return found


def same_images(cases: Sequence[Case], images: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the cases that have the same image file, by the name of each case that has such others.

    Those of one group, whose image it is for all of them, do not count. Arguments are those of `patient_words`.
    """
    by_digest: dict[str, list[Case]] = {}
    for case in cases:
        if digest := images.get(case.name):
            by_digest.setdefault(digest, []).append(case)
    found = {}
    for case in cases:
        of = by_digest.get(images.get(case.name, ""), [])
        if others := [each.name for each in of if each is not case and (not case.group or each.group != case.group)]:
            found[case.name] = others
    return found
