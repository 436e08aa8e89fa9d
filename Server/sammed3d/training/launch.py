"""Start a training run on one process or many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from sammed3d.errors import VolumeError
from sammed3d.files.alone import alone_in
from sammed3d.predictors.device import has_bfloat16
from sammed3d.training.contract import model_to_train
from sammed3d.training.distillation import DistillationRun
from sammed3d.training.prepared import Preparation, Sample, find_samples
from sammed3d.training.recipe import Recipe
from sammed3d.training.run import Run
from sammed3d.training.state import check_writable


def launch(
    recipe: Recipe,
    data: Path,
    folder: Path,
    accelerator: str,
    devices: int,
    nodes: int,
    say: Callable[[str], None] = lambda _line: None,
) -> bool:
    """Train; with several devices this starts the other processes of this machine.

    Args:
        recipe: the recipe.
        data: prepared data.
        folder: folder of the run.
        accelerator: "auto", "cpu", "cuda" or "mps".
        devices: processes on this machine.
        nodes: machines.
        say: called with what users should know before it starts, and with every epoch, in one of the processes.

    Returns:
        Whether this is the process that has to say so.

    Raises:
        ModelError, VolumeError: another run writes into the folder; or a reason of `Run` or `find_samples`.
    """
    several = devices * nodes > 1
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=several_processes() if several else "auto",
        precision=precision_of(recipe, accelerator),  # type: ignore[arg-type]
    )
    check_writable(folder)
    large_enough(find_samples(data, "train"), recipe.smallest_voxels)  # a reason to refuse is told once, here
    is_first = fabric.node_rank == fabric.local_rank == 0
    with alone_in(folder) if is_first else nullcontext():
        fabric.launch()
        try:
            return train_in(fabric, recipe, data, folder, say)
        except KeyboardInterrupt:
            if fabric.local_rank:  # the first process of the machine says so, and would be killed if another one failed
                return False
            raise


def train_in(fabric: Fabric, recipe: Recipe, data: Path, folder: Path, say: Callable[[str], None]) -> bool:
    """Train in one of the processes that were started; arguments, return value and errors are those of `launch`."""
    samples, lines = large_enough(find_samples(data, "train"), recipe.smallest_voxels)
    validation = find_samples(data, "validation")
    about = Preparation.read(data)
    datasets = {sample.dataset for sample in (*samples, *validation)}
    model = model_to_train(recipe, about, datasets)
    if fabric.is_global_zero:
        for line in lines:
            say(line)
    if recipe.teacher is not None:
        said = partial(_of_distilling, say)
        DistillationRun(recipe, model, samples, folder / "distillation", fabric, said).train()
        recipe = DistillationRun.following(recipe, folder / "distillation")
        model = model_to_train(recipe, about, datasets)
    Run(recipe, model, samples, validation, folder, fabric, say).train()
    return bool(fabric.is_global_zero)


def _of_distilling(say: Callable[[str], None], line: str) -> None:
    say(f"distilling, {line}")


def several_processes() -> DDPStrategy:
    """Return how processes learn together."""
    # masks 1 to 3 and the scores of the decoder take no part in the loss
    return DDPStrategy(find_unused_parameters=True)


def large_enough(samples: Sequence[Sample], smallest: int) -> tuple[list[Sample], list[str]]:
    """Return the samples that can be trained on, and what to say about the others.

    Args:
        samples: samples of a prepared folder.
        smallest: voxels that a mask has to exceed.

    Raises:
        VolumeError: none is left.
    """
    kept = [sample for sample in samples if sample.voxels > smallest]
    small = Counter(sample.structure for sample in samples if sample.voxels <= smallest)
    if not small:
        return kept, []
    named = ", ".join(f"{name} ({count})" for name, count in sorted(small.items()))
    line = f"{small.total()} of {len(samples)} structures have at most {smallest} voxels (smallest_voxels): {named}."
    if not kept:
        raise VolumeError(
            f"Nothing is left to train on. {line} Train on larger ones, or choose a smaller smallest_voxels in the "
            "recipe."
        )
    return kept, [f"Left out of training: {line}"]


def precision_of(recipe: Recipe, accelerator: str) -> str:
    """Return Fabric's name of a recipe's precision on a device; "auto" is bfloat16 or float16 on CUDA."""
    if recipe.precision != "auto":
        return recipe.precision
    if accelerator not in ("auto", "cuda", "gpu") or not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if has_bfloat16(torch.device("cuda")) else "16-mixed"
