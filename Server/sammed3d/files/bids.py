"""The plain layout of BIDS: images of subjects, and their label maps and masks among the derivatives.

    sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz                           the session may be missing
    derivatives/NAME/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz         label map; ..._dseg.tsv names its values
                                       sub-01_ses-1_label-liver_mask.nii.gz   one structure

A label map or mask belongs to the image with the same entities (sub-01, ses-1, run-2 and so on), but for those that
only derivatives have. What lies in a template's space (space-MNI...) is on no subject's grid, and is passed over.

Source: BIDS 1.10, entities and "Imaging derivatives".
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sammed3d.errors import VolumeError

DERIVATIVES = "derivatives"
ENDINGS = (".nii.gz", ".nii")
LABELS, MASK = "dseg", "mask"
ADDED = frozenset({"space", "desc", "label", "seg", "atlas", "res", "den"})
"""Entities that only derivatives have."""
OWN_SPACES = ("orig", "individual")
"""What derivatives in the space of their own image may say beside its kind (space-T1w)."""


class Labelled(NamedTuple):
    """An image with one of its label maps or masks; see `datasets.Case`."""

    name: str
    image: Path
    label: Path
    names: Mapping[int, str]
    group: str
    patient: str


class _Name(NamedTuple):
    """A file's name: its entities and its kind (T1w, dseg, ...)."""

    entities: Mapping[str, str]
    kind: str

    @property
    def of_image(self) -> frozenset[tuple[str, str]]:
        return frozenset(each for each in self.entities.items() if each[0] not in ADDED)


def is_bids(folder: Path) -> bool:
    """Tell whether a folder has the layout: subjects, and derivatives."""
    return (folder / DERIVATIVES).is_dir() and any(folder.glob("sub-*/"))


def labelled_in(folder: Path) -> list[Labelled]:
    """Return the images of a folder with their label maps and masks.

    Raises:
        VolumeError: a label map belongs to no image or to several, or the table of its names is damaged.
    """
    images: dict[frozenset[tuple[str, str]], dict[str, Path]] = {}
    for file in _files(folder, "sub-*/**/*"):
        name = _parsed(file)
        images.setdefault(name.of_image, {})[name.kind] = file
    found = [
        (label, image)
        for label in _files(folder, f"{DERIVATIVES}/**/sub-*")
        if _parsed(label).kind in (LABELS, MASK)
        for image in _image_of(label, images)
    ]
    labels_of = Counter(image for _, image in found)
    often = Counter(_stem(label) for label, _ in found)
    cases = []
    for label, image in found:
        own = _stem(label) if labels_of[image] > 1 else _stem(image)
        if often[_stem(label)] > 1 and labels_of[image] > 1:  # of several derivatives
            own += f"_{label.relative_to(folder / DERIVATIVES).parts[0]}"
        group = _stem(image) if labels_of[image] > 1 else ""
        patient = f"sub-{_parsed(image).entities.get('sub', '')}"
        cases.append(Labelled(own, image, label, _names(label, folder), group, patient))
    return cases


def _image_of(label: Path, images: Mapping[frozenset[tuple[str, str]], Mapping[str, Path]]) -> list[Path]:
    """Return the image that a label map or mask is of; none where that lies in the space of something else."""
    name = _parsed(label)
    kinds, space = images.get(name.of_image, {}), name.entities.get("space", OWN_SPACES[0])
    if space in kinds:
        return [kinds[space]]
    if space not in OWN_SPACES:
        return []
    if not kinds:
        raise VolumeError(
            f"{label}: there is no image of the same subject, session and other entities. Put it there, or take this "
            "file away."
        )
    if len(kinds) > 1:
        raise VolumeError(
            f"{label}: could be of several images ({', '.join(sorted(kinds))}). Say which in its name, as "
            f"space-{min(kinds)}, or leave one image there."
        )
    return list(kinds.values())


def _names(label: Path, folder: Path) -> Mapping[int, str]:
    """Return the names of a label map's values, from the nearest table that is for it."""
    name = _parsed(label)
    if name.kind == MASK:
        return {1: name.entities.get("label") or name.entities.get("desc") or MASK}
    for place in label.parents:
        if place == folder / DERIVATIVES:
            break
        tables = [
            f for f in sorted(place.glob(f"*{LABELS}.tsv")) if _parsed(f).entities.items() <= name.entities.items()
        ]
        if tables:
            return _read(max(tables, key=lambda f: len(_parsed(f).entities)))
    return {}


def _read(table: Path) -> dict[int, str]:
    try:
        rows = csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t")
        return {int(row["index"]): row["name"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VolumeError(f"{table}: is damaged. It names labels, in the columns index and name.") from error


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    yield from (file for file in sorted(folder.glob(pattern)) if file.name.endswith(ENDINGS))


def _stem(file: Path) -> str:
    return file.name.partition(".")[0]


def _parsed(file: Path) -> _Name:
    *entities, kind = _stem(file).split("_")
    pairs = (each.partition("-") for each in entities)
    return _Name({key: value for key, _, value in pairs}, kind)
