"""Start a training run on one process or many."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from sammed3d.training.distillation import DistillationRun
from sammed3d.training.prepared import find_samples
from sammed3d.training.recipe import Recipe
from sammed3d.training.run import Run


def launch(recipe: Recipe, data: Path, folder: Path, accelerator: str, devices: int, nodes: int) -> bool:
    """Train; with several devices this starts the other processes of this machine.

    Args:
        recipe: how.
        data: prepared data.
        folder: of the run.
        accelerator: "auto", "cpu", "cuda" or "mps".
        devices: processes on this machine.
        nodes: machines.

    Returns:
        Whether this is the process that has to say so.

    Raises:
        ModelError, VolumeError: see `Run` and `find_samples`.
    """
    samples, validation = find_samples(data, "train"), find_samples(data, "validation")
    several = devices * nodes > 1
    # masks 1 to 3 and the scores of the decoder take no part in the loss
    strategy = DDPStrategy(find_unused_parameters=True) if several else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=_precision(recipe, accelerator),  # type: ignore[arg-type]
    )
    fabric.launch()
    if recipe.teacher is not None:
        DistillationRun(recipe, samples, folder / "distillation", fabric).train()
        recipe = DistillationRun.following(recipe, folder / "distillation")
    Run(recipe, samples, validation, folder, fabric).train()
    return bool(fabric.is_global_zero)


def _precision(recipe: Recipe, accelerator: str) -> str:
    if recipe.precision != "auto":
        return recipe.precision
    on_cuda = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    return "bf16-mixed" if on_cuda else "32-true"
