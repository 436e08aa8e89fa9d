"""`segment` on pictures: prompts in pixels, 2-D models, masks as PNG."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from sammed3d.cli.choice import Choice
from sammed3d.cli.terminal import print_table, screen, stage
from sammed3d.core.mask import BoxedMask
from sammed3d.files.outputs import check_output
from sammed3d.files.picture import (
    Picture,
    check_picture_place,
    read_picture_mask,
    write_picture_segments,
)
from sammed3d.files.segmentation import Segment
from sammed3d.inference.picture_candidates import Candidate
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.session_object import state_of

CANDIDATES = 3
ClickXyOption = Annotated[
    list[str] | None,
    typer.Option(metavar="X,Y[:-]", help="On a picture: a click on column X, row Y (from 0,0, upper left)."),
]
BoxXyOption = Annotated[
    str | None, typer.Option(metavar="X,Y,X,Y", help="On a picture: two opposite corners of a box round the object.")
]
CandidatesOption = Annotated[
    bool, typer.Option("--candidates", help="Of a picture also write the three masks that the model weighed.")
]


@dataclass(frozen=True)
class PicturePrompts:
    """What is said about an object of a picture, in pixels.

    Attributes:
        name: the object's name.
        clicks: column, row, and whether the object is there; in order.
        box: left, top, right, bottom, or None.
        initial: file with a mask to start from, or None.
        honour: whether the mask is kept inside the box.
    """

    name: str
    clicks: tuple[tuple[float, float, bool], ...]
    box: tuple[float, float, float, float] | None
    initial: Path | None
    honour: bool

    @classmethod
    def parse(
        cls, name: str, clicks: Iterable[str], box: str | None, initial: Path | None, honour: bool
    ) -> PicturePrompts:
        """Read prompts as they are written on the command line.

        Raises:
            typer.BadParameter: there is none, or one is malformed.
        """
        parsed = tuple(_click(text) for text in clicks)
        if box is None and not parsed:
            raise typer.BadParameter("This is a picture: give --click-xy X,Y or --box-xy X,Y,X,Y, in pixels.")
        if box is None and initial is None and not any(positive for *_, positive in parsed):
            raise typer.BadParameter("There is no positive click, so there is nothing to find. Click inside it.")
        return cls(name, parsed, None if box is None else _box(box), initial, honour)

    def apply(self, session: PictureSession) -> float:
        """Apply them in order; returns the seconds that it took."""
        session.session.add_object(self.name)
        updates = []
        if self.initial is not None:
            session.start_from(read_picture_mask(self.initial, session.picture))
        if not self.honour:
            session.session.set_honour(False)
        if self.box is not None:
            updates.append(session.set_box(*self.box))
        updates += [session.click(column, row, positive) for column, row, positive in self.clicks]
        return sum(sum(update.seconds.values()) for update in updates)


def segment_picture(
    path: Path, output: Path, given: PicturePrompts, choice: Choice, candidates: bool, force: bool, as_json: bool
) -> None:
    """Segment an object of a picture, and write and report what was found.

    Raises:
        SAMMed3DError: in one line why not.
    """
    check_picture_place(output)
    others = [_numbered(output, n) for n in range(1, CANDIDATES + 1)] if candidates else []
    for place in (output, *others):
        check_output(place, (path, given.initial), force)
    seconds: dict[str, float] = {}
    with stage("Reading the picture", "read", seconds):
        picture = Picture.read(path)
    with stage("Loading the model", "load", seconds):
        predictor = choice.load()
    session = PictureSession(picture, predictor)
    with stage("Segmenting", "segment", seconds):
        asked = given.apply(session)
        weighed = session.candidates() if candidates else ()
    with stage("Writing", "write", seconds):
        for place, candidate in zip(others, weighed, strict=True):
            _write(place, candidate, given.name, picture)
        session.save(output)
    _tell(_report(session, predictor, given.name, asked, weighed, seconds), as_json)


def _write(place: Path, candidate: Candidate, name: str, picture: Picture) -> None:
    mask = BoxedMask.of(candidate.mask.T[..., None])
    write_picture_segments(place, [Segment(name, mask)], picture.grid)


def _report(
    session: PictureSession,
    predictor: Any,
    name: str,
    asked: float,
    weighed: Iterable[Candidate],
    seconds: dict[str, float],
) -> dict[str, Any]:
    mask, state = session.mask(), state_of(session.session.current)
    return {
        "model": predictor.name,
        "device": str(getattr(predictor, "device", "server")),
        "picture": {"columns": session.picture.width, "rows": session.picture.height},
        "segments": [
            {
                "name": name,
                "clicks": len(state.clicks),
                "pixels": int(np.count_nonzero(mask)),
                "seconds": round(asked, 4),
                "candidates": [{"score": round(c.score, 4), "pixels": int(np.count_nonzero(c.mask))} for c in weighed],
            }
        ],
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }


def _tell(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    table = Table("Segment", "Clicks", "Pixels", "Seconds")
    for s in report["segments"]:
        table.add_row(s["name"], str(s["clicks"]), str(s["pixels"]), f"{s['seconds']:.1f}")
        for n, candidate in enumerate(s["candidates"], start=1):
            table.add_row(f"  candidate {n}, score {candidate['score']:.2f}", "", str(candidate["pixels"]), "")
    print_table(table)
    timing = ", ".join(f"{name} {value:.2f} s" for name, value in report["seconds"].items())
    screen.print(f"{report['model']} on {report['device']}: {timing}", style="dim")


def _numbered(output: Path, number: int) -> Path:
    name = output.name
    suffix = ".seg.nrrd" if name.lower().endswith(".seg.nrrd") else "".join(output.suffixes[-2:])
    suffix = suffix if suffix.lower() in (".seg.nrrd", ".nii.gz") else output.suffix
    return output.with_name(f"{name[: -len(suffix)]}.{number}{name[-len(suffix) :]}")


def _click(text: str) -> tuple[float, float, bool]:
    place, _, sign = text.partition(":")
    try:
        column, row = (float(part) for part in place.split(","))
        if sign not in ("", "+", "-") or not np.isfinite([column, row]).all():
            raise ValueError(sign)
        return column, row, sign != "-"
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a pixel. Write X,Y, for example 120,80 or 120,80:-") from error


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
        if not np.isfinite([left, top, right, bottom]).all():
            raise ValueError(text)
        return left, top, right, bottom
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a box. Write two corners in pixels, X,Y,X,Y.") from error
