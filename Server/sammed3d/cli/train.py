"""`sammed3d train`: models of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sammed3d.cli.terminal import BaseOption, DebugOption, FamilyOption, explained, screen, stopped_run_goes_on
from sammed3d.errors import ModelError
from sammed3d.files.alone import alone_in

MISSING = 'Training needs more packages: pip install "sammed3d[train]"'


def train(
    data: Annotated[
        Path,
        typer.Argument(help="Prepared data; see `sammed3d data prepare`. Or a list of 2-D images, see `data lists`."),
    ],
    run: Annotated[Path, typer.Option(help="Folder of the run; goes on from there if it holds one.")] = Path("run"),
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML with what differs from SAM-Med3D's published recipe, or a recipe's name: bosam_lora."),
    ] = None,
    start: Annotated[str | None, typer.Option(help="Model name or checkpoint to start from.")] = None,
    family: FamilyOption = None,
    base: BaseOption = None,
    epochs: Annotated[int | None, typer.Option(help="How often to go through the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches at once, on each process.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    lora: Annotated[int | None, typer.Option(help="Train only low-rank updates of this rank (BoSAM: 4).")] = None,
    distill: Annotated[str | None, typer.Option(help="Learn the image embeddings of this model first.")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine, each with a device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command on each, see docs/training.md.")] = 1,
    ray: Annotated[str, typer.Option(help="Address of a Ray cluster whose hosts train, started from here.")] = "",
    debug: DebugOption = False,
) -> None:
    """Train or fine-tune a model on prepared data; can be stopped and started again at any time."""
    with explained(debug), stopped_run_goes_on(run):
        try:
            from sammed3d.files.image_lists import TRAIN, list_in  # noqa: PLC0415
            from sammed3d.training.launch import launch  # noqa: PLC0415 - the extra [train]
            from sammed3d.training.recipe import Recipe  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        images = list_in(data, TRAIN)
        if images is not None:
            only_3d = {"--base": base, "--lora": lora, "--distill": distill, "--ray": ray}
            only_3d |= {"--devices": devices > 1, "--nodes": nodes > 1}
            if said := [option for option, given in only_3d.items() if given]:
                raise ModelError(f"{said[0]} is for volumes; {images} lists 2-D images.")
            changes = {"start": start, "family": family, "epochs": epochs, "batch_size": batch_size, "lr": lr}
            _train_on_images(images, run, recipe, accelerator, changes)
            return
        chosen = Recipe.read(
            recipe,
            start=start,
            family=family,
            base=base,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            lora_rank=lora,
            teacher=distill,
        )
        if ray:
            from sammed3d.training.on_ray import train_on_ray  # noqa: PLC0415 - the extra [ray]

            train_on_ray(chosen, data, run, accelerator, devices, nodes, ray)
        if ray or launch(chosen, data, run, accelerator, devices, nodes, _say):
            print(f"{run}: done. Use it: sammed3d models import {run}; its log is {run / 'log.csv'}.")


def _say(line: str) -> None:
    screen.print(line, highlight=False, soft_wrap=True)


def _train_on_images(images: Path, run: Path, recipe: Path | None, accelerator: str, changes: dict[str, Any]) -> None:
    from sammed3d.files.image_lists import read_list  # noqa: PLC0415
    from sammed3d.training.sam_med2d.recipe import Recipe2d  # noqa: PLC0415 - the extra [train]
    from sammed3d.training.sam_med2d.run import ImageRun  # noqa: PLC0415 - the extra [train]

    chosen = Recipe2d.read(recipe, **changes)
    with alone_in(run):
        ImageRun(chosen, read_list(images), run, accelerator).train(say=_say)
    print(f"{run}: done. Use it: sammed3d models import {run}; its log is {run / 'log.csv'}.")
