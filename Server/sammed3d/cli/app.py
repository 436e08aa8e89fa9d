"""The command line, `sammed3d`: its commands, and those that stand here alone (`segment`, `info`, `demo`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import sammed3d
from sammed3d import samples
from sammed3d.cli.benchmark import benchmark
from sammed3d.cli.choice import (
    CaOption,
    Choice,
    KeyOption,
    NoProxyOption,
    PrecisionOption,
    RuntimeOption,
    ServerOption,
)
from sammed3d.cli.collect import collect
from sammed3d.cli.data import data_app
from sammed3d.cli.doubt import SuggestOption, UncertaintyOption, tell_doubt
from sammed3d.cli.drawn import (
    BoxOption,
    ClickOption,
    HonourOption,
    LassoOption,
    PointsOption,
    ScribbleOption,
    check_given,
    from_voxels,
    given_prompts,
)
from sammed3d.cli.evaluate import evaluate
from sammed3d.cli.find import find
from sammed3d.cli.follow import FollowOption, PatchesOption, follow_object
from sammed3d.cli.learn import learn
from sammed3d.cli.machine import show_machine
from sammed3d.cli.models import models_app
from sammed3d.cli.picture import BoxXyOption, CandidatesOption, ClickXyOption, PicturePrompts, segment_picture
from sammed3d.cli.propagate import propagate
from sammed3d.cli.replay import replay
from sammed3d.cli.report import print_report, report_of
from sammed3d.cli.serve import serve, serve_key
from sammed3d.cli.serve_view import serve_view
from sammed3d.cli.sources import as_path, check_store, read_source
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    OptionalVolumeArgument,
    SeriesOption,
    SourceArgument,
    explained,
    stage,
)
from sammed3d.cli.train import train
from sammed3d.cli.view import view
from sammed3d.core import prompt_files
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import canonical_axes
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import PromptError
from sammed3d.files.outputs import check_output
from sammed3d.files.picture import is_picture
from sammed3d.files.segmentation import check_field_place, check_place, read_mask
from sammed3d.files.volume import Volume, check_writable
from sammed3d.inference.follow_limits import Followed
from sammed3d.inference.session import Session

app = typer.Typer(
    name="sammed3d",
    help="Click-to-segment for 3-D medical images. Coordinates are patient RAS in mm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.command("find")(find)
app.command("propagate")(propagate)
app.command("collect")(collect)
app.command("train")(train)
app.command("learn")(learn)
app.command("evaluate")(evaluate)
app.command("replay")(replay)
app.command("benchmark")(benchmark)
app.command("view")(view)
app.command("serve-view")(serve_view)
app.command("serve")(serve)
app.command("serve-key")(serve_key)

ModelOption = Annotated[str, typer.Option(help="An installed model, a checkpoint file, or a folder of ONNX files.")]


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 an error that is explained in one line, 2 wrong usage."""
    app()


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(sammed3d.__version__)
        raise typer.Exit


@app.command()
def segment(
    volume: SourceArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Mask: .seg.nrrd, .nii.gz, .nrrd or .mha; of a picture also .png.")
    ],
    click: ClickOption = None,
    box: BoxOption = None,
    scribble: ScribbleOption = None,
    lasso: LassoOption = None,
    honour: HonourOption = True,
    click_xy: ClickXyOption = None,
    box_xy: BoxXyOption = None,
    candidates: CandidatesOption = False,
    points: PointsOption = None,
    ijk: Annotated[bool, typer.Option("--ijk", help="--click and --box are voxel indices I,J,K.")] = False,
    initial: Annotated[Path | None, typer.Option(help="Mask to start from; the clicks refine it.")] = None,
    name: Annotated[str, typer.Option(help="Name of the segment, where no file of prompts names it.")] = "Object 1",
    follow: FollowOption = False,
    patches: PatchesOption = 8,
    uncertainty: UncertaintyOption = None,
    suggest: SuggestOption = False,
    model: ModelOption = "default",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    base: BaseOption = None,
    precision: PrecisionOption = "auto",
    runtime: RuntimeOption = "torch",
    server: ServerOption = None,
    key: KeyOption = "",
    ca: CaOption = None,
    no_proxy: NoProxyOption = False,
    store: Annotated[
        bool, typer.Option("--store", help="Also store the result as a DICOM SEG where the series came from.")
    ] = False,
    series: SeriesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment the structures that were clicked on and write the mask on the volume's own grid."""
    chosen = Choice(model, device, precision, family, base, runtime, server, key, ca, not no_proxy)
    if click_xy or box_xy or is_picture(volume):
        if click or box or scribble or lasso or points or ijk or store or suggest or uncertainty or series is not None:
            raise typer.BadParameter("A picture takes --click-xy, --box-xy and --initial; the rest is for volumes.")
        with explained(debug):
            in_pixels = PicturePrompts.parse(name, click_xy or (), box_xy, initial, honour)
            segment_picture(Path(volume), output, in_pixels, chosen, candidates, force, as_json)
        return
    if candidates:
        raise typer.BadParameter("--candidates is for pictures: the masks that a 2-D model weighs.")
    if bool(click or box or scribble or lasso) == bool(points):
        raise typer.BadParameter("Give --click, --box, --scribble or --lasso, or a file of prompts with --points.")
    with explained(debug):
        given = given_prompts(name, click or (), box, scribble or (), lasso or (), honour)
        check_place(output)
        check_store(volume, store)
        check_output(output, (as_path(volume), points, initial), force)
        if uncertainty is not None:
            check_field_place(uncertainty)
            check_output(uncertainty, (as_path(volume), points, initial, output), force)
        seconds: dict[str, float] = {}
        with stage("Reading the volume", "read", seconds):
            image, fetched = read_source(volume, series, ca, not no_proxy)
            check_writable(image.grid)
        with stage("Loading the model", "load", seconds):
            predictor = chosen.load()
        session = Session(image, predictor)
        cancellation, following = Cancellation(), Cancellation()
        spent: dict[str, float] = {}
        followed: dict[str, Followed] = {}
        with stage("Segmenting", "segment", seconds, cancellation, following):
            for prompt in _apply(session, given, points, initial, ijk, seconds, spent, cancellation):
                if follow and (found := follow_object(session, prompt, patches, following)) is not None:
                    followed[prompt.name] = found
            next_click = tell_doubt(session, uncertainty, suggest, cancellation)
        with stage("Writing", "write", seconds):
            session.save(output)
            if store and fetched is not None:
                fetched.store(session)
        report = report_of(session, predictor, seconds, spent, followed) | {"next_click": next_click}
        print_report(report, as_json)


