"""Prompts as they are given on the command line: clicks and boxes in numbers, drawings and boxes in files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sammed3d.core import prompt_files
from sammed3d.core.drawings import Drawing, Lasso, Scribble, points_of
from sammed3d.core.geometry import Grid, Point3
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import PromptError

ClickOption = Annotated[
    list[str] | None,
    typer.Option(metavar="R,A,S[:-]", help="A click, in mm; ':-' makes it negative. Repeat for more, in order."),
]
BoxOption = Annotated[
    str | None,
    typer.Option(metavar="R,A,S,R,A,S", help="Two opposite corners of a box round it, or a file with a ROI."),
]
ScribbleOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE[:-]", help="A stroke: Slicer curve (.mrk.json), or lines of R,A,S; ':-' as clicks."),
]
LassoOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE[:-]", help="A loop on a plane: Slicer closed curve (.mrk.json), or lines of R,A,S."),
]
HonourOption = Annotated[bool, typer.Option(help="Whether the mask is made to agree with box, scribbles and lassos.")]
PointsOption = Annotated[
    Path | None, typer.Option(help="All prompts from a prompt file or Slicer markups (.mrk.json) instead.")
]
NameOption = Annotated[str, typer.Option(help="Name of the segment, where no file of prompts names it.")]
NAME = "Object 1"
NUMBERED = re.compile(r"Object \d+")
"""Names that are none: markups that have no name are numbered."""
MARKUPS = {"scribble": "a curve", "lasso": "a closed curve"}


def given_prompts(
    name: str, clicks: Iterable[str], box: str | None, scribbles: Iterable[str], lassos: Iterable[str], honour: bool
) -> ObjectPrompts:
    """Return the prompts of one object: clicks and box as written, then scribbles and lassos of files.

    Raises:
        typer.BadParameter: a click or a box is none.
        PromptError: a file is none, or holds no such drawing.
    """
    parsed = tuple(parse_click(text) for text in clicks)
    drawn = [d for text in scribbles for d in read_drawings(text, Scribble)]
    drawn += [d for text in lassos for d in read_drawings(text, Lasso)]
    placed = tuple(replace(d, after=len(parsed)) for d in drawn)
    return ObjectPrompts(name, parsed, None, None if box is None else parse_box(box), placed, honour)


def read_prompts(path: Path, name: str, honour: bool) -> tuple[ObjectPrompts, ...]:
    """Read a prompt file or Slicer markups.

    Args:
        path: the file.
        name: of its object, where there is one and the file gives it no name, or a numbered one ("Object 2").
        honour: False: drawings are not honoured, whatever the file says.

    Raises:
        PromptError: it cannot be read; names the file.
    """
    objects = prompt_files.read(path)
    if len(objects) == 1 and name != NAME and NUMBERED.fullmatch(objects[0].name):
        objects = (replace(objects[0], name=name),)
    return objects if honour else tuple(replace(each, honour=False) for each in objects)


def read_one(path: Path, name: str, honour: bool) -> ObjectPrompts:
    """Read the prompts of one object, as `read_prompts` does.

    Raises:
        PromptError: unreadable, of several objects or none, or of one that started from a mask; names the file.
    """
    objects = read_prompts(path, name, honour)
    if len(objects) != 1:
        raise PromptError(f"{path}: this takes the prompts of one object, but the file holds {len(objects)}.")
    if objects[0].initial_mask is not None:
        raise PromptError(
            f"{path}: {objects[0].name!r} started from a mask, which is not in the file, and this takes none. Give "
            "prompts that make the object from nothing."
        )
    return objects[0]


def files_of(box: str | None, drawings: Iterable[str]) -> list[Path]:
    """Return the files that a box and drawings are read from, as they were written."""
    boxes = [Path(box)] if box is not None and _is_file(box) else []
    return boxes + [_drawing_file(text) for text in drawings]


def read_drawings(text: str, kind: type[Scribble] | type[Lasso]) -> tuple[Drawing, ...]:
    """Read `FILE` or `FILE:-` (negative): Slicer curves (`.mrk.json`), a prompt file, or lines of R,A,S in mm.

    Raises:
        PromptError: unreadable, or it holds no drawing of that kind; names the file.
    """
    path = _drawing_file(text)
    if path.suffix == ".json":
        found = tuple(d for o in prompt_files.read(path) for d in o.drawings if isinstance(d, kind))
        if not found:
            raise PromptError(f"{path.name}: this file holds no {kind.kind} ({MARKUPS[kind.kind]} in Slicer).")
    else:
        found = (kind(_lines(path)),)
    return tuple(replace(d, positive=False) for d in found) if text.endswith(":-") else found


def parse_click(text: str) -> Click:
    """Read `R,A,S` or `R,A,S:-`.

    Raises:
        typer.BadParameter: it is none.
    """
    place, _, sign = text.partition(":")
    try:
        r, a, s = (float(part) for part in place.split(","))
        if sign not in ("", "+", "-"):
            raise ValueError(sign)
        return Click((r, a, s), sign != "-")
    except (ValueError, PromptError) as error:
        raise typer.BadParameter(f"{text!r} is not a click. Write R,A,S in mm, for example 12,-30.5,88:-") from error


def parse_box(text: str) -> BoxPrompt:
    """Read `R,A,S,R,A,S`, or a file with a box or a ROI of Slicer.

    Raises:
        typer.BadParameter: it is neither.
        PromptError: the file holds no box.
    """
    if _is_file(text):
        boxes = [o.box for o in prompt_files.read(text) if o.box is not None]
        if len(boxes) != 1:
            raise PromptError(f"{Path(text).name}: this file holds {len(boxes)} boxes (ROIs in Slicer); give one.")
        return boxes[0]
    try:
        r, a, s, other_r, other_a, other_s = (float(part) for part in text.split(","))
        return BoxPrompt((r, a, s), (other_r, other_a, other_s))
    except (ValueError, PromptError) as error:
        raise typer.BadParameter(
            f"{text!r} is not a box. Write two corners in mm, R,A,S,R,A,S, or name a file with a ROI (.mrk.json)."
        ) from error


def from_voxels(given: ObjectPrompts, grid: Grid, box: str | None) -> ObjectPrompts:
    """Turn clicks and box that were given as voxel indices into mm.

    Args:
        given: the prompts, with indices in place of mm.
        grid: the volume's.
        box: the box as it was written; one of a file is in mm already, and stays.

    Returns:
        The prompts in mm. Where the grid is oblique, its box is the one round all eight corners of the given one.
    """

    def world(index: Point3) -> Point3:
        r, a, s = grid.to_world(index).tolist()
        return r, a, s

    placed = replace(given, clicks=tuple(Click(world(c.world), c.positive) for c in given.clicks))
    if given.box is None or box is None or _is_file(box):
        return placed
    corners = grid.to_world(given.box.corners)
    return replace(placed, box=BoxPrompt(tuple(corners.min(axis=0)), tuple(corners.max(axis=0))))


def _drawing_file(text: str) -> Path:
    return Path(text.removesuffix(":-"))


def _is_file(box: str) -> bool:
    return box.endswith(".json")


def check_given(prompts: ObjectPrompts) -> None:
    """Refuse prompts of a new object that say nowhere that it is there.

    Raises:
        PromptError: they do not.
    """
    if prompts.box is None and not any(p.positive for p in (*prompts.clicks, *prompts.drawings)):
        raise PromptError(f"{prompts.name!r} has no positive click, so there is nothing to find. Click inside it.")


def _lines(path: Path) -> tuple[Point3, ...]:
    try:
        rows = np.loadtxt(path, delimiter=",", ndmin=2)
    except OSError as error:
        reason = error.strerror or "there is no such file"
        raise PromptError(f"{path}: the drawing cannot be read: {reason[:1].lower()}{reason[1:]}.") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path.name}: neither a curve of Slicer (.mrk.json) nor lines of R,A,S in mm.") from error
    except ValueError as error:
        raise PromptError(
            f"{path.name}: neither a curve of Slicer (.mrk.json) nor lines of R,A,S in mm ({error})."
        ) from error
    return points_of(rows)
