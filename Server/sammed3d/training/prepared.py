"""The published data set-up: a folder for each structure with images and binary masks at the model's spacing.

`preparation.json` says how they were prepared and how many voxels each mask has, `split.json` which cases validate;
`.prepared/DATASET/CASE.json` holds what came of a case, and the digest of what it was made of, so that one that was
corrected is made anew, and the others are not read again.

Source: SAM-Med3D `prepare_data_from_nnUNet.py`. Resampling is torchio's.
"""

from __future__ import annotations

import functools
import glob
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio
from torch import Tensor

from sammed3d.core.process_pools import process_pool
from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files.alone import alone_in
from sammed3d.files.datasets import TINY_MM3, UTF8, Case, content_digest, image_digest, read_labels
from sammed3d.files.outputs import make_folder, write_text, written_whole
from sammed3d.files.patients import patient_words, same_images
from sammed3d.files.volume import Volume
from sammed3d.files.written import is_whole
from sammed3d.training.images import LabelMap, ScalarImage
from sammed3d.training.sides import SPLIT, sides_of_images, write_split

PREPARATION, MADE_OF = "preparation.json", ".prepared"
PARTS = ("imagesTr", "labelsTr")


@dataclass(frozen=True)
class Preparation:
    """How a folder of data was prepared.

    Attributes:
        folder: folder of the prepared data.
        spacing: mm.
        clamp: range of intensities that was applied before resampling, or None.
        voxels: number of voxels of each mask, by "STRUCTURE/DATASET/CASE".
    """

    folder: Path
    spacing: float
    clamp: tuple[float, float] | None
    voxels: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> Preparation:
        """Read how a folder was prepared.

        Raises:
            VolumeError: it was not prepared.
        """
        try:
            about = json.loads((folder / PREPARATION).read_text(encoding="utf-8"))
            clamp = None if about["clamp"] is None else (float(about["clamp"][0]), float(about["clamp"][1]))
            return cls(folder, float(about["spacing"]), clamp, about["voxels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VolumeError(f"{folder}: was not prepared. Run: sammed3d data prepare DATASET {folder}") from error

    def write(self) -> None:
        """Write it into its folder, whole or not at all."""
        about = {"spacing": self.spacing, "clamp": self.clamp, "voxels": dict(sorted(self.voxels.items()))}
        write_text(self.folder / PREPARATION, json.dumps(about, indent=1))


@dataclass(frozen=True)
class PreparedCase:
    """What became of a case.

    Attributes:
        problem: why nothing came of it, or None.
        voxels: number of voxels of each of its masks, by "STRUCTURE/DATASET/CASE".
        left_out: structures that are too small, and their volumes in mm³.
        image: digest of its image file, "" if that cannot be read.
    """

    problem: str | None = None
    voxels: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, float] = field(default_factory=dict)
    image: str = ""


@dataclass(frozen=True)
class Sample:
    """A structure of a case.

    Attributes:
        case: the case's name.
        structure: the structure's folder.
        dataset: the dataset's folder; begins with the modality, as "ct_abdomen".
        image: file, at the spacing of the preparation.
        label: file of its binary mask, on the same grid.
        voxels: number of voxels of the mask.
    """

    case: str
    structure: str
    dataset: str
    image: Path
    label: Path
    voxels: int


def prepare(
    cases: Sequence[Case],
    folder: Path,
    dataset: str,
    *,
    spacing: float = 1.5,
    clamp: tuple[float, float] | None = None,
    validation: float = 0.1,
    seed: int = 2023,
    workers: int = 1,
    on_case: Callable[[str, PreparedCase], None] = lambda _name, _done: None,
) -> list[str]:
    """Resample cases and take their structures apart; goes on where it was stopped, and redoes what was corrected.

    Args:
        cases: cases with labels.
        folder: folder for everything: STRUCTURE/DATASET/{imagesTr,labelsTr}/CASE.nii.gz, `split.json` and
            `preparation.json`.
        dataset: name of the dataset; begins with the modality ("ct_...", "mr_...").
        spacing: mm.
        clamp: smallest and largest intensity, applied before resampling; for models whose preset says so.
        validation: share of the cases that validates.
        seed: seed of the split.
        workers: processes.
        on_case: called after each case.

    Structures of less than 10 mm³ are left out, and labels of one name are one structure. Images are resampled
    linearly, masks to the nearest voxel, in the orientation of their files, as published. All cases of a patient, as
    far as the dataset tells, and all with the same image file, in whatever dataset of the folder, are on one side.

    Returns:
        The names of the cases whose image another case of the folder has, too, though nothing says that they belong
        together.

    Raises:
        VolumeError: the folder holds data with another spacing or range, or cannot be written; or a process died.
        ModelError: another run writes into the folder.
    """
    with alone_in(folder):
        known = Preparation(folder, spacing, clamp, {})
        if (folder / PREPARATION).is_file():
            known = Preparation.read(folder)
            if (known.spacing, known.clamp) != (spacing, clamp):
                raise VolumeError(
                    f"{folder}: holds data at {known.spacing:g} mm, range {known.clamp}, and these would be at "
                    f"{spacing:g} mm, range {clamp}. Choose another folder, or delete it."
                )
        known.write()
        voxels: dict[str, int] = {}
        redone = {f"{dataset}/{case.name}" for case in cases}
        used: list[Case] = []
        images: dict[str, str] = {}
        work = functools.partial(_prepare_case, folder=folder, dataset=dataset, spacing=spacing, clamp=clamp)
        for case, done in _each(work, cases, workers):
            voxels |= done.voxels
            if done.voxels:  # a case without a mask can neither teach nor validate
                used.append(case)
                images[case.name] = done.image
            on_case(case.name, done)
        others = {name: count for name, count in known.voxels.items() if name.partition("/")[2] not in redone}
        Preparation(folder, spacing, clamp, others | voxels).write()
        sides = sides_of_images(folder, dataset, _image_in)
        write_split(folder, dataset, patient_words(used, images), images, sides, validation, seed)
        twice = same_images(used, images)
        return sorted(case.name for case in used if case.name in twice or images[case.name] in sides)


def _each(
    work: Callable[[Case], PreparedCase], cases: Sequence[Case], workers: int
) -> Iterator[tuple[Case, PreparedCase]]:
    """Yield each case and what became of it, in processes of their own where there are to be several."""
    if workers <= 1:
        yield from ((case, work(case)) for case in cases)
        return
    pool = process_pool(workers, interrupted=False)  # that is this process's business alone
    try:
        running = {pool.submit(work, case): case for case in cases}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        raise VolumeError(
            "A process that prepared a case died, perhaps for lack of memory. Start it again with fewer --workers; it "
            "goes on where it was."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # what is under way is done to its end


def _prepare_case(
    case: Case, folder: Path, dataset: str, spacing: float, clamp: tuple[float, float] | None
) -> PreparedCase:
    """Prepare one case."""
    voxels: dict[str, int] = {}
    left_out: dict[str, float] = {}
    made_of = folder / MADE_OF / dataset / f"{case.name}.json"
    try:
        digest = image_digest(case)
        content = content_digest(case, digest)
        known = _known(made_of, content, digest)
        if known is not None and all(map(_is_there, _once(_files_of(known.voxels, folder)))):
            return known
        if known is None:
            _forget(case, folder, dataset)
        volume = Volume.read(case.image)
        labels = read_labels(case, volume.grid)
        array = volume.array if clamp is None else np.clip(volume.array.astype(np.float32), *clamp)
        image = ScalarImage(tensor=_tensor(array), affine=volume.grid.index_to_world)
        resampled: Path | None = None
        for folder_name, (name, values) in _structures(case, labels).items():
            inside = np.isin(labels, values)
            mm3 = int(inside.sum()) * volume.grid.voxel_volume
            if mm3 < TINY_MM3:
                left_out[name] = mm3
                continue
            place = folder / folder_name / dataset
            image_file, label_file = (place / part / f"{case.name}.nii.gz" for part in PARTS)
            if not (_is_there(image_file) and _is_there(label_file)):
                make_folder(image_file.parent)
                make_folder(label_file.parent)
                if resampled is None:
                    _save(torchio.Resample(spacing)(image), image_file)
                else:
                    _link(resampled, image_file)
                mask = LabelMap(tensor=_tensor(inside), affine=volume.grid.index_to_world)
                _save(torchio.Resample(spacing)(mask), label_file)
            voxels[f"{folder_name}/{dataset}/{case.name}"] = _count(label_file)
            resampled = image_file
        write_text(made_of, json.dumps({"content": content, "image": digest, "voxels": voxels, "left_out": left_out}))
    except SAMMed3DError as error:
        return PreparedCase(str(error))
    return PreparedCase(None, voxels, left_out, digest)


def _known(made_of: Path, content: str, image: str) -> PreparedCase | None:
    """Return what came of a case before; None if nothing is known of it, or it was made of something else."""
    try:
        about = json.loads(made_of.read_text(encoding="utf-8"))
        same = about["content"] == content and about.get("image", image) == image
        return PreparedCase(None, about["voxels"], about["left_out"], image) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _image_in(folder: Path, case: str) -> str:
    """Return the digest of the image that a case ("DATASET/CASE") was made of; "" where that is not known."""
    try:
        return str(json.loads((folder / MADE_OF / f"{case}.json").read_text(encoding="utf-8")).get("image", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _files_of(names: Iterable[str], folder: Path) -> Iterator[Path]:
    """Yield the files of samples that are named by "STRUCTURE/DATASET/CASE"."""
    for name in names:
        structure, dataset, case = name.split("/", 2)
        yield from (folder / structure / dataset / part / f"{case}.nii.gz" for part in PARTS)


def _once(files: Iterable[Path]) -> Iterator[Path]:
    """Yield files, of those that are links to one another the first."""
    seen = set()
    for file in files:
        about = file.stat() if file.is_file() else None
        which = file if about is None else (about.st_dev, about.st_ino)
        if which not in seen:
            seen.add(which)
            yield file


def _forget(case: Case, folder: Path, dataset: str) -> None:
    """Delete what was made of a case before it was changed."""
    for part in reversed(PARTS):  # an image without a mask is made anew, a mask without an image is not
        for file in folder.glob(f"*/{glob.escape(dataset)}/{part}/{glob.escape(case.name)}.nii.gz"):
            file.unlink()


def _structures(case: Case, labels: npt.NDArray[Any]) -> dict[str, tuple[str, list[int]]]:
    """Return name and label values of each structure, by its folder.

    Raises:
        VolumeError: structures of different names would share a folder, be it on a system that takes "Liver" for
            "liver".
    """
    found: dict[str, tuple[str, list[int]]] = {}
    taken: dict[str, str] = {}
    for name, values in case.structures_in(labels).items():
        folder = _folder_name(name)
        known = taken.setdefault(folder.casefold(), name)
        if known != name:
            raise VolumeError(
                f"{case.name}: {known!r} and {name!r} would share the folder {folder}. Rename one of them in the "
                "dataset."
            )
        found[folder] = name, values
    return found


def _is_there(file: Path) -> bool:
    """Tell whether a file is there from before, all of it."""
    return file.is_file() and is_whole(file)


def _count(label: Path) -> int:
    return int((LabelMap(label).data > 0).sum())


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    kind = np.uint8 if array.dtype == bool else np.float32
    return torch.from_numpy(np.ascontiguousarray(array).astype(kind))[None]


def _save(image: Any, file: Path) -> None:
    with written_whole(file) as beside:
        image.save(beside)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _folder_name(structure: str) -> str:
    return re.sub(r"[^\w-]+", "_", structure).strip("_") or "structure"


def find_samples(folder: Path, side: str) -> list[Sample]:
    """Return the samples of one side ("train" or "validation") of a prepared folder.

    Raises:
        VolumeError: the folder was not prepared, or has no samples on that side.
    """
    about = Preparation.read(folder)
    try:
        chosen = set(json.loads((folder / SPLIT).read_text(encoding=UTF8))[side])
    except (OSError, ValueError, KeyError) as error:
        raise VolumeError(
            f"{folder}: its preparation was not finished. Run 'sammed3d data prepare' again; it goes on where it was."
        ) from error
    voxels = {name.casefold(): count for name, count in about.voxels.items()}  # folders may be named as in another case
    samples = []
    for label in sorted(folder.glob("*/*/labelsTr/*.nii.gz")):
        structure, dataset, case = label.parents[2].name, label.parents[1].name, label.name.removesuffix(".nii.gz")
        if f"{dataset}/{case}" in chosen:
            count = voxels.get(f"{structure}/{dataset}/{case}".casefold(), 0)
            image = label.parents[1] / "imagesTr" / label.name
            samples.append(Sample(case, structure, dataset, image, label, count))
    if not samples and side == "train":
        raise VolumeError(f"{folder}: holds no samples to train on.")
    return samples