@app.command()
def demo(
    model: ModelOption = "default",
    device: DeviceOption = "auto",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo-output"),
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment three organs of the bundled CT with a few simulated clicks each, and score them."""
    from sammed3d import demo as demonstration  # noqa: PLC0415 - needs Pillow, which nothing else does

    with explained(debug):
        for name in demonstration.FILES:
            check_output(output / name, (), force)
        predictor = sammed3d.load_predictor(model, device)
        table = Table("Structure", "Dice after each click", "Volume (ml)", "Seconds")
        for result in demonstration.run(predictor, output):
            scores = "  ".join(f"{score:.2f}" for score in result.dice)
            table.add_row(result.name, scores, f"{result.volume_ml:.0f}", f"{result.seconds:.1f}")
        Console().print(table)
        print(f"Wrote {output / 'demo.seg.nrrd'} (open it in 3D Slicer with the CT), demo.png and demo.html beside it.")
        print(f"The CT: {samples.CT_ABDOMEN}")
        print("Your own image: sammed3d info IMAGE; sammed3d segment IMAGE --click R,A,S --output mask.seg.nrrd")


@app.command()
def info(
    volume: OptionalVolumeArgument = None,
    series: SeriesOption = None,
    machine: Annotated[
        bool, typer.Option("--machine", help="This machine instead: what networks find, and how long clicks take.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a volume's geometry and intensities, or what this machine brings for networks."""
    with explained(debug):
        if machine == (volume is not None):
            raise typer.BadParameter("Name a volume, or give --machine.")
        if volume is None:
            show_machine(device, as_json)
            return
        report = _describe(Volume.read(volume, series))
        if as_json:
            print(json.dumps(report))
            return
        table = Table(show_header=False, box=None)
        for key, value in report.items():
            table.add_row(key.replace("_", " "), _words(value))
        Console().print(table)


def _apply(
    session: Session,
    given: ObjectPrompts,
    points: Path | None,
    initial: Path | None,
    ijk: bool,
    seconds: dict[str, float],
    spent: dict[str, float],
    cancellation: Cancellation,
) -> Iterator[ObjectPrompts]:
    """Apply all prompts, object by object; adds up the seconds by stage, and those that each object took."""
    if ijk:
        given = from_voxels(given, session.volume.grid)
    objects = list(prompt_files.read(points)) if points else [given]
    if initial is not None and len(objects) != 1:
        raise PromptError(f"{points}: --initial refines one object, but this file holds {len(objects)}.")
    for prompt in objects:
        if initial is None:
            check_given(prompt)
        if prompt.initial_mask is not None and initial is None:
            raise PromptError(f"{points}: {prompt.name!r} started from a mask; give that mask with --initial.")
        session.add_object(prompt.name)
        if initial is not None:
            session.start_from(read_mask(initial, session.volume.grid))
        update = session.set_prompts(prompt, cancellation)
        spent[prompt.name] = sum(update.seconds.values())
        for step, value in update.seconds.items():
            seconds[step] = seconds.get(step, 0.0) + value
        yield prompt


def _describe(volume: Volume) -> dict[str, Any]:
    grid = volume.grid
    axes = canonical_axes(grid.index_to_world)
    letters = {axes.source[a]: ("LPI" if axes.flipped[a] else "RAS")[a] for a in range(3)}
    corners = grid.corners()
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(s, 4) for s in grid.spacing],
        "extent_mm": [round(n * s, 1) for n, s in zip(grid.shape, grid.spacing, strict=True)],
        "axes": "".join(letters[a] for a in range(3)),
        "world_from": corners.min(axis=0).round(2).tolist(),
        "world_to": corners.max(axis=0).round(2).tolist(),
        "voxel_type": str(volume.array.dtype),
        "intensities": [float(volume.array.min()), float(volume.array.max())],
        "memory_mib": round(volume.array.nbytes / 2**20, 1),
    }


def _words(value: object) -> str:
    return " x ".join(str(v) for v in value) if isinstance(value, list) else str(value)
