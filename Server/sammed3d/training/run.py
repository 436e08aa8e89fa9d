"""The training loop: one process or many, stopped and resumed at any time with the same result.

What happens in a step depends on the seed, the epoch and the position in it alone, so a run that was killed goes on as
if nothing had happened, and two processes with half the batch make the steps of one.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from sammed3d import nets
from sammed3d.charts import line_chart
from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.lora import add_lora, lora_weights, plain_weights
from sammed3d.training.prepared import Patches, Sample, normalised
from sammed3d.training.recipe import Recipe
from sammed3d.zoo.checkpoint import read_checkpoint, write_checkpoint
from sammed3d.zoo.download import file_digest
from sammed3d.zoo.families import recognise
from sammed3d.zoo.load import load_network
from sammed3d.zoo.store import RUN_CARD, RUN_WEIGHTS, ModelStore

STATE, LOG, BEST, UPDATES = "last.ckpt", "log.csv", RUN_WEIGHTS, "lora.safetensors"
COLUMNS = ("epoch", "steps", "loss", "dice", "lr", "validation_dice", "seconds")


class Run:
    """A run in a folder: network, optimizer, and where it stands.

    Args:
        recipe: how to train.
        samples: to train on.
        validation: to choose the best weights by; may be empty.
        folder: of the run. If it holds a state, the run goes on from there.
        fabric: processes and devices.

    Raises:
        ModelError: the folder holds a run with another recipe, or the model to start from cannot be used.
    """

    def __init__(
        self, recipe: Recipe, samples: Sequence[Sample], validation: Sequence[Sample], folder: Path, fabric: Fabric
    ) -> None:
        self.recipe, self.folder, self.fabric = recipe, folder, fabric
        torch.manual_seed(recipe.seed)
        self.start = _start(recipe)
        self.preset, network = self.start.preset, self.start.network
        if recipe.lora_rank:
            add_lora(network, recipe.lora_rank, recipe.lora_targets)
        optimizer = torch.optim.AdamW(_groups(network, recipe), lr=recipe.lr, betas=(recipe.betas[0], recipe.betas[1]))
        self.loop, self.optimizer = fabric.setup(self._wrapped(network), optimizer)
        self.network = network
        edge = self.preset.patch_shape[0]
        self._patches = Patches(samples, edge, recipe, augment=True)
        self._validation = Patches(validation, edge, recipe, augment=False)
        self.epoch = self.batch = self.steps = 0
        self.best = -math.inf
        self.seconds = 0.0
        self._resume()

    def train(self, stop_after: int | None = None) -> None:
        """Train to the end; or until so many steps of the optimizer were made in all."""
        while self.epoch < self.recipe.epochs:
            if not self._train_epoch(stop_after):
                return
            self.epoch, self.batch = self.epoch + 1, 0
            self.save()

    def save(self) -> None:
        """Write the state, so that a kill in the middle leaves the previous one."""
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "recipe": self.recipe.to_yaml(),
                **{name: getattr(self, name) for name in ("epoch", "batch", "steps", "best", "seconds")},
            }
            partial = self.folder / f"{STATE}.part"
            torch.save(state, partial)
            partial.replace(self.folder / STATE)
        self.fabric.barrier()

    def _resume(self) -> None:
        file = self.folder / STATE
        if not file.is_file():
            return
        state = torch.load(file, map_location=self.fabric.device, weights_only=True)
        if state["recipe"] != self.recipe.to_yaml():
            raise ModelError(f"{self.folder}: holds a run with another recipe. Choose another folder, or delete it.")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("epoch", "batch", "steps", "best", "seconds"):
            setattr(self, name, state[name])

    def _train_epoch(self, stop_after: int | None) -> bool:
        """Train the rest of an epoch; False if it was stopped."""
        recipe, began = self.recipe, time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * lr_factor(recipe, self.epoch)
        losses, scores = [], []
        batches = self._batches()
        for number, batch in batches:
            last_of_step = (number + 1) % recipe.accumulation == 0 or number + 1 == self._per_epoch()
            loss, dice = self._learn(batch, number, last_of_step)
            losses.append(loss)
            scores.append(dice)
            if last_of_step:
                self.steps += 1
                self.batch = number + 1
                if self.steps % recipe.save_every == 0:
                    self.save()
                if stop_after is not None and self.steps >= stop_after:
                    return False
        self.seconds += time.monotonic() - began
        self._finish_epoch(
            float(np.mean(losses)) if losses else math.nan, float(np.mean(scores)) if scores else math.nan
        )
        return True

    def _learn(self, batch: dict[str, Any], number: int, last_of_step: bool) -> tuple[float, float]:
        recipe = self.recipe
        images = normalised(batch["image"].to(self.fabric.device), recipe.normalisation)
        batch_seed = _seed(recipe.seed, self.epoch, number, 7)
        with self.fabric.no_backward_sync(self.loop, enabled=not last_of_step):
            loss, dice = self.loop(images, batch["mask"].to(self.fabric.device), batch["seed"].tolist(), batch_seed)
            self.fabric.backward(loss / self._group(number))
        if last_of_step:
            if recipe.clip_gradients:
                self.fabric.clip_gradients(self.loop, self.optimizer, max_norm=recipe.clip_gradients)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return float(loss.detach()), float(dice.mean())

    def _group(self, number: int) -> int:
        """Batches that make the step which this one belongs to; the last step of an epoch may have fewer."""
        size = self.recipe.accumulation
        return min(size, self._per_epoch() - number // size * size)

    def _wrapped(self, network: Any) -> nn.Module:
        """Return what is called in each step."""
        return ClickLoop(network, self.recipe)

    def _batches(self) -> Iterator[tuple[int, dict[str, Any]]]:
        recipe = self.recipe
        sampler = _BatchesOfRank(self)
        loader: DataLoader[Any] = DataLoader(self._patches, batch_sampler=sampler, num_workers=recipe.workers)
        yield from enumerate(loader, start=self.batch)

    def _per_epoch(self) -> int:
        """Batches of an epoch: what does not fill one on every process is left out, unless there is nothing else."""
        return max(1, len(self._patches) // (self.recipe.batch_size * self.fabric.world_size))

    def batch_indices(self, number: int) -> list[tuple[int, int]]:
        """Return what this process takes of a batch: (index, seed) of each sample."""
        rng = np.random.default_rng(_seed(self.recipe.seed, self.epoch, 0, 1))
        order = rng.permutation(len(self._patches))
        size, rank = self.recipe.batch_size, self.fabric.global_rank
        first = number * size * self.fabric.world_size + rank * size
        chosen = [int(order[n % len(order)]) for n in range(first, first + size)]
        return [(index, _seed(self.recipe.seed, self.epoch, index, 3)) for index in chosen]

    def _finish_epoch(self, loss: float, dice: float) -> None:
        validation = math.nan
        last = self.epoch + 1 == self.recipe.epochs
        if len(self._validation) and ((self.epoch + 1) % self.recipe.validate_every == 0 or last):
            validation = self._validate()
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            score = validation if len(self._validation) else -loss
            if score > self.best or not (self.folder / BEST).is_file():
                self.best = max(self.best, score) if not math.isnan(score) else self.best
                self._export(validation)
            self._log(loss, dice, validation)
        self.fabric.barrier()

    def _validate(self) -> float:
        """Return the mean Dice after some clicks on all validation samples, the same clicks at every epoch."""
        scores = []
        self.loop.eval()
        with torch.no_grad():
            for n in range(len(self._validation)):
                item = self._validation[n, _seed(self.recipe.seed, 0, n, 5)]
                image = normalised(item["image"][None].to(self.fabric.device), "sample")
                mask = item["mask"][None].to(self.fabric.device)
                scores.append(float(self.loop(image, mask, [item["seed"]], 0, self.recipe.validation_clicks)[1]))
        self.loop.train()
        return float(np.mean(scores))

    def _log(self, loss: float, dice: float, validation: float) -> None:
        file = self.folder / LOG
        is_new = not file.is_file()
        rows = [] if is_new else [row for row in csv.DictReader(file.open()) if int(row["epoch"]) < self.epoch]
        lr = self.optimizer.param_groups[0]["lr"]
        values = (self.epoch, self.steps, loss, dice, lr, validation, self.seconds)
        shown = ("" if isinstance(value, float) and math.isnan(value) else str(value) for value in values)
        rows.append(dict(zip(COLUMNS, shown, strict=True)))
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        curves = {
            name: [(int(row["epoch"]) + 1.0, float(row[column])) for row in rows if row[column]]
            for name, column in (("training", "dice"), ("validation", "validation_dice"))
        }
        (self.folder / "curves.svg").write_text(line_chart(curves, "epochs", "Dice"))

    def _export(self, validation: float) -> None:
        """Write the weights as a checkpoint that `load_predictor` understands; with LoRA, the updates as well."""
        trained = f"{self.epoch + 1} epochs, {self.steps} steps"
        if not math.isnan(validation):
            trained += f"; validation Dice {validation:.4f} after {self.recipe.validation_clicks} clicks"
        about = {
            "network": self.start.name,
            "sizes": self.start.sizes,
            "preset": self.preset.to_json(),
            "name": self.folder.name,
            "recipe": self.recipe.to_yaml(),
            "trained": trained,
        }
        write_checkpoint(self.folder / f"{BEST}.part", plain_weights(self.network), **about)
        (self.folder / f"{BEST}.part").replace(self.folder / BEST)
        if self.recipe.lora_rank:
            base = "" if self.start.file is None else file_digest(self.start.file)
            of_updates = {"base_sha256": base, "recipe": self.recipe.to_yaml(), "name": self.folder.name}
            write_checkpoint(self.folder / UPDATES, lora_weights(self.network), **of_updates)
        card = model_card(self.folder.resolve().name, self.start, self.recipe, self._patches.samples, trained)
        (self.folder / RUN_CARD).write_text(card, encoding="utf-8")
        (self.folder / "summary.json").write_text(json.dumps({"best": self.best, "epoch": self.epoch + 1}))


def model_card(name: str, start: Start, recipe: Recipe, samples: Sequence[Sample], trained: str) -> str:
    """Describe a model: what it is, what it was trained on, and what whoever passes it on has to add."""
    structures = "\n".join(f"- {n}" for n in sorted({sample.structure for sample in samples}))
    counts = Counter(sample.dataset for sample in samples)
    datasets = "\n".join(f"- {dataset}: {count} structures" for dataset, count in sorted(counts.items()))
    origin = "random weights" if start.file is None else start.file.name
    return f"""# {name}

