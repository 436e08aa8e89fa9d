"""`sammed3d propagate`: an object through the frames of a series in time."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from sammed3d.charts import line_chart
from sammed3d.cli.choice import (
    CaOption,
    Choice,
    KeyOption,
    NoProxyOption,
    PrecisionOption,
    RuntimeOption,
    ServerOption,
    check_server_options,
)
from sammed3d.cli.drawn import (
    NAME,
    BoxOption,
    ClickOption,
    HonourOption,
    LassoOption,
    NameOption,
    PointsOption,
    ScribbleOption,
    check_given,
    files_of,
    given_prompts,
    parse_click,
    read_one,
)
from sammed3d.cli.signals import Stop, interruptible
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    explained,
    print_table,
    screen,
)
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import PredictionCancelled, SAMMed3DError, VolumeError
from sammed3d.files.frames import Frames, check_frames_place, frame_files, write_frames
from sammed3d.files.outputs import check_apart, check_output, written_whole
from sammed3d.files.volume import check_writable
from sammed3d.inference import series

PROMPT_FILE = ".json"
"""How prompt files end, and markups of Slicer: corrections that end otherwise are clicks."""


def propagate(
    images: Annotated[list[Path], typer.Argument(help="One 4-D NIfTI file, or a file for each frame, in order.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A 4-D label map (.nii.gz), or a folder for a file a frame.")
    ],
    click: ClickOption = None,
    box: BoxOption = None,
    scribble: ScribbleOption = None,
    lasso: LassoOption = None,
    honour: HonourOption = True,
    points: PointsOption = None,
    at: Annotated[int, typer.Option(min=1, help="The frame that all of these are about, counted from 1.")] = 1,
    correct: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N=R,A,S[:-]|FILE",
            help="A further click in frame N, or prompts of a file; the frames after it go on from there.",
        ),
    ] = None,
    frames: Annotated[str, typer.Option(metavar="A-B", help="Which frames, counted from 1; all if not given.")] = "",
    table: Annotated[Path | None, typer.Option(help="Write volumes and checks of each frame: .csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the volume over the frames: .svg.")] = None,
    name: NameOption = NAME,
    model: Annotated[str, typer.Option(help="An installed model, a checkpoint file, or ONNX files.")] = "default",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    base: BaseOption = None,
    precision: PrecisionOption = "auto",
    runtime: RuntimeOption = "torch",
    server: ServerOption = None,
    key: KeyOption = "",
    ca: CaOption = None,
    no_proxy: NoProxyOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment an object in all frames of a series, from prompts in one of them.

    Every frame goes on from the mask of the one before, with the same clicks; what was drawn holds in its own frame,
    and is told as clicks in the others. How far it agrees with the one before, and by how much its volume differs, is
    told of each. Ctrl-C stops, and writes the frames that are done.
    """
    check_server_options(server, ca, no_proxy)
    model_choice = Choice(model, device, precision, family, base, runtime, server, key, ca, not no_proxy)
    if bool(click or box or scribble or lasso) == bool(points):
        raise typer.BadParameter("Give --click, --box, --scribble or --lasso, or a file of prompts with --points.")
    stop = Stop()
    with explained(debug):
        given = given_prompts(name, click or (), box, scribble or (), lasso or (), honour)
        given = given if points is None else read_one(points, name, honour)
        check_given(given)
        prompts = _corrected(given, at - 1, correct or (), honour)
        check_frames_place(output)
        for path in (table, plot):
            if path is not None and not path.parent.is_dir():
                raise VolumeError(f"{path}: the folder does not exist. Create it, or choose another place.")
        read = Frames(images)
        chosen = _chosen(frames, read.count)
        series.check_frames(prompts, at - 1, chosen)
        written = [*frame_files(output, chosen), *(path for path in (table, plot) if path is not None)]
        check_apart(written)
        read_files = (*images, points, *files_of(box, (*(scribble or ()), *(lasso or ()))), *_files_in(correct or ()))
        for file in written:
            check_output(file, read_files, force)
        check_writable(read.volume(at - 1).grid)
        done, trouble = _run(read, model_choice, prompts, at - 1, chosen, stop)
        if done:
            write_frames(output, {each.frame: each.mask for each in done}, read, given.name)
            _report(sorted(done, key=lambda each: each.frame), table, plot, as_json)
        if trouble is not None:
            screen.print(f"{len(done)} of {len(chosen)} frames are done" + (" and written." if done else "."))
        if trouble is not None and not isinstance(trouble, PredictionCancelled):
            raise trouble
    if trouble is not None:
        raise typer.Exit(stop.exit_code)


