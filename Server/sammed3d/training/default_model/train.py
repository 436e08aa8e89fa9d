"""Train the default model that ships with the package: `python -m sammed3d.training.default_model --help`.

A time budget, not a number of steps, decides how long: the learning rate falls to zero as the budget runs out. A run
can be stopped and started again at any time; with a new budget it goes on from its last weights.
"""

from __future__ import annotations

import csv
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from sammed3d import nets
from sammed3d.files.datasets import find_cases
from sammed3d.inference.preset import Preset
from sammed3d.simulation.training_clicks import first_clicks, next_clicks
from sammed3d.training.default_model.cases import CachedCase, cached
from sammed3d.training.default_model.crops import Crops, CropSettings, CropStream
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.load import load_model

PRESET = Preset(low_res_shape=(64, 64, 64))
ROUNDS = {1: 0.3, 2: 0.15, 3: 0.15, 4: 0.1, 5: 0.1, 6: 0.1, 8: 0.1}
"""After how many clicks a step learns, and how often."""
SAVE_EVERY = 120.0  # seconds


class Trainer:
    """Weights, their moving average, the optimizer and where the run stands; saved as one file.

    Args:
        work: folder of the run.
        device: torch device.
        peak_lr: learning rate after warm-up.
        sizes: of the network, where they differ from the default model's.
    """

    def __init__(
        self, work: Path, device: torch.device, peak_lr: float, sizes: Mapping[str, Any] | None = None
    ) -> None:
        self.work, self.device, self.peak_lr, self.sizes = work, device, peak_lr, dict(sizes or {})
        self.network = nets.build("promptable_unet", sizes).to(device)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=peak_lr
        )
        self.step = 0
        self.seconds = 0.0  # trained within the present budget
        self.total_seconds = 0.0
        self.generator = torch.Generator().manual_seed(0)

    def resume(self) -> bool:
        """Load the last saved state of the run, if there is one."""
        file = self.work / "last.pt"
        if not file.is_file():
            return False
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.total_seconds = state["step"], state["seconds"], state["total_seconds"]
        self.generator.manual_seed(self.step)
        return True

    def save(self) -> None:
        """Write the state so that a kill in the middle leaves the previous one."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            **{k: getattr(self, k) for k in ("step", "seconds", "total_seconds")},
        }
        partial = self.work / "last.pt.part"
        torch.save(state, partial)
        partial.replace(self.work / "last.pt")

    def learn(self, crops: Crops, progress: float) -> dict[str, float]:
        """Make one step of the optimizer; `progress` is the share of the budget used, 0..1."""
        warm = min(1.0, (self.step + 1) / 100)
        lr = self.peak_lr * warm * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))) + 1e-6
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss, dice, rounds = self._click_through(crops)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return {
            "loss": float(loss.detach()),
            "lr": lr,
            "dice_1": dice if rounds == 1 else math.nan,
            "dice_4+": dice if rounds > 3 else math.nan,
        }

    def _click_through(self, crops: Crops) -> tuple[Tensor, float, int]:
        """Return loss and mean Dice after a random number of clicks on all objects of some crops."""
        counts, shares = np.array(list(ROUNDS)), np.array(list(ROUNDS.values()))
        drawn = float(torch.rand(1, generator=self.generator))
        rounds = int(counts[np.searchsorted(shares.cumsum() / shares.sum(), drawn)])
        targets = functional.avg_pool3d(crops.masks.to(self.device), 2)
        coords = 2 * first_clicks((targets > 0.25).float(), self.generator)[:, None] + self._which_half(len(targets))
        labels = torch.ones(len(targets), 1, dtype=torch.long, device=self.device)
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        with torch.autocast(self.device.type, kind, enabled=self.device.type == "cuda"):
            embedding = self.network.encode(crops.images.to(self.device))[crops.owners.to(self.device)]
            logits = torch.zeros_like(targets)
            with torch.no_grad():
                frozen = embedding.detach()
                for _ in range(rounds - 1):
                    logits = self.network.decode(frozen, coords, labels, logits)[0].float()
                    voxels, signs = next_clicks(logits, targets, self.generator)
                    coords = torch.cat([coords, 2 * voxels[:, None] + self._which_half(len(targets))], dim=1)
                    labels = torch.cat([labels, signs[:, None]], dim=1)
            logits = self.network.decode(embedding, coords, labels, logits)[0].float()
        loss = mask_loss(logits, targets)
        with torch.no_grad():
            a, b = (logits > 0).flatten(1).float(), (targets > 0.5).flatten(1).float()
            dice = (2 * (a * b).sum(1) / (a.sum(1) + b.sum(1)).clamp(min=1)).mean()
        return loss, float(dice), rounds

    def _which_half(self, count: int) -> Tensor:
        return torch.randint(0, 2, (count, 1, 3), generator=self.generator).to(self.device)

    def _update_average(self) -> None:
        keep = min(0.998, self.step / (self.step + 20))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                self.average[key].lerp_(value, 1 - keep)

    def export(self, file: Path, **metadata: Any) -> None:
        """Write the averaged weights in half precision as a checkpoint that `load_predictor` understands."""
        weights = {k: v.to("cpu", torch.float16).contiguous() for k, v in self.average.items()}
        write_checkpoint(
            file,
            weights,
            network="promptable_unet",
            sizes=self.sizes,
            preset=json.dumps(PRESET.to_json()),
            name="default",
            **metadata,
        )


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return soft Dice plus cross entropy in units of the object's size, so that small objects count as large ones.

    Args:
        logits: (N, 1, n, n, n).
        targets: same shape: which share of the voxel belongs to the object, 0..1.
    """
    x, y = logits.flatten(1), targets.flatten(1)
    p = x.sigmoid()
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    entropy = functional.binary_cross_entropy_with_logits(x, y, reduction="none").sum(1)
    return (dice + (entropy / (2 * y.sum(1) + 100)).clamp(max=10)).mean()