Research software: not for clinical decisions.

- Network: {start.name}, trained from {origin}; {trained}.
- Licence: that of the data and of the model it started from allows; name it when you import the model (--licence).

## Training data

{datasets}

## Structures

{structures}

## Recipe

```yaml
{recipe.to_yaml()}```
"""


class _BatchesOfRank(Sampler[list[tuple[int, int]]]):
    """The batches of an epoch that are still to come, for one process."""

    def __init__(self, run: Run) -> None:
        self._batches = [run.batch_indices(n) for n in range(run.batch, run._per_epoch())]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def lr_factor(recipe: Recipe, epoch: int) -> float:
    """Return the share of the learning rate that holds in an epoch."""
    steps, gamma = recipe.schedule_steps, recipe.gamma
    if recipe.schedule == "multistep":
        return float(gamma ** sum(epoch >= step for step in steps))
    if recipe.schedule == "step":
        return float(gamma ** (epoch // steps[0]))
    if recipe.schedule == "cosine_restarts":
        period, begin = steps[0], 0
        while epoch >= begin + period:
            begin, period = begin + period, 2 * period
        return 0.5 * (1 + math.cos(math.pi * (epoch - begin) / period))
    if recipe.schedule == "linear":
        return 1 + (gamma - 1) * epoch / max(1, recipe.epochs - 1)
    return 1.0


@dataclass(frozen=True, eq=False)
class Start:
    """What a run begins with.

    Attributes:
        network: with random or loaded weights.
        preset: its preprocessing.
        name, sizes: what `nets.build` makes it from.
        file: where the weights came from; None for random ones.
    """

    network: Any
    preset: Preset
    name: str
    sizes: dict[str, Any]
    file: Path | None = None


def start_of(model: str) -> Start:
    """Load an installed model, or a checkpoint file.

    Raises:
        ModelError, CheckpointError: see `load_network`.
    """
    path = Path(model)
    stored = None if path.suffix else ModelStore().model(model)
    file = path if stored is None else stored.path
    network, preset, *_ = load_network(file, None if stored is None else stored.family)
    if isinstance(network, nets.Slicewise) or len(set(preset.patch_shape)) > 1:
        raise ModelError(f"{file.name}: training is for models with cubic patches. Choose one of them to start from.")
    checkpoint = read_checkpoint(file)
    family = (stored.family if stored else None) or checkpoint.metadata.get("network") or recognise(checkpoint)[0]
    return Start(network, preset, family, json.loads(checkpoint.metadata.get("sizes", "{}")), file)


def _start(recipe: Recipe) -> Start:
    if recipe.start is not None:
        return start_of(recipe.start)
    network = nets.build(recipe.network, recipe.sizes or None)
    return Start(network, preset_of(network, recipe.network), recipe.network, recipe.sizes)


def preset_of(network: Any, name: str) -> Preset:
    """Return the preset for a network that is trained from the beginning: the published preprocessing at its size."""
    if name == "promptable_unet":
        return Preset(low_res_shape=(64, 64, 64))
    edge = network.config.encoder.image_size
    return replace(Preset(), patch_shape=3 * (edge,), low_res_shape=3 * (edge // 4,))


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the encoder, and prompt encoder and decoder at shares of its rate."""
    shares = {
        "image_encoder": recipe.image_encoder_lr,
        "prompt_encoder": recipe.prompt_encoder_lr,
        "mask_decoder": recipe.mask_decoder_lr,
    }
    by_share: dict[float, list[Tensor]] = {}
    for key, parameter in network.named_parameters():
        share = shares.get(key.split(".")[0], 1.0)
        parameter.requires_grad_(parameter.requires_grad and share > 0)
        if parameter.requires_grad:
            by_share.setdefault(share, []).append(parameter)
    return [
        {"params": parameters, "lr": recipe.lr * share, "peak": recipe.lr * share, "weight_decay": recipe.weight_decay}
        for share, parameters in by_share.items()
    ]


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
