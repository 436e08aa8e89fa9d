"""Which cases of prepared data teach, and which validate: `split.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sammed3d.files.datasets import UTF8, split
from sammed3d.files.outputs import write_text

SPLIT = "split.json"


def write_split(
    folder: Path,
    dataset: str,
    words: Mapping[str, str],
    images: Mapping[str, str],
    sides: Mapping[str, str],
    validation: float,
    seed: int,
) -> None:
    """Draw which patients validate, and write it down beside other datasets, where some of their images may be, too.

    Args:
        folder: folder of all prepared data.
        dataset: name of the dataset.
        words: of the patients, by the names of cases.
        images: digests by the names of cases.
        sides: of images in other datasets, by their digests.
        validation: share of the patients that validates.
        seed: seed of the draw.
    """
    given = {
        words[name]: side
        for side in ("validation", "train")  # a patient who is on both has taught
        for name, digest in images.items()
        if sides.get(digest) == side
    }
    train, validate = split(sorted(set(words.values()) - given.keys()), validation, seed)
    chosen = dict.fromkeys(train, "train") | dict.fromkeys(validate, "validation") | given
    known = {"seed": seed, **_split_in(folder)}
    for side in ("train", "validation"):
        others = [name for name in known[side] if not name.startswith(f"{dataset}/")]
        known[side] = sorted([*others, *(f"{dataset}/{name}" for name, word in words.items() if chosen[word] == side)])
    write_text(folder / SPLIT, json.dumps(known, indent=1))


def sides_of_images(folder: Path, dataset: str, image_of: Callable[[Path, str], str]) -> dict[str, str]:
    """Return on which side ("train" or "validation") images are in other datasets of a folder, by their digests.

    Args:
        folder: folder of all prepared data.
        dataset: name of the dataset that does not count.
        image_of: returns the digest of a case's image, by the folder and "DATASET/CASE"; "" where it is not known.
    """
    known = _split_in(folder)
    sides = {}
    for side in ("validation", "train"):  # an image that is on both has taught
        for name in known[side]:
            if not name.startswith(f"{dataset}/") and (digest := image_of(folder, name)):
                sides[digest] = side
    return sides


def cases_in(folder: Path, dataset: str) -> set[str]:
    """Return the names of a dataset's cases that are on a side."""
    known = _split_in(folder)
    listed = [*known["train"], *known["validation"]]
    return {name.removeprefix(f"{dataset}/") for name in listed if name.startswith(f"{dataset}/")}


def _split_in(folder: Path) -> dict[str, Any]:
    file = folder / SPLIT
    known: dict[str, Any] = json.loads(file.read_text(encoding=UTF8)) if file.is_file() else {}
    return {"train": [], "validation": [], **known}