def case_weights(cases: list[CachedCase]) -> list[float]:
    """Return how often to take each case: the root of its group's labels, shared among the group's cases.

    A group is what shares the first two words of the name (modality and region: "ct_abdomen_...").
    """
    groups = ["_".join(re.split(r"[_ -]", case.name)[:2]) for case in cases]
    labels = Counter[str]()
    for group, case in zip(groups, cases, strict=True):
        labels[group] += max(len(np.unique(case.label)) - 1, 4 if not case.label.any() else 1)
    sizes = Counter(groups)
    return [math.sqrt(labels[group]) / sizes[group] for group in groups]


def main(
    data: Annotated[list[Path], typer.Argument(help="Folders of cases (image.nii.gz, label.nii.gz).")],
    work: Annotated[Path, typer.Option(help="Folder of the run: cache, state, log, weights.")] = Path("runs/default"),
    hours: Annotated[float, typer.Option(help="Time budget.")] = 2.0,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    peak_lr: Annotated[float, typer.Option(help="Learning rate after warm-up.")] = 1e-3,
    workers: Annotated[int, typer.Option(help="Processes that make crops.")] = 1,
    seed: Annotated[int, typer.Option(help="Of crops and clicks.")] = 0,
    start: Annotated[Path | None, typer.Option(help="Weights to start from, where the run has no state yet.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Start a new budget from the last weights.")] = False,
) -> None:
    """Train the default model."""
    work.mkdir(parents=True, exist_ok=True)
    cases = [cached(case, work / "cache", PRESET.spacing) for folder in data for case in find_cases(folder)]
    trainer = Trainer(work, torch.device(device), peak_lr)
    if trainer.resume():
        if again:
            trainer.seconds = 0.0
    elif start is not None:
        trainer.network.load_state_dict(load_model(start).plain_network.state_dict())
    crops = CropStream(cases, case_weights(cases), CropSettings(), seed=seed * 1_000_003 + trainer.step)
    loader = DataLoader(crops, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None)
    typer.echo(f"{len(cases)} cases; {json.dumps(asdict(crops.settings))}; from step {trainer.step}")
    run(trainer, iter(loader), hours * 3600)
    trainer.export(work / "default.safetensors", trained=f"{trainer.step} steps, {trainer.total_seconds / 3600:.1f} h")


def run(trainer: Trainer, crops: Iterator[Crops], budget: float) -> None:
    """Train until the budget, in seconds, is used up; saves on the way and at the end."""
    log = (trainer.work / "log.csv").open("a", newline="")
    table = csv.writer(log)
    saved = began = time.monotonic()
    recent: list[dict[str, float]] = []
    while trainer.seconds < budget:
        recent.append(trainer.learn(next(crops), trainer.seconds / budget))
        now = time.monotonic()
        trainer.seconds += now - began
        trainer.total_seconds += now - began
        began = now
        if trainer.step % 50 == 0:
            means = {k: float(np.nanmean([r[k] for r in recent])) for k in recent[0]}
            table.writerow([trainer.step, round(trainer.total_seconds), *(f"{v:.5g}" for v in means.values())])
            log.flush()
            typer.echo(
                f"step {trainer.step}  {trainer.seconds / budget:.1%}  "
                + "  ".join(f"{k} {v:.4g}" for k, v in means.items())
            )
            recent = []
        if now - saved > SAVE_EVERY:
            trainer.save()
            saved = now
    trainer.save()
