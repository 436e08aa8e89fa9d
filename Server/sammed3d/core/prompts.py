"""Prompts: the clicks of an object, in order, and their JSON form.

Coordinates are world RAS mm, so prompts mean the same in any grid, program and session. Files are the package's own
versioned JSON, or 3D Slicer markups (`.mrk.json`), whose LPS coordinates are converted here.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Point3
from sammed3d.errors import PromptError

FORMAT = "sammed3d-prompts"
VERSIONS = (1, 2)
"""Version 2 has boxes; files without one are written as version 1, which older programs read too."""
MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


@dataclass(frozen=True)
class Click:
    """A point prompt.

    Attributes:
        world: where, RAS mm.
        positive: True where the object is, False where it is not.

    Raises:
        PromptError: the coordinate is not three finite numbers.
    """

    world: Point3
    positive: bool = True

    def __post_init__(self) -> None:
        try:
            x, y, z = (float(v) for v in self.world)
        except (TypeError, ValueError) as error:
            raise PromptError(f"A click needs three coordinates R, A, S in mm, not {self.world!r}.") from error
        if not np.isfinite([x, y, z]).all():
            raise PromptError(f"A click needs finite coordinates, not {self.world!r}.")
        object.__setattr__(self, "world", (x, y, z))
        object.__setattr__(self, "positive", bool(self.positive))


@dataclass(frozen=True)
class BoxPrompt:
    """A box drawn round an object.

    Attributes:
        begin: a corner, RAS mm.
        end: the opposite corner.

    Raises:
        PromptError: a coordinate is not three finite numbers.
    """

    begin: Point3
    end: Point3

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin", Click(self.begin).world)
        object.__setattr__(self, "end", Click(self.end).world)

    @property
    def middle(self) -> Point3:
        """Its centre, RAS mm."""
        x, y, z = ((a + b) / 2 for a, b in zip(self.begin, self.end, strict=True))
        return x, y, z

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """All eight corners: (8, 3), RAS mm."""
        return np.array(list(itertools.product(*zip(self.begin, self.end, strict=True))))


@dataclass(frozen=True)
class ObjectPrompts:
    """All prompts of one object.

    Attributes:
        name: the object's name.
        clicks: in the order in which they were made; the order matters.
        initial_mask: SHA-256 of the mask that the object started from, or None. The mask itself is not part of it.
        box: drawn round the object before all clicks, or None.
    """

    name: str
    clicks: tuple[Click, ...]
    initial_mask: str | None = None
    box: BoxPrompt | None = None


def dumps(objects: Iterable[ObjectPrompts]) -> str:
    """Return the versioned JSON text of several objects' prompts."""
    objects = list(objects)
    return json.dumps(
        {
            "format": FORMAT,
            "version": VERSIONS[0] if all(o.box is None for o in objects) else VERSIONS[1],
            "coordinate_system": "RAS",
            "units": "mm",
            "objects": [
                {
                    "name": o.name,
                    "initial_mask": o.initial_mask,
                    "clicks": [{"world": list(c.world), "positive": c.positive} for c in o.clicks],
                    **({} if o.box is None else {"box": {"begin": list(o.box.begin), "end": list(o.box.end)}}),
                }
                for o in objects
            ],
        },
        indent=2,
    )


def loads(text: str, name: str = "the prompt file") -> tuple[ObjectPrompts, ...]:
    """Read what `dumps` wrote, or the point lists of a Slicer markups file.

    Raises:
        PromptError: not JSON, not a known format or version, or a malformed entry; names the entry.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise PromptError(f"{name}: this is not JSON ({error}).") from error
    if not isinstance(data, dict):
        raise PromptError(f"{name}: expected prompts or Slicer markups, found a JSON {type(data).__name__}.")
    if "markups" in data:
        return _from_markups(data, name)
    if data.get("format") != FORMAT:
        raise PromptError(f"{name}: neither {FORMAT} JSON nor a Slicer markups file (.mrk.json).")
    if data.get("version") not in VERSIONS:
        raise PromptError(f"{name}: version {data.get('version')!r} is not known; update this package to read it.")
    try:
        return tuple(_object_from_json(entry) for entry in data["objects"])
    except (KeyError, TypeError) as error:
        raise PromptError(f"{name}: an object is incomplete or malformed ({error}).") from error


def read(path: str | os.PathLike[str]) -> tuple[ObjectPrompts, ...]:
    """Read a prompt file or a Slicer markups file; errors as `loads`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: the prompts cannot be read: {error}.") from error
    return loads(text, path.name)


def write(path: str | os.PathLike[str], objects: Iterable[ObjectPrompts]) -> None:
    """Write a prompt file.

    Raises:
        PromptError: it cannot be written.
    """
    try:
        Path(path).write_text(dumps(objects), encoding="utf-8")
    except OSError as error:
        raise PromptError(f"{path}: the prompts cannot be written. Check the folder and its permissions.") from error


def markups_json(clicks: Sequence[Click]) -> str:
    """Return clicks as a 3D Slicer markups file: one fiducial list, polarity in each point's description."""
    points = [
        {
            "id": str(n),
            "label": f"{'P' if c.positive else 'N'}-{n}",
            "description": "positive" if c.positive else "negative",
            "associatedNodeID": "",
            "position": _flip_lps(c.world),
            "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for n, c in enumerate(clicks, start=1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return json.dumps({"@schema": MARKUPS_SCHEMA, "markups": [markup]}, indent=2)


def _object_from_json(entry: dict[str, Any]) -> ObjectPrompts:
    clicks = tuple(Click(tuple(c["world"]), _polarity(c["positive"])) for c in entry["clicks"])
    corners = entry.get("box")
    box = None if corners is None else BoxPrompt(tuple(corners["begin"]), tuple(corners["end"]))
    return ObjectPrompts(str(entry["name"]), clicks, entry.get("initial_mask"), box)


def _polarity(value: object) -> bool:
    if not isinstance(value, bool):
        raise PromptError(f"A click's 'positive' must be true or false, not {value!r}.")
    return value


def _from_markups(data: dict[str, Any], name: str) -> tuple[ObjectPrompts, ...]:
    objects = []
    try:
        for number, markup in enumerate(data["markups"], start=1):
            if markup.get("type") != "Fiducial":
                continue
            ras = str(markup.get("coordinateSystem", "LPS")).upper() in ("RAS", "0")
            points = [p for p in markup["controlPoints"] if p.get("positionStatus", "defined") == "defined"]
            clicks = tuple(
                Click(tuple(p["position"]) if ras else _flip_lps(p["position"]), _is_positive(p)) for p in points
            )
            objects.append(ObjectPrompts(str(markup.get("name") or f"Object {number}"), clicks))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise PromptError(f"{name}: a control point is incomplete or malformed ({error}).") from error
    if not objects:
        raise PromptError(f"{name}: this markups file holds no point list (Fiducial).")
    return tuple(objects)


def _flip_lps(position: Sequence[float]) -> Point3:
    return -float(position[0]), -float(position[1]), float(position[2])


def _is_positive(point: dict[str, Any]) -> bool:
    """Slicer's points carry no polarity: the description says it, or a label that starts with N or ends with '-'."""
    description = str(point.get("description", "")).strip().lower()
    if description in ("positive", "negative"):
        return description == "positive"
    label = str(point.get("label", "")).strip().lower()
    return not (label.startswith(("n-", "neg")) or label.endswith("-"))
