"""What a file of weights says of itself, without torch: title, licence, origin, and whether it holds a 2-D model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset
from sammed3d.zoo import registry

FAMILIES_2D = frozenset({"sam_med2d", "sam_med2d_padded", "sam_med2d_no_adapters", "ft_sam2d"})
"""Families of 2-D models; `families.py`, which knows their presets, needs torch."""
_ZIP, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_LONGEST_LIST_END = 22 + 0xFFFF
"""Bytes of the record that ends a zip archive, with a comment."""
LEARNT_FROM = "learnt_from"
"""Entry of the metadata with the digests of the images that a model learnt from, or that chose its weights."""


def words_of(file: Path) -> dict[str, str]:
    """Return title, licence and origin of a safetensors file, where it has them."""
    about = _metadata(file)
    words = {"title": about.get("name"), "licence": about.get("licence"), "origin": about.get("origin")}
    return {key: value for key, value in words.items() if value}


def learnt_from(file: Path) -> frozenset[str]:
    """Return the digests of the images that `sammed3d learn` taught a model; see `files.datasets.image_digest`.

    Raises:
        ModelError: the file's entry is damaged.
    """
    try:
        digests = json.loads(_metadata(file).get(LEARNT_FROM, "[]"))
        return frozenset(str(each) for each in digests)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{file.name}: {LEARNT_FROM!r} in its metadata is no JSON list. Get the file again."
        ) from error


def works_by_slice(file: Path, family: str | None = None, name: str = "") -> bool | None:
    """Tell whether a file holds a 2-D model; None where neither it nor anything else says so.

    Args:
        file: the weights.
        family: the way to read it, if that is known.
        name: the name by which it is installed, perhaps that of a published model.
    """
    try:
        return Preset.from_json(json.loads(_metadata(file)["preset"])).by_slice
    except (KeyError, ValueError, AttributeError, ModelError):
        published = next((each.family for each in registry.entries() if each.name == name), None)
        known = family or published
        return None if known is None else known in FAMILIES_2D


def is_cut_off(file: Path) -> bool:
    """Tell whether a file of weights ends before it says that it does; False where it is another file, or says nothing.

    A safetensors file says where its last tensor ends; a zip archive, which torch's files are, has a list at its end.
    """
    size = file.stat().st_size
    with file.open("rb") as content:
        begin = content.read(9)
        if begin.startswith(_ZIP):
            content.seek(max(0, size - _LONGEST_LIST_END))
            return _ZIP_END not in content.read()
    if begin[8:] != b"{":
        return False
    length = 8 + int.from_bytes(begin[:8], "little")
    try:
        tensors = _header(file)
        ends = [each["data_offsets"][1] for name, each in tensors.items() if name != "__metadata__"]
        return size < length + max(ends, default=0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, MemoryError, OverflowError):
        return size < length  # else it is damaged otherwise: loading it says so


def _header(file: Path) -> Any:
    """Return the header of a safetensors file, which is JSON; what a damaged one raises is left to who asks."""
    with file.open("rb") as content:
        return json.loads(content.read(int.from_bytes(content.read(8), "little")))


def _metadata(file: Path) -> dict[str, str]:
    if file.suffix != ".safetensors":
        return {}
    try:
        header = _header(file)
        return {key: value for key, value in header.get("__metadata__", {}).items() if isinstance(value, str)}
    except (OSError, ValueError, AttributeError, MemoryError, OverflowError):
        return {}  # damaged: loading it says so
