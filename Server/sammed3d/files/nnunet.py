"""What the `dataset.json` of nnU-Net says of labels, in version 1 and 2: names, regions, and what nobody annotated."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sammed3d.errors import VolumeError

DESCRIPTION = "dataset.json"


def read_names(folder: Path) -> tuple[list[dict[int, str]], int | None]:
    """Read the names of labels.

    A region of several labels, as {"tumour": [2, 3]}, is one structure. Where regions overlap, one label has several
    names; so there are several lists of names then, in each of which a label has one.

    Returns:
        Names by label, one list or more; and the label that marks voxels which nobody annotated ("ignore"), or None.

    Raises:
        VolumeError: the file is damaged.
    """
    file = folder / DESCRIPTION
    try:
        labels = json.loads(file.read_text(encoding="utf-8-sig")).get("labels", {})  # see datasets.UTF8
        unknown = labels["ignore"] if isinstance(labels.get("ignore"), int) else None
        structures = _structures({name: value for name, value in labels.items() if name != "ignore"})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise VolumeError(f"{file}: is damaged; nnU-Net's documentation says what it holds.") from error
    lists: list[dict[int, str]] = [{}]
    for name, values in structures.items():
        free = next((each for each in lists if not each.keys() & values), None)
        if free is None:
            lists.append(free := {})
        free.update(dict.fromkeys(values, name))
    return lists, unknown


def further_channels(image: Path) -> int:
    """Return how many further channels of a case lie beside its first one (NAME_0000)."""
    found = re.fullmatch(r"(.+)_0000(\..+)", image.name)
    if found is None:
        return 0
    numbers = itertools.takewhile(
        lambda n: image.with_name(f"{found[1]}_{n:04d}{found[2]}").is_file(), itertools.count(1)
    )
    return len(list(numbers))


def _structures(labels: Mapping[str, Any]) -> dict[str, set[int]]:
    """Return the labels of each structure: {"1": "liver"} in version 1, {"liver": 1} in version 2; 0 is background."""
    found: dict[str, set[int]] = {}
    for key, value in labels.items():
        if re.fullmatch(r"\d+", key):
            name, values = str(value), [int(key)]
        elif isinstance(value, int | list):
            name, values = key, [int(each) for each in (value if isinstance(value, list) else [value])]
        else:
            continue
        if of := {each for each in values if each != 0}:
            found.setdefault(name, set()).update(of)
    return found
