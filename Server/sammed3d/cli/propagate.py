"""`sammed3d propagate`: an object through the frames of a series in time."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import sammed3d
from sammed3d.charts import line_chart
from sammed3d.cli.drawn import parse_click
from sammed3d.cli.signals import interruptible
from sammed3d.cli.terminal import DebugOption, DeviceOption, ForceOption, JsonOption, explained, screen
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.errors import PredictionCancelled, SAMMed3DError, VolumeError
from sammed3d.files.frames import Frames, check_frames_place, frame_files, write_frames
from sammed3d.files.outputs import check_output, written_whole
from sammed3d.files.volume import check_writable
from sammed3d.inference import series

STOPPED = 130
"""Exit code where it was stopped, as shells have it."""


def propagate(
    images: Annotated[list[Path], typer.Argument(help="One 4-D NIfTI file, or a file for each frame, in order.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A 4-D label map (.nii.gz), or a folder for a file a frame.")
    ],
    click: Annotated[list[str], typer.Option(metavar="R,A,S[:-]", help="A click in the frame --at, in order.")],
    at: Annotated[int, typer.Option(min=1, help="The frame that --click is about, counted from 1.")] = 1,
    correct: Annotated[
        list[str] | None,
        typer.Option(metavar="N=R,A,S[:-]", help="A further click in frame N; the frames after it go on from there."),
    ] = None,
    frames: Annotated[str, typer.Option(metavar="A-B", help="Which frames, counted from 1; all if not given.")] = "",
    table: Annotated[Path | None, typer.Option(help="Write volumes and checks of each frame: .csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the volume over the frames: .svg.")] = None,
    name: Annotated[str, typer.Option(help="Name of the segment.")] = "Object 1",
    model: Annotated[str, typer.Option(help="An installed model, or a checkpoint file.")] = "default",
    device: DeviceOption = "auto",
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment an object in all frames of a series, from clicks in one of them.

    Every frame goes on from the mask of the one before, with the same clicks. How far it agrees with that, and by how
    much its volume differs, is told of each. Ctrl-C stops, and writes the frames that are done.
    """
    clicks: dict[int, list[Click]] = {at - 1: [parse_click(text) for text in click]}
    for text in correct or ():
        number, _, place = text.partition("=")
        if not number.isdigit() or int(number) < 1:
            raise typer.BadParameter(f"--correct takes N=R,A,S, the frame counted from 1; not {text!r}.")
        clicks.setdefault(int(number) - 1, []).append(parse_click(place))
    with explained(debug):
        check_frames_place(output)
        for path in (table, plot):
            if path is not None and not path.parent.is_dir():
                raise VolumeError(f"{path}: the folder does not exist. Create it, or choose another place.")
        read = Frames(images)
        chosen = _chosen(frames, read.count)
        for file in (*frame_files(output, chosen), *(path for path in (table, plot) if path is not None)):
            check_output(file, images, force)
        check_writable(read.volume(at - 1 if at <= read.count else 0).grid)
        predictor = sammed3d.load_predictor(model, device)
        done, trouble = _run(read, predictor, clicks, at - 1, chosen)
        if done:
            write_frames(output, {each.frame: each.mask for each in done}, read, name)
            rows = [_row(each) for each in sorted(done, key=lambda each: each.frame)]
            _report(rows, table, plot, as_json)
        if trouble is not None:
            screen.print(f"{len(done)} of {len(chosen)} frames are done" + (" and written." if done else "."))
        if trouble is not None and not isinstance(trouble, PredictionCancelled):
            raise trouble
    if trouble is not None:
        raise typer.Exit(STOPPED)


def _run(
    read: Frames, predictor: Any, clicks: dict[int, list[Click]], first: int, chosen: range
) -> tuple[list[series.FrameMask], SAMMed3DError | None]:
    """Segment the frames; returns those that are done, and what ended it before the last one."""
    cancellation = Cancellation()
    prompts = {number: ObjectPrompts("", tuple(each)) for number, each in clicks.items()}
    done: list[series.FrameMask] = []
    with (
        interruptible(cancellation),
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
        "overlap": None if mask.overlap is None else round(mask.overlap, 4),
        "volume_change": None if mask.jump is None else round(mask.jump, 4),
        "seconds": round(mask.seconds, 2),
        "look_at": mask.remark,
    }


def _report(rows: list[dict[str, Any]], table: Path | None, plot: Path | None, as_json: bool) -> None:
    """Write the table and the plot, and print what is in them."""
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
    shown = Table("Frame", "Volume (ml)", "Overlap", "Volume change", "Seconds", "Look at it")
    for row in rows:
        overlap = "" if row["overlap"] is None else f"{row['overlap']:.2f}"
        change = "" if row["volume_change"] is None else f"{row['volume_change']:+.0%}"
        shown.add_row(
            str(row["frame"]), f"{row['volume_ml']:.2f}", overlap, change, f"{row['seconds']:.1f}", row["look_at"]
        )
    Console().print(shown)
