"""What the commands share: options, the screen, spinners, and errors in one line."""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sammed3d.cli.signals import Stop, exit_code_of, interrupted_by_signals
from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import SAMMed3DError

screen = Console(stderr=True, markup=False, emoji=False)
_FILES = "NIfTI, NRRD or MHA file, or a folder of DICOM slices"
VolumeArgument = Annotated[Path, typer.Argument(help=f"{_FILES}.")]
OptionalVolumeArgument = Annotated[Path | None, typer.Argument(help=f"{_FILES}.")]
OptionalImageArgument = Annotated[
    Path | None, typer.Argument(metavar="[IMAGE]", help=f"{_FILES}; or a picture: PNG, JPEG, TIFF, BMP, DICOM.")
]
SourceArgument = Annotated[
    str, typer.Argument(metavar="VOLUME", help=f"{_FILES}, or dicomweb://SERVER/studies/UID/series/UID.")
]
SeriesOption = Annotated[int | None, typer.Option(help="Which series of a DICOM folder with several (0, 1, ...).")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
FamilyOption = Annotated[str | None, typer.Option(help="The checkpoint's family, where the file does not tell.")]
BaseOption = Annotated[
    str | None, typer.Option(help="Model that completes a file of LoRA matrices, or of an encoder, alone.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace existing files; never what is read.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes of this machine; each loads the model.")]
RayOption = Annotated[
    str,
    typer.Option(help="Address of a Ray cluster to work on instead; its hosts need all files under the same paths."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the full trace of an error.")]


def print_table(table: Table) -> None:
    """Print a table, whose words are shown as they are: names that users give may hold square brackets."""
    Console(markup=False, emoji=False).print(table)


class SignsColumn(ProgressColumn):
    """What is under way: how much of an upload is sent, how many slices a 2-D model has seen, which patch is followed.

    Args:
        cancellation: the switch of what runs; None if it has none.
        following: the switch of what follows objects; None if nothing does.
    """

    def __init__(self, cancellation: Cancellation | None, following: Cancellation | None = None) -> None:
        super().__init__()
        self._cancellation = cancellation
        self._following = following

    def render(self, _task: Task) -> Text:
        """Return the words."""
        switch = self._cancellation
        if switch is not None and switch.stage == "send" and switch.share is not None:
            return Text(f"sent {switch.share:.0%}")
        patch, patches = (0, 0) if self._following is None else self._following.patches
        if patches:
            return Text(f"patch {patch} of at most {patches}, Ctrl-C keeps what is done")
        done, most = (0, 0) if self._cancellation is None else self._cancellation.slices
        return Text(f"slice {done} of at most {most}" if most else "")


@contextlib.contextmanager
def stage(
    text: str,
    name: str,
    seconds: dict[str, float],
    cancellation: Cancellation | None = None,
    following: Cancellation | None = None,
) -> Iterator[None]:
    """Show a spinner on a terminal while something runs, and note its time."""
    begin = time.perf_counter()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        SignsColumn(cancellation, following),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        progress.add_task(text, total=None)
        yield
    seconds[name] = time.perf_counter() - begin


@contextlib.contextmanager
def stopped_run_goes_on(folder: Path) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends a run, say how it goes on; the exit code is that of what was stopped."""
    try:
        with interrupted_by_signals():
            yield
    except KeyboardInterrupt as stopped:
        screen.print(f"Stopped. The same command goes on from {folder}.", highlight=False, soft_wrap=True)
        raise typer.Exit(exit_code_of(stopped)) from None


def nothing_measured(stop: Stop) -> typer.Exit:
    """Say that a command was stopped before it had measured anything; returns the end to raise."""
    screen.print("Stopped before anything was measured; nothing was written.", highlight=False, soft_wrap=True)
    return typer.Exit(stop.exit_code)


@contextlib.contextmanager
def explained(debug: bool, minds_signals: bool = False) -> Iterator[None]:
    """Turn errors into one line and exit code 1, and warnings into lines.

    SIGTERM, by which a scheduler ends a job, interrupts as Ctrl-C does, so that nothing is left half-written.

    Args:
        debug: whether errors show their trace.
        minds_signals: whether the command itself ends in order where it is told to, as servers do.
    """

    def show(message: Warning | str, *_: object) -> None:
        screen.print(f"Warning: {message}", style="yellow", highlight=False, soft_wrap=True)

    try:
        with warnings.catch_warnings(), interrupted_by_signals(signals=() if minds_signals else (signal.SIGTERM,)):
            warnings.showwarning = show  # type: ignore[assignment]
            yield
    except (typer.BadParameter, typer.Exit, BrokenPipeError):
        raise  # wrong usage, which typer explains; what has been said already; nobody who would read it (`| head`)
    except KeyboardInterrupt as stopped:
        screen.print("Stopped.")
        raise typer.Exit(exit_code_of(stopped)) from None
    except Exception as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, SAMMed3DError):
            screen.print(f"Error: {error}", style="red", highlight=False, soft_wrap=True)
        else:
            text = f"Error: {type(error).__name__}: {error} (unexpected; --debug shows where)".replace("\n", " ")
            screen.print(text, style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
