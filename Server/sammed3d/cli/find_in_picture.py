"""`find` on pictures: sizes in pixels, and the scores that 2-D models give their own masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from sammed3d.cli.found import named, searching
from sammed3d.cli.signals import Stop
from sammed3d.cli.terminal import print_table
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.mask import BoxedMask
from sammed3d.errors import VolumeError
from sammed3d.files.outputs import check_output
from sammed3d.files.picture import PNG, Picture, check_picture_place, write_picture_segments
from sammed3d.inference.picture_search import FoundObject, PictureSearch
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.predictor import Predictor

DEFAULTS = PictureSearch()
PointsOption = Annotated[
    int | None, typer.Option(help=f"In a picture: points of the grid along its longer edge ({DEFAULTS.points}).")
]
ScoreOption = Annotated[
    float | None, typer.Option(help=f"In a picture: least IoU by the model's own estimate ({DEFAULTS.score:g}).")
]


def find_in_picture(
    path: Path,
    output: Path,
    load: Callable[[], Predictor],
    settings: PictureSearch,
    most: int,
    as_json: bool,
    cancellation: Cancellation,
    stop: Stop,
) -> None:
    """Find the objects of a picture, and write and report the best of them.

    Raises:
        SAMMed3DError: in one line why not.
    """
    picture = Picture.read(path)
    session = PictureSession(picture, load())
    with searching(cancellation, stop) as progress:
        found = session.find(settings, cancellation, progress, keep=True)
    kept = found[:most]
    segments = named((BoxedMask.of(each.mask.T[..., None]) for each in kept), output)
    write_picture_segments(output, segments, picture.grid)
    _tell(kept, len(found), as_json)


def check_found_place(path: Path, output: Path, force: bool) -> None:
    """Refuse a file that the objects of a picture cannot be written to, before any work is done for it.

    Raises:
        VolumeError: why not.
    """
    if output.suffix.lower() == PNG:
        raise VolumeError(f"{output.name}: a PNG holds one mask. Write all objects to .seg.nrrd or .nii.gz.")
    check_picture_place(output)
    check_output(output, (path,), force)


def _tell(kept: list[FoundObject], found: int, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": f"Object {n}",
            "pixel": [round(place) for place in each.point],
            "pixels": int(np.count_nonzero(each.mask)),
            "score": each.score,
            "stability": each.stability,
        }
        for n, each in enumerate(kept, start=1)
    ]
    if as_json:
        print(json.dumps({"found": found, "objects": rows}))
        return
    table = Table("Object", "Pixel", "Pixels", "Score", "Stability")
    for n, row in enumerate(rows, start=1):
        place = ",".join(str(value) for value in row["pixel"])
        table.add_row(str(n), place, str(row["pixels"]), f"{row['score']:.2f}", f"{row['stability']:.2f}")
    print_table(table)
    if found > len(kept):
        print(f"{found} were found; the {len(kept)} best ones were kept (--most).")
