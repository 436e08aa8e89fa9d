"""Cases on the model's lattice, kept on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Point3
from sammed3d.core.interpolation import interpolate
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import Case, content_digest, read_labels
from sammed3d.files.outputs import make_folder, write_text, written_whole
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice

HALF_MAX = 60000.0  # float16 ends at 65504
MOST_STRUCTURES = 255
"""That a label map on the lattice can hold."""


@dataclass(frozen=True, eq=False)
class CachedCase:
    """A case on the lattice, memory-mapped.

    Attributes:
        name: the case's name.
        image: (R, A, S) float16, raw intensities; large ranges were scaled down to fit.
        label: (R, A, S) uint8, 0 outside; its structures are numbered from 1 on, in the order of their label values.
            All zeros where there are no labels. Labels of one name are one structure.
    """

    name: str
    image: npt.NDArray[np.float16]
    label: npt.NDArray[np.uint8]


def cached(case: Case, cache: Path, spacing: Point3) -> CachedCase:
    """Open a case from the cache; resamples it into the cache first where it is missing, or was changed since.

    Raises:
        VolumeError: image or label map cannot be used, it holds more than `MOST_STRUCTURES` structures, or the cache
            cannot be written.
    """
    folder = cache / _folder_name(case.name)
    done = folder / "done.json"
    wanted = {"spacing": list(spacing), "content": content_digest(case)}
    if not done.is_file() or json.loads(done.read_text()) != wanted:
        make_folder(folder)
        done.unlink(missing_ok=True)  # what follows may be stopped
        image, label = _resampled(case, spacing)
        arrays: dict[str, npt.NDArray[Any]] = {"image.npy": image, "label.npy": label}
        for name, array in arrays.items():
            with written_whole(folder / name) as beside:
                np.save(beside, array)
        write_text(done, json.dumps(wanted))
    return CachedCase(
        case.name, np.load(folder / "image.npy", mmap_mode="r"), np.load(folder / "label.npy", mmap_mode="r")
    )


def _folder_name(name: str) -> str:
    """Return a case's folder in the cache; some names that `cases_of` makes are paths, which may lead out of it."""
    path = Path(name)
    if not path.anchor and ".." not in path.parts:
        return name
    return f"{path.name}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _resampled(case: Case, spacing: Point3) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    volume = Volume.read(case.image)
    lattice = Lattice(volume.grid, spacing)
    sampled = interpolate(volume.array, lattice.sampling(Box((0, 0, 0), lattice.shape)))
    image = np.ascontiguousarray(lattice.to_canonical(sampled))
    largest = float(np.abs(image).max())
    if largest > HALF_MAX:
        image *= HALF_MAX / largest
    if case.label is None:
        return image.astype(np.float16), np.zeros(image.shape, np.uint8)
    labels = _numbered(case, read_labels(case, volume.grid))
    return image.astype(np.float16), lattice.sample_nearest(labels).astype(np.uint8)


def _numbered(case: Case, labels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return a label map whose structures are numbered from 1 on."""
    structures = case.structures_in(labels)
    if len(structures) > MOST_STRUCTURES:
        raise VolumeError(
            f"{case.name}: the label map holds {len(structures)} structures, and {MOST_STRUCTURES} can be learnt from. "
            "Leave some out, or take them apart into several cases."
        )
    if not structures:
        return np.zeros(labels.shape, np.uint8)
    pairs = sorted((value, n) for n, values in enumerate(structures.values(), start=1) for value in values)
    known, numbers = (np.array(column) for column in zip(*pairs, strict=True))
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    return np.where(known[places] == labels, numbers.astype(np.uint8)[places], 0).astype(np.uint8)
