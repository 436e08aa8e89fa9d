"""Prompt files: the package's own versioned JSON. Markups of 3D Slicer are read too (`markups.py`).

A file is written in the oldest version that holds what there is, so older programs read what they can understand.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from sammed3d.core import drawings, markups
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts, Translation
from sammed3d.errors import PromptError

FORMAT = "sammed3d-prompts"
VERSIONS = (1, 2, 3)
"""Version 2 has boxes; version 3 drawings, whether they are honoured, and how far objects were followed."""

KINDS: dict[object, str] = {str: "text", bool: "true or false", list: "a list", (int, float): "a number"}
"""What entries can be, in words."""
FRAME = {"coordinate_system": "RAS", "units": "mm"}
"""What files say of their coordinates; one that says nothing means this."""


def dumps(objects: Iterable[ObjectPrompts]) -> str:
    """Return the versioned JSON text of several objects' prompts."""
    objects = list(objects)
    return json.dumps(
        {
            "format": FORMAT,
            "version": max((_version(o) for o in objects), default=1),
            **FRAME,
            "objects": [_object_to_json(o) for o in objects],
        },
        indent=2,
    )


def loads(text: str, name: str = "the prompt file") -> tuple[ObjectPrompts, ...]:
    """Read what `dumps` wrote, or a Slicer markups file.

    Raises:
        PromptError: not JSON, not a known format or version, not in RAS and mm, or a malformed entry; names the entry.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise PromptError(f"{name}: this is not JSON ({error}).") from error
    if not isinstance(data, dict):
        raise PromptError(f"{name}: expected prompts or Slicer markups, found a JSON {type(data).__name__}.")
    if "markups" in data:
        return markups.objects_from(data, name)
    if data.get("format") != FORMAT:
        raise PromptError(f"{name}: neither {FORMAT} JSON nor a Slicer markups file (.mrk.json).")
    if data.get("version") not in VERSIONS or isinstance(data["version"], bool):
        raise PromptError(f"{name}: version {data.get('version')!r} is not known; update this package to read it.")
    for key, known in FRAME.items():
        if (said := data.get(key, known)) != known:
            raise PromptError(
                f"{name}: its {key!r} is {said!r}. Convert its coordinates to RAS in mm, and say {known!r}."
            )
    try:
        return tuple(_object_from_json(entry) for entry in _checked(data["objects"], "objects", list))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PromptError(f"{name}: an object is incomplete or malformed ({error}).") from error
    except PromptError as error:
        raise PromptError(f"{name}: {error}") from error


def read(path: str | os.PathLike[str]) -> tuple[ObjectPrompts, ...]:
    """Read a prompt file or a Slicer markups file; errors as `loads`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' own tools put a mark in front
    except OSError as error:
        reason = error.strerror or str(error)
        raise PromptError(f"{path}: the prompts cannot be read: {reason[:1].lower()}{reason[1:]}.") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: holds no text, so it is no file of prompts.") from error
    return loads(text, path.name)


def write(path: str | os.PathLike[str], objects: Iterable[ObjectPrompts]) -> None:
    """Write a prompt file, whole or not at all: one that is there stays where that fails.

    Raises:
        PromptError: it cannot be written.
    """
    path, text = Path(path), dumps(objects)
    beside = path.with_name(f".writing.{uuid4().hex[:8]}.{path.name}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise PromptError(
            f"{path}: the prompts cannot be written. Check the folder, its permissions and free space."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _version(prompts: ObjectPrompts) -> int:
    followed = any(click.follow for click in prompts.clicks)
    if prompts.drawings or prompts.translations or not prompts.honour or followed:
        return 3
    return 1 if prompts.box is None else 2


def _object_to_json(prompts: ObjectPrompts) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": prompts.name,
        "initial_mask": prompts.initial_mask,
        "clicks": _clicks_to_json(prompts.clicks),
    }
    if prompts.box is not None:
        entry["box"] = {"begin": list(prompts.box.begin), "end": list(prompts.box.end)}
    if _version(prompts) == 3:
        entry["drawings"] = [drawings.to_json(d) for d in prompts.drawings]
        entry["honour"] = prompts.honour
        entry["translations"] = [{**vars(t), "clicks": _clicks_to_json(t.clicks)} for t in prompts.translations]
    return entry


def _object_from_json(entry: dict[str, Any]) -> ObjectPrompts:
    corners = entry.get("box")
    started_from = entry.get("initial_mask")
    return ObjectPrompts(
        _checked(entry["name"], "name", str),
        _clicks_from_json(entry["clicks"]),
        None if started_from is None else _checked(started_from, "initial_mask", str),
        None if corners is None else BoxPrompt(_point(corners["begin"], "begin"), _point(corners["end"], "end")),
        tuple(drawings.from_json(d) for d in _checked(entry.get("drawings", []), "drawings", list)),
        _checked(entry.get("honour", True), "honour", bool),
        tuple(_translation_from_json(t) for t in _checked(entry.get("translations", []), "translations", list)),
    )


def _translation_from_json(entry: dict[str, Any]) -> Translation:
    missed = _checked(entry["missed"], "missed", (int, float))
    if not 0 <= missed <= 1:
        raise PromptError(f"'missed' is a share from 0 to 1, not {missed!r}.")
    return Translation(
        _checked(entry["prompt"], "prompt", str),
        _checked(entry["model"], "model", str),
        _clicks_from_json(entry["clicks"]),
        _checked(entry["mask_prompt"], "mask_prompt", bool),
        float(missed),
    )


def _clicks_to_json(clicks: Iterable[Click]) -> list[dict[str, Any]]:
    return [
        {"world": list(c.world), "positive": c.positive, **({"follow": c.follow} if c.follow else {})} for c in clicks
    ]


def _clicks_from_json(entries: object) -> tuple[Click, ...]:
    return tuple(
        Click(_point(c["world"], "world"), _polarity(c["positive"]), c.get("follow", 0))
        for c in _checked(entries, "clicks", list)
    )


def _point(value: object, name: str) -> tuple[Any, ...]:
    """Return the coordinates of a point as they stand; whoever takes them checks how many there are."""
    return tuple(_checked(each, name, (int, float)) for each in _checked(value, name, list))


def _checked(value: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a value of a kind: what looks like another one is not taken for it, as "false" for true.

    Raises:
        PromptError: it is of another kind; names the entry.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise PromptError(f"{name!r} must be {KINDS[kind]}, not {value!r}.")
    return value


def _polarity(value: object) -> bool:
    if not isinstance(value, bool):
        raise PromptError(f"A click's 'positive' must be true or false, not {value!r}.")
    return value
