"""The command line, `sammed3d`: its commands, of which only the one that is called is imported."""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

import sammed3d
from sammed3d.core.imports import uncollected

if TYPE_CHECKING:
    app: typer.Typer

COMMANDS = {
    "segment": "segment:segment",
    "demo": "demo:demo",
    "info": "info:info",
    "models": "models:models_app",
    "data": "data:data_app",
    "find": "find:find",
    "propagate": "propagate:propagate",
    "collect": "collect:collect",
    "train": "train:train",
    "learn": "learn:learn",
    "evaluate": "evaluate:evaluate",
    "replay": "replay:replay",
    "benchmark": "benchmark:benchmark",
    "view": "view:view",
    "serve-view": "serve_view:serve_view",
    "serve": "serve:serve",
    "serve-key": "serve:serve_key",
}
"""By name: the module of `sammed3d.cli`, and what of it is the command or the application of several."""


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 an error that is explained in one line, 2 wrong usage."""
    atexit.register(gc.freeze)  # the last collection would look through all that is about to go
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # piped on Windows, it knows few letters of names
            stream.reconfigure(errors="backslashreplace")
    called = sys.argv[1:2]
    with uncollected(freeze=True):
        made = with_commands(called if called and called[0] in COMMANDS else COMMANDS)
    made()


def with_commands(names: Iterable[str]) -> typer.Typer:
    """Make the application with some of its commands; only their modules are imported."""
    made = typer.Typer(
        name="sammed3d",
        help="Click-to-segment for 3-D medical images. Coordinates are patient RAS in mm.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    made.callback(invoke_without_command=True)(_version)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(f"sammed3d.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name, help=_flowing(found.__doc__))(found)
    return made


def _flowing(text: str) -> str:
    """Return a docstring whose paragraphs are lines, which fill the width of any terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def __getattr__(name: str) -> Any:
    """Make `app`, the application with all commands, when it is asked for."""
    if name == "app":
        globals()["app"] = with_commands(COMMANDS)
        return globals()["app"]
    raise AttributeError(f"module 'sammed3d.cli.app' has no attribute {name!r}")


def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(sammed3d.__version__)
        raise typer.Exit
