"""`sammed3d models`: which models there are, and which are on this computer."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    FamilyOption,
    ForceOption,
    explained,
    print_table,
    screen,
    stage,
)
from sammed3d.errors import ModelError
from sammed3d.files.outputs import check_output
from sammed3d.zoo import registry
from sammed3d.zoo.folders import clear_exported
from sammed3d.zoo.store import RUN_WEIGHTS, ModelStore

models_app = typer.Typer(help="List, download, import, export, check and remove models.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name of a model; see 'sammed3d models list'.")]


@models_app.command("list")
def list_models() -> None:
    """Show the models on this computer and the published ones."""
    table = Table("name", "here", "what for", "licence")
    installed = ModelStore().models()
    for model in installed:
        table.add_row(model.name, f"{model.size / 2**20:.0f} MiB", model.purpose, model.licence or "see its source")
    for entry in registry.entries():
        if all(model.name != entry.name for model in installed):
            table.add_row(entry.name, "download" if entry.url else "import", entry.purpose, entry.licence)
    print_table(table)


@models_app.command()
def info(name: NameArgument, debug: DebugOption = False) -> None:
    """Show all that is known of a model."""
    with explained(debug):
        store = ModelStore()
        installed = next((m for m in store.models() if m.name == name), None)
        if installed:
            entry = next((each for each in registry.entries() if each.name == name), None)
            said = () if entry is None else ("page", "citation")
            if entry is not None and entry.licence == installed.licence:  # whoever imported it may know another one
                said = ("licence_source", *said)
            about = vars(installed) | {"size": installed.size} | {key: getattr(entry, key) for key in said}
        else:
            entry = registry.entry(name)
            about = vars(entry) | ({} if entry.url is None else {"url": entry.address()})
        for key, value in about.items():
            if value not in (None, ""):
                print(f"{key}: {value}{' bytes' if key == 'size' else ''}")


@models_app.command()
def download(
    name: NameArgument,
    renew: Annotated[
        bool, typer.Option("--renew", help="Record the checksum anew, where its authors replaced the file.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Download a published model, and load it once; goes on where an interrupted download ended."""
    with explained(debug):
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
            task = progress.add_task(name, total=None)
            model = ModelStore().fetch(
                name, lambda done, total: progress.update(task, completed=done, total=total), renew=renew
            )
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
    base: BaseOption = None,
    title: Annotated[str | None, typer.Option(help="For people; what the file says, or the name, if left out.")] = None,
    purpose: Annotated[str | None, typer.Option(help="What it is good for.")] = None,
    licence: Annotated[str | None, typer.Option(help="As its source states it.")] = None,
    debug: DebugOption = False,
) -> None:
    """Copy a checkpoint, or what a training run made, to the installed models, after loading it once."""
    with explained(debug):
        from sammed3d.zoo.load import load_model  # noqa: PLC0415 - needs torch

        file = checkpoint / RUN_WEIGHTS if checkpoint.is_dir() else checkpoint
        published = next((entry for entry in registry.entries() if entry.name == name), None)
        with tempfile.TemporaryDirectory() as folder:
            if file.is_file():
                model = load_model(Path(file).resolve(), family or (published.family if published else None), base)
                for note in model.notes:
                    screen.print(f"{file.name}: {note}", style="dim", highlight=False)
                if base is not None:  # the store holds whole models only
                    checkpoint, family = Path(folder) / f"{file.stem}.safetensors", None
                    model.write(checkpoint)
            stored = ModelStore().add(checkpoint, name, title, purpose=purpose, licence=licence, family=family)
        print(f"{stored.name}: {stored.path}")


class ExportFormat(StrEnum):
    """What a model can be exported as."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"


@models_app.command()
def export(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a checkpoint file.")],
    output: Annotated[Path, typer.Argument(help="File to write (.safetensors); a folder, for ONNX.")],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="One file for this program, or ONNX files for others.")
    ] = ExportFormat.SAFETENSORS,
    family: FamilyOption = None,
    base: BaseOption = None,
    quantise: Annotated[bool, typer.Option("--quantise", help="ONNX: 8-bit weights in matrix products.")] = False,
    preprocess: Annotated[
        bool, typer.Option("--preprocess", help="ONNX, 2-D models: the encoder takes images of any size, blue first.")
    ] = False,
    single_mask: Annotated[
        bool, typer.Option("--single-mask", help="ONNX, 2-D models: the decoder gives its best mask alone.")
    ] = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a model with everything that belongs to it: preprocessing, licence, origin; LoRA updates are merged."""
    with explained(debug):
        from sammed3d.zoo.load import load_model, locate  # noqa: PLC0415 - needs torch
        from sammed3d.zoo.onnx.export import DECODER, ENCODER, MODEL, OnnxOptions, export_onnx  # noqa: PLC0415

        options = OnnxOptions(quantise, preprocess, single_mask)
        inputs = [locate(model).path] + ([] if base is None else [locate(base).path])
        if form is ExportFormat.ONNX:
            for part in (ENCODER, f"{ENCODER}.data", DECODER, MODEL):
                check_output(output / part, inputs, force)
            with stage("Exporting", "export", {}):
                export_onnx(load_model(model, family, base), output, options)
        elif options != OnnxOptions():
            raise ModelError("--quantise, --preprocess and --single-mask belong to --format onnx.")
        else:
            check_output(output, inputs, force)
            load_model(model, family, base).write(output)
        print(f"Wrote {output}")


@models_app.command("merge")
def merge(
    model: Annotated[Path, typer.Argument(help="Checkpoint that the updates were trained on.")],
    updates: Annotated[Path, typer.Argument(help="File of low-rank updates (lora.safetensors).")],
    output: Annotated[Path, typer.Argument(help="Where the result goes (.safetensors).")],
    take_out: Annotated[bool, typer.Option("--take-out", help="Take the updates out of a merged model.")] = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Merge low-rank updates (LoRA) into their model, or take them out again."""
    with explained(debug):
        from sammed3d.zoo.merge import merge_files  # noqa: PLC0415 - needs torch

        check_output(output, (model, updates), force)
        merge_files(model, updates, output, take_out)
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


@models_app.command("clear-cache")
def clear_cache(debug: DebugOption = False) -> None:
    """Delete the files that were exported for --runtime onnx; they are made again when they are needed."""
    with explained(debug):
        print(f"{clear_exported() >> 20} MiB freed.")
