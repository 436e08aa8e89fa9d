"""The demonstration: three organs of the bundled CT, segmented by a simulated user."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sammed3d import samples
from sammed3d.charts import line_chart
from sammed3d.evaluation.metrics import dice
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.session import Session
from sammed3d.inference.session_object import SessionObject
from sammed3d.simulation.clicks import next_click

STRUCTURES = ("liver", "spleen", "kidney_left")
CLICKS = 5
ENOUGH = 0.5
"""Dice of a first click that is worth keeping."""
WINDOW = (-160.0, 240.0)
"""Hounsfield units shown from black to white."""
ZOOM = 4
FILES = ("demo.seg.nrrd", "demo.png", "demo.html")
"""What is written."""


@dataclass(frozen=True)
class Result:
    """How one structure went.

    Attributes:
        name: the structure's name.
        dice: against the bundled label, after each click.
        volume_ml: volume of the final mask, ml.
        seconds: time for all clicks together.
    """

    name: str
    dice: list[float]
    volume_ml: float
    seconds: float


def run(predictor: Predictor, folder: Path) -> Iterator[Result]:
    """Segment the structures one by one; at the end write `demo.seg.nrrd`, `demo.png` and `demo.html` into `folder`."""
    volume = Volume.read(samples.CT_ABDOMEN)
    labels = Volume.read(samples.CT_ABDOMEN_LABELS).array
    session = Session(volume, predictor)
    results = []
    for name in STRUCTURES:
        results.append(_segment(session, name, labels == samples.label_names()[name]))
        yield results[-1]
    folder.mkdir(parents=True, exist_ok=True)
    session.save(folder / "demo.seg.nrrd")
    picture = io.BytesIO()
    overlay(session).save(picture, "PNG")
    (folder / "demo.png").write_bytes(picture.getvalue())
    (folder / "demo.html").write_text(page(results, predictor.name, picture.getvalue()), encoding="utf-8")


def page(results: list[Result], model: str, picture: bytes) -> str:
    """Write a page with pictures, scores and how to go on; it needs no other file.

    Args:
        results: the results of all structures.
        model: its name.
        picture: PNG, see `overlay`.
    """
    rows = "".join(
        f"<tr><td>{r.name}</td><td>{'  '.join(f'{d:.2f}' for d in r.dice)}</td><td>{r.volume_ml:.0f}</td>"
        f"<td>{r.seconds:.1f}</td></tr>"
        for r in results
    )
    chart = line_chart({r.name: list(enumerate(r.dice, 1)) for r in results}, "clicks", "Dice")
    data = base64.b64encode(picture).decode()
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>SAMMed3DSegment: demonstration</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; }} td, th {{ padding: .25rem .75rem; text-align: right; }}
td:first-child {{ text-align: left; }}
pre {{ background: #f5f5f7; padding: 1rem; }}</style>
<h1>Three organs, {CLICKS} clicks each</h1>
<p>{escape(model)} on the sample CT. The user is simulated: the first click in the middle of the organ, each further
one in the middle of the largest error. {_first_clicks(results)}
<b>Research software: not for clinical decisions.</b></p>
<img alt="Slices with masks and clicks" src="data:image/png;base64,{data}">
<p>Green dots are positive clicks, red ones negative; small where they lie on another slice.</p>
<table><tr><th>structure</th><th>Dice after each click</th><th>ml</th><th>seconds</th></tr>{rows}</table>
{chart}
<h2>Go on</h2>
<pre>sammed3d info ct.nii.gz
sammed3d segment ct.nii.gz --click R,A,S --output mask.seg.nrrd
sammed3d models list                  # SAM-Med3D-turbo is more accurate, where it can be downloaded
sammed3d serve                        # for several people, or a GPU elsewhere</pre>
<p>In 3D Slicer: drag demo.seg.nrrd and the CT into it, or use the module SAMMed3DSegment and click.</p>
</html>
"""


def _first_clicks(results: list[Result]) -> str:
    """Say how far the first clicks went."""
    short = [r.name for r in results if r.dice and r.dice[0] < ENOUGH]
    if not short:
        return f"The first click reached a Dice of {ENOUGH:g} on each."
    return f"The first click did not reach a Dice of {ENOUGH:g} on {', '.join(short)}: large organs take several."


def _segment(session: Session, name: str, truth: npt.NDArray[np.bool_]) -> Result:
    session.add_object(name)
    scores, seconds = [], 0.0
    for _ in range(CLICKS):
        click = next_click(session.mask(), truth, session.volume.grid)
        if click is None:
            break
        seconds += sum(session.click(click.world, click.positive).seconds.values())
        scores.append(dice(session.mask(), truth))
    volume_ml = float(session.mask().sum()) * session.volume.grid.voxel_volume / 1000
    return Result(name, scores, volume_ml, seconds)


def overlay(session: Session) -> Image.Image:
    """Draw, for every object, the coronal slice through its first click: outline, positive and negative clicks."""
    return side_by_side([_slice(session, o) for o in session.objects])


def _slice(session: Session, shown: SessionObject) -> Image.Image:
    """One coronal slice (R to the left, S up), of a volume stored as R, A, S."""
    grid = session.volume.grid
    row = round(float(grid.to_index(shown.clicks[0].world)[1]))
    grey = np.clip((session.volume.array[:, row, :].astype(float) - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)
    pixels = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    pixels = pixels.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    for other in session.objects:
        inside = session.mask(other.name)[:, row, :].astype(bool).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
        edge = inside & ~(
            np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
        )
        color = np.array([255 * c for c in other.color])
        pixels[inside] = (0.75 * pixels[inside] + 0.25 * color).astype(np.uint8)
        pixels[edge] = color.astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1].transpose(1, 0, 2)))
    pen = ImageDraw.Draw(picture)
    for click in shown.clicks:
        i, j, k = grid.to_index(click.world).tolist()
        x, y = picture.width - ZOOM * (i + 0.5), picture.height - ZOOM * (k + 0.5)
        radius = 6 if round(j) == row else 3  # smaller: on another slice
        fill = "#30d158" if click.positive else "#ff453a"
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline="black", fill=fill)
    pen.text((8, 6), f"{shown.name}, coronal slice {row}", fill="white", stroke_width=1, stroke_fill="black")
    return picture


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Put pictures on one sheet, from left to right."""
    gap = 8
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet
