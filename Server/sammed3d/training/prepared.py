"""The published data set-up: a folder for each structure with images and binary masks at 1.5 mm, and patches from it.

Source: SAM-Med3D `prepare_data_from_nnUNet.py` and `data_loader.py`. Loading and augmentation are torchio's.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchio
from torch import Tensor
from torch.utils.data import Dataset

from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files.datasets import TINY_MM3, Case, read_labels, split
from sammed3d.files.volume import Volume
from sammed3d.training.recipe import Recipe

SPLIT = "split.json"
TRIES = 20


@dataclass(frozen=True)
class Sample:
    """A structure of a case.

    Attributes:
        case: the case's name.
        structure: the structure's folder.
        dataset: the dataset's folder; begins with the modality, as "ct_abdomen".
        image, label: files at the recipe's spacing.
    """

    case: str
    structure: str
    dataset: str
    image: Path
    label: Path


def prepare(
    cases: Sequence[Case],
    folder: Path,
    dataset: str,
    *,
    spacing: float = 1.5,
    validation: float = 0.1,
    seed: int = 2023,
    workers: int = 1,
    on_case: Callable[[str, str | None], None] = lambda _name, _problem: None,
) -> None:
    """Resample cases and take their structures apart; goes on where it was stopped.

    Args:
        cases: with labels.
        folder: where everything goes: STRUCTURE/DATASET/{imagesTr,labelsTr}/CASE.nii.gz and `split.json`.
        dataset: name of the dataset; begins with the modality ("ct_...", "mr_...").
        spacing: mm.
        validation: share of the cases that validates.
        seed: of the split.
        workers: processes.
        on_case: called after each case, with what was wrong with it, or None.

    Structures of less than 10 mm³ are left out. Images are resampled linearly, masks to the nearest voxel, in the
    orientation of their files, as published.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(_prepare_case, case, folder, dataset, spacing): case.name for case in cases}
        problems: dict[str, str | None] = {}
        for future in as_completed(running):
            problems[running[future]] = future.result()
            on_case(running[future], problems[running[future]])
    train, validate = split([name for name, problem in problems.items() if problem is None], validation, seed)
    file = folder / SPLIT
    known: dict[str, Any] = {"seed": seed, "train": [], "validation": []}
    if file.is_file():
        known |= json.loads(file.read_text())
    for side, names in (("train", train), ("validation", validate)):
        others = [name for name in known[side] if not name.startswith(f"{dataset}/")]
        known[side] = sorted([*others, *(f"{dataset}/{name}" for name in names)])
    file.write_text(json.dumps(known, indent=1))


def _prepare_case(case: Case, folder: Path, dataset: str, spacing: float) -> str | None:
    """Prepare one case; returns what is wrong with it."""
    try:
        volume = Volume.read(case.image)
        labels = read_labels(case, volume.grid)
        image = torchio.ScalarImage(tensor=_tensor(volume.array), affine=volume.grid.index_to_world)
        resampled: Path | None = None
        for value in np.unique(labels):
            mm3 = int((labels == value).sum()) * volume.grid.voxel_volume
            if value <= 0 or mm3 < TINY_MM3:
                continue
            place = folder / _folder_name(case.name_of(int(value))) / dataset
            image_file, label_file = (place / part / f"{case.name}.nii.gz" for part in ("imagesTr", "labelsTr"))
            if not label_file.is_file():
                image_file.parent.mkdir(parents=True, exist_ok=True)
                label_file.parent.mkdir(parents=True, exist_ok=True)
                if resampled is None:
                    _save(torchio.Resample(spacing)(image), image_file)
                else:
                    _link(resampled, image_file)
                mask = torchio.LabelMap(tensor=_tensor(labels == value), affine=volume.grid.index_to_world)
                _save(torchio.Resample(spacing)(mask), label_file)
            resampled = image_file
    except SAMMed3DError as error:
        return str(error)
    return None


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    kind = np.uint8 if array.dtype == bool else np.float32
    return torch.from_numpy(np.ascontiguousarray(array).astype(kind))[None]


def _save(image: Any, file: Path) -> None:
    partial = file.with_name(f".{file.name}")
    image.save(partial)
    partial.replace(file)


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
    file = folder / SPLIT
    if not file.is_file():
        raise VolumeError(f"{folder}: was not prepared. Run: sammed3d data prepare DATASET {folder}")
    chosen = set(json.loads(file.read_text())[side])
    samples = [
        Sample(
            _stem(label),
            label.parents[2].name,
            label.parents[1].name,
            label.parents[1] / "imagesTr" / label.name,
            label,
        )
        for label in sorted(folder.glob("*/*/labelsTr/*.nii.gz"))
        if f"{label.parents[1].name}/{_stem(label)}" in chosen
    ]
    if not samples and side == "train":
        raise VolumeError(f"{folder}: holds no samples to train on.")
    return samples


def _stem(path: Path) -> str:
    return path.name.removesuffix(".nii.gz")


class Patches(Dataset[dict[str, Any]]):
    """Patches round structures, cut and flipped by torchio.

    Args:
        samples: where from.
        edge: of the patch, voxels.
        recipe: augmentation.
        augment: whether to flip.

    An item is asked for by (index, seed), so that the same seed gives the same patch in whatever process.
    """

    def __init__(self, samples: Sequence[Sample], edge: int, recipe: Recipe, augment: bool) -> None:
        self.samples, self._edge, self._recipe, self._augment = list(samples), edge, recipe, augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, which: tuple[int, int]) -> dict[str, Any]:
        index, seed = which
        rng = np.random.default_rng(seed)
        for _ in range(TRIES):
            patch = self._patch(self.samples[index], int(rng.integers(2**31)))
            if int(patch["mask"].sum()) > self._recipe.smallest_voxels or not self._augment:
                break
            index = int(rng.integers(len(self.samples)))
        return patch | {"seed": seed, "index": index}

    def _patch(self, sample: Sample, seed: int) -> dict[str, Tensor]:
        subject = torchio.Subject(image=torchio.ScalarImage(sample.image), mask=torchio.LabelMap(sample.label))
        steps: list[Any] = [torchio.ToCanonical()]
        if self._recipe.ct_window is not None and sample.dataset.startswith("ct_"):
            steps.append(torchio.Clamp(*self._recipe.ct_window))
        steps.append(torchio.CropOrPad(mask_name="mask", target_shape=3 * (self._edge,)))
        if self._augment:
            steps.append(torchio.RandomFlip(axes=(0, 1, 2), flip_probability=self._recipe.flip))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of its loader, which plain tensors do not need
            torch.manual_seed(seed)
            cut = torchio.Compose(steps)(subject)
        return {"image": cut["image"].data.float(), "mask": (cut["mask"].data > 0).float()}


def normalised(images: Tensor, normalisation: str) -> Tensor:
    """Return images with mean 0 and deviation 1 over their voxels above 0; pooled over the batch, or each by itself."""
    if normalisation == "batch":
        return _z_score(images)
    return torch.stack([_z_score(image) for image in images])


def _z_score(images: Tensor) -> Tensor:
    positive = images[images > 0]
    deviation = positive.std() if positive.numel() > 1 else images.new_zeros(())
    return (images - positive.mean()) / deviation if float(deviation) > 0 else images * 0
