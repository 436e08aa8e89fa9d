"""Train the default model that ships with the package: `python -m sammed3d.training.default_model --help`.

A time budget, not a number of steps, decides how long: the learning rate falls to zero as the budget runs out. A run
can be stopped and started again at any time; with a new budget it goes on from its last weights. Several processes, one
core each, are quicker than one with several threads:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m -- sammed3d.training.default_model DATA
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import distributed
from torch.utils.data import DataLoader

from sammed3d.errors import ModelError
from sammed3d.files.datasets import cases_of
from sammed3d.training.default_model.cases import CachedCase, cached
from sammed3d.training.default_model.crops import AS_SHOWN, Crops, CropSettings, CropStream
from sammed3d.training.default_model.trainer import PRESET, STEPS_ALONE, Trainer
from sammed3d.zoo.load import load_model

SAVE_EVERY = 120.0  # seconds
SNAPSHOT_EVERY = 600.0  # seconds
LOG_EVERY = 50  # steps
MOST_OF_A_GROUP = 8.0
"""Bound of the weight of a group of cases, so that no source rules."""


def case_weights(cases: list[CachedCase]) -> list[float]:
    """Return how often to take each case: the root of its group's labels, shared among the group's cases.

    A group is what shares the first two words of the name (modality and region: "ct_abdomen_...").
    """
    groups = ["_".join(re.split(r"[_ -]", _own_name(case.name))[:2]) for case in cases]
    labels = Counter[str]()
    for group, case in zip(groups, cases, strict=True):
        labels[group] += max(len(np.unique(case.label)) - 1, 4 if not case.label.any() else 1)
    sizes = Counter(groups)
    return [min(math.sqrt(labels[group]), MOST_OF_A_GROUP) / sizes[group] for group in groups]


def _own_name(name: str) -> str:
    """Return a case's name without that of its dataset."""
    return name.rpartition("/")[2]


def main(
    data: Annotated[list[Path], typer.Argument(help="Folders of cases (image.nii.gz, label.nii.gz).")],
    work: Annotated[Path, typer.Option(help="Folder of the run: cache, state, log, weights.")] = Path("runs/default"),
    hours: Annotated[float, typer.Option(help="Time budget.")] = 2.0,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    peak_lr: Annotated[float, typer.Option(help="Learning rate after warm-up.")] = 1e-3,
    workers: Annotated[int, typer.Option(help="Processes that make crops, for each that learns.")] = 0,
    seed: Annotated[int, typer.Option(help="Of crops and clicks.")] = 0,
    start: Annotated[Path | None, typer.Option(help="Weights to start from, where the run has no state yet.")] = None,
    aside: Annotated[list[str] | None, typer.Option(help="Case kept aside for validation; repeat for more.")] = None,
    as_shown: Annotated[
        bool, typer.Option("--as-shown", help="Crops as the product shows patches: for the last steps.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Start a new budget from the last weights.")] = False,
) -> None:
    """Train the default model."""
    work.mkdir(parents=True, exist_ok=True)
    found = cases_of(data)
    unknown = sorted(set(aside or []) - {name for case in found for name in (case.name, _own_name(case.name))})
    if unknown:
        raise ModelError(f"There is no case {unknown[0]!r} to keep aside in {', '.join(map(str, data))}.")
    trainer = Trainer(work, torch.device(device), peak_lr)
    if trainer.resume():
        if again:
            trainer.seconds = 0.0
    elif start is not None:
        trainer.start_from(load_model(start).plain_network.state_dict())
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("gloo")
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    if rank:
        distributed.barrier()  # the first process fills the cache
    chosen = [case for case in found if not {case.name, _own_name(case.name)} & set(aside or [])]
    cases = [cached(case, work / "cache", PRESET.spacing) for case in chosen]
    if distributed.is_initialized() and not rank:
        distributed.barrier()
    own_seed = trainer.step + 1_000_003 * (seed + 101 * rank)
    trainer.generator.manual_seed(own_seed)
    crops = CropStream(cases, case_weights(cases), AS_SHOWN if as_shown else CropSettings(), own_seed)
    loader = DataLoader(crops, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None)
    if not rank:
        typer.echo(f"{len(cases)} cases; {json.dumps(asdict(crops.settings))}; from step {trainer.step}")
    run(trainer, iter(loader), hours * 3600, first=not rank)
    if not rank:
        trained = f"{trainer.step} steps, {trainer.total_seconds / 3600:.1f} h"
        trainer.export(work / "default.safetensors", trained=trained)


def run(trainer: Trainer, crops: Iterator[Crops], budget: float, first: bool = True) -> None:
    """Train until the budget, in seconds, is used up; the first process saves on the way and at the end."""
    saved = snapped = began = time.monotonic()
    recent: list[dict[str, float]] = []
    while trainer.seconds < budget:
        recent += [trainer.learn(next(crops), trainer.seconds / budget) for _ in range(STEPS_ALONE)]
        now = time.monotonic()
        trainer.seconds += now - began
        trainer.total_seconds += now - began
        began = now
        trainer.take_stock()
        if len(recent) >= LOG_EVERY:
            if first:
                _log(trainer, recent, trainer.seconds / budget)
            recent = []
        if first and now - saved > SAVE_EVERY:
            trainer.save()
            saved = now
        if first and now - snapped > SNAPSHOT_EVERY:
            trainer.export(trainer.work / f"step_{trainer.step}.safetensors")
            snapped = now
    if first:
        trainer.save()


def _log(trainer: Trainer, recent: list[dict[str, float]], progress: float) -> None:
    """Write means of the last steps into log.csv and onto the screen."""
    means = {}
    for key in recent[0]:
        values = [r[key] for r in recent if not math.isnan(r[key])]
        means[key] = float(np.mean(values)) if values else math.nan
    with (trainer.work / "log.csv").open("a", newline="") as file:
        csv.writer(file).writerow([trainer.step, round(trainer.total_seconds), *(f"{v:.5g}" for v in means.values())])
    typer.echo(f"step {trainer.step}  {progress:.1%}  " + "  ".join(f"{k} {v:.4g}" for k, v in means.items()))
