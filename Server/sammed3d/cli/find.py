"""`sammed3d find`: all objects of a volume, without a click."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import sammed3d
from sammed3d.cli.terminal import (
    DebugOption,
    DeviceOption,
    FamilyOption,
    JsonOption,
    SeriesOption,
    VolumeArgument,
    explained,
    screen,
)
from sammed3d.files.segmentation import PALETTE, Segment, check_place, read_mask, write_segments
from sammed3d.files.volume import Volume
from sammed3d.inference.automatic import AutomaticMaskGenerator, AutomaticSettings, Instance

DEFAULTS = AutomaticSettings()


def find(
    volume: VolumeArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Segments: .seg.nrrd, .nii.gz, .nrrd or .mha.")],
    region: Annotated[Path | None, typer.Option(help="Mask of where to look, for example the lungs.")] = None,
    model: Annotated[str, typer.Option(help="An installed 3-D model, or a checkpoint file.")] = "default",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    distance: Annotated[float, typer.Option(help="Between the points of the grid, mm.")] = DEFAULTS.distance,
    smallest: Annotated[float, typer.Option(help="Smallest volume, ml.")] = DEFAULTS.smallest,
    largest: Annotated[float, typer.Option(help="Largest volume, ml.")] = math.inf,
    stability: Annotated[float, typer.Option(help="How stable a mask has to be, 0..1.")] = DEFAULTS.stability,
    offset: Annotated[float, typer.Option(help="By how much its threshold is moved, logits.")] = DEFAULTS.offset,
    most: Annotated[int, typer.Option(help="Keep that many, the most stable ones.")] = 100,
    series: SeriesOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find all objects of a volume or region, from a grid of points, and write one segment for each."""
    with explained(debug):
        check_place(output)
        settings = AutomaticSettings(distance, stability, offset, smallest, largest)
        image = Volume.read(volume, series)
        where = None if region is None else read_mask(region, image.grid)
        generator = AutomaticMaskGenerator(sammed3d.load_predictor(model, device, family=family), settings)
        with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
            task = progress.add_task("Looking", total=None)
            found = generator.generate(
                image, where, lambda done, total: progress.update(task, completed=done, total=total)
            )
        kept = found[:most]
        named = [
            Segment(f"Object {n}", each.mask, PALETTE[(n - 1) % len(PALETTE)]) for n, each in enumerate(kept, start=1)
        ]
        write_segments(output, named, image.grid)
        _print(kept, len(found), as_json)


def _print(kept: list[Instance], found: int, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": f"Object {n}", "click": each.click.world, "volume_ml": each.volume_ml, "stability": each.stability}
            for n, each in enumerate(kept, start=1)
        ]
        print(json.dumps({"found": found, "objects": rows}))
        return
    table = Table("Object", "R, A, S (mm)", "Volume (ml)", "Stability")
    for n, each in enumerate(kept, start=1):
        place = ", ".join(f"{v:.1f}" for v in each.click.world)
        table.add_row(str(n), place, f"{each.volume_ml:.2f}", f"{each.stability:.2f}")
    Console().print(table)
    if found > len(kept):
        print(f"{found} were found; the {len(kept)} most stable ones were kept (--most).")
