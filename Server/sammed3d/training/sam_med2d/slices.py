"""Slices of labelled volumes as images with masks, as 2-D models see them in use."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files.datasets import Case, read_labels
from sammed3d.files.image_lists import ListedImage
from sammed3d.files.patients import image_digests, patient_words
from sammed3d.files.picture import write_png
from sammed3d.files.volume import Volume
from sammed3d.inference.preset import Preset
from sammed3d.inference.slices import Slices

SMALLEST = 20
"""Pixels that a structure needs to have in a slice."""
GREY = Preset(patch_shape=(256, 256, 1), low_res_shape=(64, 64, 1), normalisation="grey", fit="pad")


def write_slices(
    cases: Sequence[Case],
    folder: Path,
    *,
    every: int = 1,
    smallest: int = SMALLEST,
    on_case: Callable[[str, int, str | None], None] = lambda _name, _count, _problem: None,
) -> dict[str, list[ListedImage]]:
    """Write the slices of volumes that show structures, at their own size, as `images/NAME.png` and their masks.

    Args:
        cases: cases with labels.
        folder: folder for both.
        every: take every n-th of these slices only.
        smallest: pixels that a structure needs to have in a slice.
        on_case: called after each case with its name, the number of its slices, and why there are none.

    Returns:
        The slices by patient, so that those of one can be kept on one side; see `patient_words`.

    Slices are those that were acquired, turned as radiologists see them, their own smallest and largest value at 0 and
    255; see `inference.slices`.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    found: dict[str, list[ListedImage]] = {}
    patients = patient_words(cases, image_digests(cases))
    taken: dict[str, str] = {}
    for case in cases:
        other = taken.setdefault(_word(case.name), case.name)
        try:
            if other != case.name:
                raise VolumeError(f"its slices would have the names of those of {other}. Rename one of them.")
            written = _slices_of(case, folder, every, smallest)
        except SAMMed3DError as error:
            on_case(case.name, 0, str(error))
            continue
        if written:
            found.setdefault(patients[case.name], []).extend(written)
        on_case(case.name, len(written), None if written else f"no structure has {smallest} pixels in a slice")
    return found


def _slices_of(case: Case, folder: Path, every: int, smallest: int) -> list[ListedImage]:
    volume = Volume.read(case.image)
    labels = read_labels(case, volume.grid)
    slices = Slices(volume.grid, GREY)
    structures: dict[str, tuple[npt.NDArray[np.bool_], set[int]]] = {}
    for structure, values in case.structures_in(labels).items():
        inside, word = np.isin(labels, values), _word(structure)
        if word.casefold() in map(str.casefold, structures):  # some systems take "Liver" for "liver"
            raise VolumeError(
                f"two of its structures would share the files of {word!r}. Rename one of them in the dataset."
            )
        structures[word] = inside, slices_with(inside, slices, smallest)
    numbers = sorted({number for _, found in structures.values() for number in found})[::every]
    written = []
    for number in numbers:
        name = f"{_word(case.name)}_{number:03d}"
        image = folder / "images" / f"{name}.png"
        write_png(np.rint(slices.pixels(volume, number)).astype(np.uint8).T, image)
        masks = []
        for word, (inside, found) in structures.items():
            if number in found:
                mask = folder / "masks" / f"{name}_{word}_000.png"
                write_png(slices.mask_pixels(inside, number).astype(np.uint8).T * 255, mask)
                masks.append(mask)
        written.append(ListedImage(image, tuple(masks)))
    return written


def slices_with(mask: npt.NDArray[np.bool_], slices: Slices, smallest: int) -> set[int]:
    """Return the numbers of the slices in which a mask has so many pixels."""
    others = tuple(axis for axis in range(3) if axis != slices.axis)
    return set(np.flatnonzero(mask.sum(axis=others) >= smallest).tolist())


def _word(name: str) -> str:
    return re.sub(r"[^\w]+", "-", name).strip("-") or "case"