def _corrected(given: ObjectPrompts, first: int, corrections: Iterable[str], honour: bool) -> dict[int, ObjectPrompts]:
    """Return the prompts by frame: those given for the first, and `N=R,A,S` or `N=FILE` for others, in their order.

    Where `honour` is False, drawings are not honoured in any frame.

    Raises:
        typer.BadParameter: a correction is none.
        PromptError: a file is none.
    """
    prompts = {first: given}
    for text in corrections:
        number, _, what = text.partition("=")
        if not number.isdigit() or int(number) < 1:
            raise typer.BadParameter(f"--correct takes N=R,A,S or N=FILE, the frame counted from 1; not {text!r}.")
        before = prompts.get(int(number) - 1)
        if what.endswith(PROMPT_FILE):
            more = read_one(Path(what), given.name, honour)
        else:
            more = ObjectPrompts(given.name, (parse_click(what),), honour=(before or given).honour)
        prompts[int(number) - 1] = more if before is None else before.joined(more)
    return prompts


def _files_in(corrections: Iterable[str]) -> list[Path]:
    """Return the files of `N=FILE`."""
    return [Path(text.partition("=")[2]) for text in corrections if text.endswith(PROMPT_FILE)]


def _run(
    read: Frames, model: Choice, prompts: dict[int, ObjectPrompts], first: int, chosen: range, stop: Stop
) -> tuple[list[series.FrameMask], SAMMed3DError | None]:
    """Segment the frames; returns those that are done, and what ended it before the last one."""
    cancellation = Cancellation()
    predictor = model.load()
    done: list[series.FrameMask] = []
    with (
        interruptible(cancellation, stop),
        Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress,
    ):
        task = progress.add_task("Frames", total=len(chosen))
        try:
            for mask in series.propagate(read.volume, predictor, prompts, first, chosen, cancellation):
                done.append(mask)
                progress.update(task, completed=len(done))
        except SAMMed3DError as error:
            return done, error
    return done, None


def _chosen(text: str, count: int) -> range:
    """Read `A-B` or `A`, counted from 1.

    Raises:
        typer.BadParameter: it is none, or there are no such frames.
    """
    if not text:
        return range(count)
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    first, last = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
    if not 1 <= first <= last <= count:
        raise typer.BadParameter(f"--frames takes A-B between 1 and {count}, the number of frames; not {text!r}.")
    return range(first - 1, last)


def _row(mask: series.FrameMask) -> dict[str, Any]:
    return {
        "frame": mask.frame + 1,
        "volume_ml": round(mask.millilitres, 3),
        "moved_mm": round(mask.moved, 1),
        "overlap": None if mask.overlap is None else round(mask.overlap, 4),
        "volume_change": None if mask.jump is None else round(mask.jump, 4),
        "edge_changed": None if mask.changed is None else round(mask.changed, 2),
        "seconds": round(mask.seconds, 2),
        "look_at": mask.remark,
    }


def _report(masks: Sequence[series.FrameMask], table: Path | None, plot: Path | None, as_json: bool) -> None:
    """Write the table and the plot, and print what is in them."""
    rows = [_row(mask) for mask in masks]
    if table is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with written_whole(table) as beside:
            beside.write_text(text.getvalue(), encoding="utf-8")
    if plot is not None:
        largest = max(row["volume_ml"] for row in rows) or 1.0
        curve = [(row["frame"], row["volume_ml"] / largest) for row in rows]
        up = f"volume, as a share of {largest:.1f} ml"
        with written_whole(plot) as beside:
            beside.write_text(line_chart({"volume": curve}, "frame", up), encoding="utf-8")
    if as_json:
        print(json.dumps({"frames": rows}))
        return
    shown = Table("Frame", "Volume (ml)", "Moved (mm)", "Overlap", "Volume change", "Seconds", "Look at it")
    for mask in masks:
        millilitres, moved = f"{mask.millilitres:.2f}", f"{mask.moved:.0f}" if mask.moved else ""
        overlap, seconds = "" if mask.overlap is None else f"{mask.overlap:.2f}", f"{mask.seconds:.1f}"
        shown.add_row(str(mask.frame + 1), millilitres, moved, overlap, mask.change, seconds, mask.remark)
    print_table(shown)
