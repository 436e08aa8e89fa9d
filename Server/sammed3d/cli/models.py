"""`sammed3d models`: which models there are, and which are on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from sammed3d.cli.terminal import BaseOption, DebugOption, FamilyOption, explained, screen
from sammed3d.zoo import registry
from sammed3d.zoo.store import RUN_WEIGHTS, ModelStore

models_app = typer.Typer(help="List, download, import, export, check and remove models.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name of a model; see 'sammed3d models list'.")]


@models_app.command("list")
def list_models() -> None:
    """Show the models on this computer and the published ones."""
    table = Table("name", "here", "what for", "licence")
    installed = ModelStore().models()
    for model in installed:
        table.add_row(model.name, f"{model.size >> 20} MiB", model.purpose, model.licence or "see its source")
    for entry in registry.entries():
        if all(model.name != entry.name for model in installed):
            table.add_row(entry.name, "download" if entry.url else "import", entry.purpose, entry.licence)
    Console().print(table)


@models_app.command()
def info(name: NameArgument, debug: DebugOption = False) -> None:
    """Show all that is known of a model."""
    with explained(debug):
        store = ModelStore()
        installed = next((m for m in store.models() if m.name == name), None)
        about = vars(installed) | {"size": installed.size} if installed else vars(registry.entry(name))
        for key, value in about.items():
            if value not in (None, ""):
                print(f"{key}: {value}")


@models_app.command()
def download(name: NameArgument, debug: DebugOption = False) -> None:
    """Download a published model; goes on where an interrupted download ended."""
    with explained(debug):
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
            task = progress.add_task(name, total=None)
            model = ModelStore().fetch(name, lambda done, total: progress.update(task, completed=done, total=total))
        print(f"{model.name}: {model.path}")
        print(f"SHA-256 {model.sha256}")
        if registry.entry(name).sha256 is None:
            print("Nobody published one for this file: this one is recorded, and later downloads have to match it.")


@models_app.command("import")
def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .pth, .pt or .safetensors file, or the folder of a training run.")
    ],
    name: Annotated[
        str | None, typer.Option(help="By which it will be loaded: that of a published model, or one of your own.")
    ] = None,
    family: FamilyOption = None,
    title: Annotated[str | None, typer.Option(help="For people; the name if left out.")] = None,
    purpose: Annotated[str | None, typer.Option(help="What it is good for.")] = None,
    licence: Annotated[str | None, typer.Option(help="As its source states it.")] = None,
    debug: DebugOption = False,
) -> None:
    """Copy a checkpoint, or what a training run made, to the installed models, after loading it once."""
    with explained(debug):
        from sammed3d.zoo.load import load_network  # noqa: PLC0415 - needs torch

        file = checkpoint / RUN_WEIGHTS if checkpoint.is_dir() else checkpoint
        published = next((entry for entry in registry.entries() if entry.name == name), None)
        if file.is_file():
            load_network(file, family or (published.family if published else None))
        model = ModelStore().add(checkpoint, name, title, purpose=purpose, licence=licence, family=family)
        print(f"{model.name}: {model.path}")


@models_app.command()
def export(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a checkpoint file.")],
    output: Annotated[Path, typer.Argument(help="File to write (.safetensors).")],
    family: FamilyOption = None,
    base: BaseOption = None,
    debug: DebugOption = False,
) -> None:
    """Write a model as one safetensors file that holds its preprocessing too; LoRA updates are merged."""
    with explained(debug):
        from sammed3d.zoo.load import convert  # noqa: PLC0415 - needs torch

        convert(model, output, family, base)
        print(f"Wrote {output}")


@models_app.command()
def verify(name: NameArgument, debug: DebugOption = False) -> None:
    """Check that a model's file is still what was installed."""
    with explained(debug):
        ModelStore().verify(name)
        print(f"{name}: unchanged")


@models_app.command()
def remove(name: NameArgument, debug: DebugOption = False) -> None:
    """Delete a model from this computer."""
    with explained(debug):
        ModelStore().remove(name)
        print(f"{name}: removed")
