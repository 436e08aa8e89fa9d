"""`sammed3d find`: all objects of a volume or a picture, without a click."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from sammed3d.cli.choice import CaOption, Choice, KeyOption, NoProxyOption, ServerOption, check_server_options
from sammed3d.cli.find_in_picture import DEFAULTS as IN_PICTURES
from sammed3d.cli.find_in_picture import PointsOption, ScoreOption, check_found_place, find_in_picture
from sammed3d.cli.found import named, searching
from sammed3d.cli.signals import Stop
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    SeriesOption,
    VolumeArgument,
    explained,
    print_table,
    screen,
)
from sammed3d.core.cancellation import Cancellation
from sammed3d.files.outputs import check_output
from sammed3d.files.picture import is_picture
from sammed3d.files.segmentation import check_place, read_mask, write_segments
from sammed3d.files.volume import Volume, check_writable
from sammed3d.inference.automatic import AutomaticMaskGenerator, AutomaticSettings, EachPredictor, Instance
from sammed3d.inference.picture_search import PictureSearch

DEFAULTS = AutomaticSettings()


def find(
    volume: VolumeArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Segments: .seg.nrrd, .nii.gz, .nrrd or .mha.")],
    region: Annotated[Path | None, typer.Option(help="Mask of where to look, for example the lungs.")] = None,
    model: Annotated[
        str, typer.Option(help="An installed 3-D model, of a picture a 2-D one, or a checkpoint file.")
    ] = "default",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    distance: Annotated[
        float | None, typer.Option(help=f"Between the points of the grid, mm ({DEFAULTS.distance:g}).")
    ] = None,
    points: PointsOption = None,
    smallest: Annotated[
        float | None,
        typer.Option(
            help=f"Smallest volume, ml ({DEFAULTS.smallest:g}); of a picture pixels ({IN_PICTURES.smallest})."
        ),
    ] = None,
    largest: Annotated[
        float | None,
        typer.Option(help=f"Largest volume, ml (any); of a picture the share of it ({IN_PICTURES.largest:g})."),
    ] = None,
    stability: Annotated[
        float | None,
        typer.Option(
            help=f"How stable a mask has to be, 0..1 ({DEFAULTS.stability:g}, in pictures {IN_PICTURES.stability:g})."
        ),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(
            help=f"By how much its threshold moves, logits ({DEFAULTS.offset:g}, in pictures {IN_PICTURES.offset:g})."
        ),
    ] = None,
    score: ScoreOption = None,
    contrast: Annotated[
        float | None,
        typer.Option(
            help=f"How much it has to stand out from its surroundings, in deviations of both ({DEFAULTS.contrast:g})."
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Keep that many, the most stable ones.")] = 100,
    base: BaseOption = None,
    server: ServerOption = None,
    key: KeyOption = "",
    ca: CaOption = None,
    no_proxy: NoProxyOption = False,
    series: SeriesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find all objects of a volume, region or picture, without a click, and write one segment for each.

    Ctrl-C stops the search and writes what was found so far. A DICOM image is a picture where --points is given.
    """
    check_server_options(server, ca, no_proxy)
    chosen = Choice(model, device, "auto", family, base, "torch", server, key, ca, not no_proxy)
    cancellation, stop = Cancellation(), Stop()
    both = {"smallest": smallest, "largest": largest, "stability": stability, "offset": offset}
    in_picture = points is not None or score is not None or is_picture(volume)
    if in_picture and not (region is None and distance is None and contrast is None and series is None):
        raise typer.BadParameter("A picture takes no --region, --distance, --contrast and --series, but --points.")
    with explained(debug):
        if in_picture:
            check_found_place(volume, output, force)
            settings = PictureSearch(**_given(points=points, score=score, **both))
            find_in_picture(volume, output, chosen.load, settings, most, as_json, cancellation, stop)
        else:
            check_place(output)
            check_output(output, (volume, region), force)
            in_volumes = AutomaticSettings(**_given(distance=distance, contrast=contrast, **both))
            image = Volume.read(volume, series)
            check_writable(image.grid)
            where = None if region is None else read_mask(region, image.grid)
            generator = AutomaticMaskGenerator(cast(EachPredictor, chosen.load()), in_volumes)
            with searching(cancellation, stop) as progress:
                found = generator.generate(image, where, progress, cancellation, keep=True)
            write_segments(output, named((each.mask for each in found[:most]), output), image.grid)
            _print(found[:most], len(found), as_json)
        if cancellation.is_cancelled:
            screen.print(f"Stopped: {output} holds what was found so far.", style="yellow", highlight=False)
    if cancellation.is_cancelled:
        raise typer.Exit(stop.exit_code)


def _given(**options: float | None) -> dict[str, Any]:
    """Return the options that were given; the others stay as the settings have them."""
    return {name: value for name, value in options.items() if value is not None}


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
    print_table(table)
    if found > len(kept):
        print(f"{found} were found; the {len(kept)} most stable ones were kept (--most).")
