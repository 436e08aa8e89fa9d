"""The published models: what they are for, where they come from and under which licence.

The data are in `models.json`, the bundled model first. A model without a `url` has no address that a program can fetch
it from: its page says how people get it, and `ModelStore.add` imports the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from sammed3d.errors import ModelError

HUGGINGFACE = "https://huggingface.co"


@dataclass(frozen=True)
class ModelEntry:
    """A published model.

    Attributes:
        name: short and unique: lower-case letters, digits, underscores.
        title: its name for people.
        family: preprocessing and network, one of `families.FAMILIES`; None where the file itself says it.
        purpose: its purpose, in a sentence.
        licence: SPDX identifier, or words.
        licence_source: the page that states it.
        page: a page for people who want to know more.
        file: its name as published; None where that is not known.
        url: address of the file; "{huggingface}" stands for the Hugging Face hub or its mirror; None if there is none.
        size: size in bytes, where known.
        sha256: SHA-256 (hex) of the file, where known; else that of the first download, which later ones must match.
        citation: the words to cite it with.
    """

    name: str
    title: str
    family: str | None
    purpose: str
    licence: str
    licence_source: str
    page: str
    file: str | None
    url: str | None
    size: int | None
    sha256: str | None
    citation: str

    def address(self) -> str:
        """Return the URL to download from; the environment variable HF_ENDPOINT names a mirror of the hub.

        Raises:
            ModelError: it has none.
        """
        if self.url is None:
            raise ModelError(
                f"{self.title} cannot be downloaded by a program. Get the file from {self.page}; import it."
            )
        return self.url.format(huggingface=os.environ.get("HF_ENDPOINT", HUGGINGFACE).rstrip("/"))


@cache
def entries() -> tuple[ModelEntry, ...]:
    """Return the published models, the recommended one first."""
    return parse(json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8")))


def parse(data: list[dict[str, Any]]) -> tuple[ModelEntry, ...]:
    """Check registry data.

    Raises:
        ModelError: an entry has missing or unknown keys, or a name appears twice.
    """
    expected = {field.name for field in fields(ModelEntry)}
    for item in data:
        if set(item) != expected:
            wrong = ", ".join(sorted(set(item) ^ expected))
            raise ModelError(f"Registry entry {item.get('name', '?')!r}: missing or unknown: {wrong}.")
    names = [item["name"] for item in data]
    if len(set(names)) != len(names):
        raise ModelError("Registry: a name appears twice.")
    return tuple(ModelEntry(**item) for item in data)


def published_as(file: str) -> ModelEntry | None:
    """Return the entry of a published file name; None if there is none."""
    return next((entry for entry in entries() if entry.file == file), None)


def entry(name: str) -> ModelEntry:
    """Return the entry of a name.

    Raises:
        ModelError: there is none.
    """
    for candidate in entries():
        if candidate.name == name:
            return candidate
    known = ", ".join(e.name for e in entries())
    raise ModelError(f"There is no published model named {name!r}. Known: {known}.")
