"""`sammed3d train`, `data prepare` and `models merge`: models of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sammed3d.cli.data import data_app
from sammed3d.cli.models import models_app
from sammed3d.cli.terminal import DebugOption, explained, screen
from sammed3d.errors import ModelError
from sammed3d.files import datasets

MISSING = 'Training needs more packages: pip install "sammed3d[train]"'


@data_app.command("prepare")
def prepare(
    dataset: Annotated[Path, typer.Argument(help="A dataset; see `sammed3d data check`.")],
    folder: Annotated[Path, typer.Argument(help="Where the prepared data go; may hold other datasets.")],
    name: Annotated[str, typer.Option(help="Name of the dataset; begins with ct_ or mr_.")] = "",
    spacing: Annotated[float, typer.Option(help="In mm.")] = 1.5,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the cases that validates.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 2023,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    debug: DebugOption = False,
) -> None:
    """Resample a dataset and take its structures apart, as SAM-Med3D's published recipe needs it."""
    with explained(debug):
        try:
            from sammed3d.training import prepared  # noqa: PLC0415 - the extra [train]
        except ImportError as error:
            raise ModelError(MISSING) from error
        cases = [case for case in datasets.find_cases(dataset) if case.label is not None]
        problems: list[str] = []
        done = 0

        def report(case: str, problem: str | None) -> None:
            nonlocal done
            done += 1
            screen.print(f"{done}/{len(cases)} {case}" + (f": {problem}" if problem else ""), highlight=False)
            problems.extend([problem] if problem else [])

        prepared.prepare(
            cases,
            folder,
            name or dataset.resolve().name,
            spacing=spacing,
            validation=validation,
            seed=seed,
            workers=workers,
            on_case=report,
        )
        count = {side: len(prepared.find_samples(folder, side)) for side in ("train", "validation")}
        print(f"{folder}: {count['train']} structures to train on, {count['validation']} that validate.")
    if problems:
        raise typer.Exit(1)


def train(
    data: Annotated[Path, typer.Argument(help="Prepared data; see `sammed3d data prepare`.")],
    run: Annotated[Path, typer.Option(help="Folder of the run; goes on from there if it holds one.")] = Path("run"),
    recipe: Annotated[Path | None, typer.Option(help="What differs from the published recipe (YAML).")] = None,
    start: Annotated[str | None, typer.Option(help="Model name or checkpoint to start from.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How often to go through the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches at once, on each process.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    lora: Annotated[int | None, typer.Option(help="Train only low-rank updates of this rank (BoSAM: 4).")] = None,
    distill: Annotated[str | None, typer.Option(help="Learn the image embeddings of this model first.")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine, each with a device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command on each, see docs/training.md.")] = 1,
    debug: DebugOption = False,
) -> None:
    """Train or fine-tune a model on prepared data; can be stopped and started again at any time."""
    with explained(debug):
        try:
            from sammed3d.training.launch import launch  # noqa: PLC0415 - the extra [train]
            from sammed3d.training.recipe import Recipe  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        chosen = Recipe.read(
            recipe, start=start, epochs=epochs, batch_size=batch_size, lr=lr, lora_rank=lora, teacher=distill
        )
        if launch(chosen, data, run, accelerator, devices, nodes):
            print(f"{run}: done. Use it: sammed3d models import {run}; its log is {run / 'log.csv'}.")


@models_app.command("merge")
def merge(
    model: Annotated[Path, typer.Argument(help="Checkpoint that the updates were trained on.")],
    updates: Annotated[Path, typer.Argument(help="File of low-rank updates (lora.safetensors).")],
    output: Annotated[Path, typer.Argument(help="Where the result goes (.safetensors).")],
    take_out: Annotated[bool, typer.Option("--take-out", help="Take the updates out of a merged model.")] = False,
    debug: DebugOption = False,
) -> None:
    """Merge low-rank updates (LoRA) into their model, or take them out again."""
    with explained(debug):
        from sammed3d.zoo.adapters.lora import merge_files  # noqa: PLC0415 - needs torch

        merge_files(model, updates, output, take_out)
        print(f"Wrote {output}")
