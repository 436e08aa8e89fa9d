"""Datasets of labelled volumes on disk: which cases there are, what is in them, what is wrong with them.

Understood are nnU-Net's layout (version 1 and 2), the same folders without `dataset.json` (BoSAM, the CT fork's LIDC),
SAM-Med3D's with a folder for each structure and dataset (also what `data prepare` writes), a folder of image and label
pairs, BIDS with label maps among the derivatives, and a folder of cases.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sammed3d.core.geometry import Grid
from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files import bids, nnunet, other_layouts
from sammed3d.files.outputs import with_data
from sammed3d.files.volume import Volume, read_image, without_nan

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
TINY_MM3 = 10.0
"""Structures smaller than this are left out of training, as in SAM-Med3D's published preparation."""
LAYOUTS = (
    "an nnU-Net folder (imagesTr, labelsTr, dataset.json; also without the last, and with Val or Ts), "
    "STRUCTURE/DATASET/imagesTr and labelsTr (or Val, Ts) as SAM-Med3D has it and 'data prepare' writes it, folders "
    "'images' and 'labels' with files of the same names, BIDS (sub-*, and dseg or mask files in derivatives), or a "
    "folder of cases (image and label in each, .nii.gz, .nrrd or .mha)"
)
UTF8 = "utf-8-sig"
"""Encoding of JSON that people write: editors and shells of Windows put a mark in front."""
SIDES = ("Tr", "Val", "Ts")
"""How the folders of a dataset's parts end: training, validation, test."""


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its label map.

    Attributes:
        name: tells it from the others.
        image: file.
        label: file; None for an image without labels.
        names: names of the label values, where the dataset gives them.
        group: a word that cases of the same image share; "" for a case of its own.
        without: label values that are no structure here: those of nnU-Net's label "ignore", and where its regions
            overlap, those of the regions that another case of the image has.
        unknown: the value that marks voxels which nobody annotated (nnU-Net's label "ignore"); None if there is none.
        patient: a word that cases of the same patient share, where the dataset has one (BIDS); see `patients`.
    """

    name: str
    image: Path
    label: Path | None
    names: Mapping[int, str] = field(default_factory=dict)
    group: str = ""
    without: frozenset[int] = frozenset()
    unknown: int | None = None
    patient: str = ""

    def name_of(self, value: int) -> str:
        """Return a structure's name."""
        return self.names.get(value, f"label {value}")

    def structures_in(self, labels: np.ndarray[Any, Any]) -> dict[str, list[int]]:
        """Return the structures of a label map: name, and the values above 0; labels of one name are one structure."""
        found: dict[str, list[int]] = {}
        for value in map(int, np.unique(labels[labels > 0]).tolist()):
            if value not in self.without:
                found.setdefault(self.name_of(value), []).append(value)
        return found


@dataclass(frozen=True)
class CaseReport:
    """What a look at a case found.

    Attributes:
        name: the case's name.
        shape: voxels (I, J, K); empty if it cannot be read.
        spacing: mm.
        volumes_ml: volume of each structure in ml, by its name.
        problems: sentences; the case cannot be used.
        remarks: sentences on what users should know, though the case can be used.
    """

    name: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    problems: Sequence[str] = ()
    remarks: Sequence[str] = ()


def find_cases(folder: Path) -> list[Case]:
    """Return the cases of a dataset, sorted by name.

    Raises:
        VolumeError: it is no dataset of a known layout, or its dataset.json, or a labels.json, is damaged.
    """
    if not folder.is_dir():
        raise VolumeError(f"{folder}: there is no such folder.")
    if (folder / nnunet.DESCRIPTION).is_file():
        cases = _nnunet(folder)
    elif (folder / "images").is_dir() and (folder / "labels").is_dir():
        cases = _pairs(folder / "images", folder / "labels")
    elif any(folder.glob("labels??")) or any(folder.glob("labelsVal")):
        cases = _sides(folder)
    elif parts := sorted({labels.parent for side in SIDES for labels in folder.glob(f"*/*/labels{side}")}):
        cases = [case for part in parts for case in _of_structure(part)]
    elif bids.is_bids(folder):
        cases = [Case(**labelled._asdict()) for labelled in bids.labelled_in(folder)]
    else:
        cases = _case_folders(folder)
    if not cases:
        why = other_layouts.how_to_use(folder) or f"It may be {LAYOUTS}."
        raise VolumeError(f"{folder}: holds no cases. {why}")
    return sorted(cases, key=lambda case: case.name)


def cases_of(folders: Sequence[Path]) -> list[Case]:
    """Return the cases of several datasets, each under a name of its own.

    A name that several datasets have is preceded by that of its dataset's folder; where these are the same too, by the
    folder's path as it was given.

    Raises:
        VolumeError: a dataset is given twice, or a reason of `find_cases`.
    """
    twice = [folder for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise VolumeError(f"{twice[0]}: is given twice. Give each dataset once.")
    found = [(folder, case) for folder in folders for case in find_cases(folder)]
    names = Counter(case.name for _, case in found)
    ends = Counter(folder.resolve().name for folder in folders)
    cases = []
    for folder, case in found:
        end = folder.resolve().name
        before = end if ends[end] == 1 else folder.as_posix()
        cases.append(case if names[case.name] == 1 else replace(case, name=f"{before}/{case.name}"))
    return cases


def read_labels(case: Case, grid: Grid) -> np.ndarray[Any, Any]:
    """Read a case's label map (I, J, K), on the grid of its image; 0 where it has no value (NaN).

    Raises:
        VolumeError: there is none, it cannot be read or lies on another grid, or it holds something else than whole
            numbers from 0 on.
    """
    if case.label is None:
        raise VolumeError(f"{case.name}: has no label map.")
    try:
        other, labels, _owner = read_image(case.label)
    except VolumeError as error:  # often image and label map are files of one name
        raise VolumeError(f"{case.name}: the label map cannot be used. {error}") from error
    if other.shape != grid.shape:
        raise VolumeError(f"{case.name}: the label map has {other.shape} voxels, the image {grid.shape}.")
    if not other.matches(grid, tolerance=0.1 * min(grid.spacing)):
        raise VolumeError(
            f"{case.name}: the label map lies elsewhere than the image (origin, spacing or direction differ). "
            "Resample it to the image, or copy the image's header if only that is wrong."
        )
    labels = without_nan(labels)
    if labels.dtype.kind == "f" and not bool(np.isfinite(labels).all()):
        raise VolumeError(f"{case.name}: the label map holds infinite values. Save it as whole numbers.")
    if labels.dtype.kind == "f" and bool((labels.astype(np.float64) % 1).any()):
        raise VolumeError(f"{case.name}: the label map holds fractions. Save it as whole numbers.")
    if labels.size and (lowest := int(labels.min())) < 0:
        raise VolumeError(
            f"{case.name}: the label map holds negative labels ({lowest}). Save it with labels from 0 on; those above "
            "127 become negative where a file keeps them in signed bytes."
        )
    return np.array(labels)


def image_digest(case: Case) -> str:
    """Return the SHA-256 (hex) of a case's image file; of a header, with the file of voxels beside it.

    Raises:
        VolumeError: it cannot be read.
    """
    return _digest(case.image)


def content_digest(case: Case, image: str = "") -> str:
    """Return a digest (hex) of a case's image, label map and names, which tells whether one of them was changed.

    Args:
        case: the case.
        image: `image_digest` of it, where that is known.

    Raises:
        VolumeError: a file cannot be read.
    """
    label = None if case.label is None else _digest(case.label)
    content = [
        image or _digest(case.image),
        label,
        sorted(case.names.items()),
        *([sorted(case.without)] if case.without else ()),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def check(case: Case) -> CaseReport:
    """Look at everything that could go wrong with a case later."""
    try:
        volume = Volume.read(case.image)
        shape, spacing = volume.grid.shape, tuple(round(s, 3) for s in volume.grid.spacing)
    except SAMMed3DError as error:
        return CaseReport(case.name, problems=(str(error),))
    try:
        labels = read_labels(case, volume.grid)
    except SAMMed3DError as error:
        return CaseReport(case.name, shape, spacing, problems=(str(error),))
    values, counts = np.unique(labels, return_counts=True)
    mm3 = {int(v): int(n) * volume.grid.voxel_volume for v, n in zip(values, counts, strict=True) if v != 0}
    sizes = {name: sum(mm3[v] for v in of) for name, of in case.structures_in(labels).items()}
    remarks = [
        f"{name}: {size:.1f} mm³ is less than {TINY_MM3:g} mm³ and is left out of training."
        for name, size in sizes.items()
        if size < TINY_MM3
    ]
    if further := nnunet.further_channels(case.image):
        remarks.append(f"{1 + further} channels: the first one alone, {case.image.name}, is read.")
    known = {*case.names, *case.without}
    remarks += [f"label {v} has no name in the dataset." for v in mm3 if case.names and v not in known]
    if case.unknown in mm3:
        remarks.append(
            f"label {case.unknown} (ignore): {mm3[case.unknown] / 1000:.2f} ml that nobody annotated; they count as "
            "outside of all structures."
        )
    named = dict.fromkeys(name for v, name in case.names.items() if v != 0)
    remarks += [f"{name}: not in this case." for name in named if name not in sizes]
    problems = [] if mm3 else ["the label map is empty."]
    volumes = {name: size / 1000 for name, size in sizes.items()}
    return CaseReport(case.name, shape, spacing, volumes, problems, remarks)


def split(names: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Draw cases for validation; the same seed gives the same ones, and one more case moves at most one of the others.

    Args:
        names: the cases' names. All structures of a case go to the same side.
        share: share of them that validates, 0..1.
        seed: seed of the draw.

    Returns:
        The names for training and those for validation, sorted.
    """
    ordered = sorted(names)
    count = round(share * len(ordered))
    if share > 0 and len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    chosen = set(drawn(ordered, seed)[:count])
    return [name for name in ordered if name not in chosen], [name for name in ordered if name in chosen]


def drawn(names: Iterable[str], seed: int) -> list[str]:
    """Return names in the order of a draw; that of any two of them depends on the seed and these two alone."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def counted(name: str) -> list[str | int]:
    """Return what names are sorted by where people read them: "label 10" comes after "label 2"."""
    return [int(part) if n % 2 else part for n, part in enumerate(re.split(r"(\d+)", name))]


def stem(path: Path) -> str:
    """Return a file's name without the suffix of its format."""
    return next((path.name[: -len(s)] for s in SUFFIXES if path.name.lower().endswith(s)), path.stem)


def _digest(file: Path) -> str:
    sha256 = hashlib.sha256()
    try:
        for part in with_data(file):
            if part == file or part.is_file():
                with part.open("rb") as content:
                    sha256.update(hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        raise VolumeError(f"{file}: cannot be read. Check that it is there, and its permissions.") from error
    return sha256.hexdigest()


def _without_image(folder: Path, label: str, images: str) -> VolumeError:
    return VolumeError(
        f"{folder}: there is no image for {label} in {images}. Put it there, or take the label map away."
    )


def _nnunet(folder: Path) -> list[Case]:
    lists, unknown = nnunet.read_names(folder)
    without = frozenset() if unknown is None else frozenset([unknown])
    every = without.union(*lists)
    cases = []
    for label in _images(folder / "labelsTr"):
        name = stem(label)
        image = _first_existing(folder / "imagesTr", name)
        if image is None:
            raise _without_image(folder, label.name, "imagesTr")
        for n, names in enumerate(lists, start=1):  # several where regions overlap
            own, group = (name, "") if len(lists) == 1 else (f"{name}_{n}", name)
            cases.append(Case(own, image, label, names, group, every - names.keys(), unknown))
    return cases


def _sides(folder: Path) -> list[Case]:
    """Return the cases of imagesTr and labelsTr, of imagesVal and labelsVal, of imagesTs and labelsTs."""
    cases: list[Case] = []
    for side in SIDES:
        labels = _images(folder / f"labels{side}")
        pairs = [(label, _first_existing(folder / f"images{side}", stem(label))) for label in labels]
        without = [label.name for label, image in pairs if image is None]
        if without:
            raise _without_image(folder, without[0], f"images{side}")
        taken = {case.name for case in cases}
        for label, image in pairs:
            name = stem(label)
            cases.append(Case(f"{name}_{side}" if name in taken else name, image or label, label))
    return cases


def _of_structure(folder: Path) -> list[Case]:
    """Return the cases of STRUCTURE/DATASET; an image is often there for several structures."""
    dataset, structure = folder.name, folder.parent.name
    return [
        replace(
            case,
            name=f"{dataset}_{case.name}_{structure}",
            names={1: structure},
            group=f"{dataset}_{case.name}",
        )
        for case in _sides(folder)
    ]


def _first_existing(folder: Path, name: str) -> Path | None:
    """Find a case's image: of several channels the first."""
    for suffix in SUFFIXES:
        for end in (f"_0000{suffix}", suffix):
            if (folder / f"{name}{end}").is_file():
                return folder / f"{name}{end}"
    return None


def _pairs(images: Path, labels: Path) -> list[Case]:
    by_name = {stem(path): path for path in _images(labels)}
    if without := sorted(by_name.keys() - {stem(image) for image in _images(images)}):
        raise _without_image(images.parent, by_name[without[0]].name, images.name)
    return [Case(stem(image), image, by_name.get(stem(image))) for image in _images(images)]


def _case_folders(folder: Path) -> list[Case]:
    cases = []
    for place in sorted(folder.iterdir()):
        if place.name.startswith(".") or not place.is_dir():  # what `collect` has not finished
            continue
        files = _images(place)
        images = [file for file in files if stem(file) == "image"]
        labels = [file for file in files if re.fullmatch(r"label(_\d+)?", stem(file))]
        for of, word in ((images, "images"), (labels, "label maps")):
            twice = [name for name, count in Counter(map(stem, of)).items() if count > 1]
            if twice:
                raise VolumeError(f"{place}: holds several {word} {twice[0]!r} in different formats. Leave one there.")
        if not images:
            continue
        if not labels:
            cases.append(Case(place.name, images[0], None))
        for label in labels:  # several where structures overlap
            end = stem(label).removeprefix("label")
            names = _names_in(place / f"labels{end}.json")
            cases.append(Case(place.name + end, images[0], label, names, group=place.name if len(labels) > 1 else ""))
    return cases


def _names_in(file: Path) -> dict[int, str]:
    """Read the names of labels beside a label map; none where there is no such file."""
    if not file.is_file():
        return {}
    try:
        entries = json.loads(file.read_text(encoding=UTF8))
        return {int(v): entry["name"] if isinstance(entry, dict) else str(entry) for v, entry in entries.items()}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise VolumeError(
            f'{file}: is damaged. It names labels, as {{"1": "liver"}}; correct it, or delete it to go without names.'
        ) from error


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.name.lower().endswith(SUFFIXES) and not p.name.startswith("."))
