"""The training loop: one process or many, stopped and resumed at any time with the same result.

What happens in a step depends on the seed, the epoch and the position in it alone, so a run that was killed goes on as
if nothing had happened, and two processes with half the batch make the steps of one.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import Sampler

from sammed3d.errors import ModelError
from sammed3d.files.outputs import make_folder, write_text
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.held_back import held_back
from sammed3d.training.loading import loaded
from sammed3d.training.lora import add_lora, lora_weights, plain_weights
from sammed3d.training.patches import Patches, pooled
from sammed3d.training.prepared import Sample
from sammed3d.training.recipe import Recipe
from sammed3d.training.result import model_card, trained_model
from sammed3d.training.schedule import Unfreezing, groups, how_often, lr_factor
from sammed3d.training.state import Say, log_rows, read_state, write_curves, write_state
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.download import file_digest
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.store import RUN_CARD, RUN_WEIGHTS

WHERE = ("epoch", "batch", "steps", "best", "seconds", "sums", "validated", "without_gain")
"""What a state says of where the run stands."""
BEST, UPDATES = RUN_WEIGHTS, "lora.safetensors"
COLUMNS = ("epoch", "steps", "loss", "dice", "lr", "validation_dice", "seconds")


class Run:
    """A run in a folder: network, optimizer, and where it stands.

    Args:
        recipe: the recipe.
        model: the model to begin with; its preset makes the patches and is exported.
        samples: samples to train on.
        validation: samples to choose the best weights by; may be empty.
        folder: folder of the run. If it holds a state, the run goes on from there.
        fabric: processes and devices.
        say: told of every epoch, in the first process.

    Raises:
        ModelError: the folder holds a run with another recipe, preprocessing or samples, or nothing of the network
            would learn.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: LoadedModel,
        samples: Sequence[Sample],
        validation: Sequence[Sample],
        folder: Path,
        fabric: Fabric,
        say: Say = lambda _line: None,
    ) -> None:
        self.recipe, self.model, self.folder, self.fabric, self._say = recipe, model, folder, fabric, say
        torch.manual_seed(recipe.seed)
        self.preset = model.preset
        network = model.plain_network
        if recipe.lora_rank:
            add_lora(network, recipe.lora_rank, recipe.lora_targets)
        self.network = network
        self.unfreezing = Unfreezing(network, recipe.unfreeze_after)
        self._set_up()
        self.patches = Patches(samples, self.preset, recipe, augment=True)
        # without a batch there is nothing to pool
        self._validation = Patches(validation, self.preset, replace(recipe, normalisation="sample"), augment=False)
        self._samples = samples_digest(samples, validation)
        self._often = how_often(samples, recipe.dataset_weights)
        self.epoch = self.batch = self.steps = 0
        self.best = self.validated = -math.inf
        self.without_gain = 0  # checks on the validation cases
        self.seconds = 0.0
        self.sums = [0.0, 0.0]  # of loss and Dice over the epoch's batches so far, means of all processes
        self._resume()
        self._note()
        self._is_saved = True

    def train(self, stop_after: int | None = None) -> None:
        """Train to the end; or until so many steps of the optimizer were made in all.

        An interruption (KeyboardInterrupt) saves the state after the last step.
        """
        try:
            while self.epoch < self.recipe.epochs and not self._gave_up:
                if not self._train_epoch(stop_after):
                    return
                self.save()
        except KeyboardInterrupt:
            if not self._is_saved:
                self._write()
            raise

    @property
    def _gave_up(self) -> bool:
        """Whether the validation cases have gained nothing for too long."""
        return 0 < self.recipe.patience <= self.without_gain

    def _set_up(self) -> None:
        """Make an optimizer of what learns, and distribute it."""
        betas = (self.recipe.betas[0], self.recipe.betas[1])
        optimizer = torch.optim.AdamW(groups(self.network, self.recipe), lr=self.recipe.lr, betas=betas)
        self.loop, self.optimizer = self.fabric.setup(self._wrapped(self.network), optimizer)

    def save(self) -> None:
        """Write the state, so that a kill in the middle leaves the previous one."""
        self._write()
        self.fabric.barrier()

    def _write(self) -> None:
        """Write the state in the first process, without asking the others."""
        if self.fabric.is_global_zero:
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "recipe": self.recipe.to_yaml(),
                "preset": self.preset.to_json(),
                "samples": self._samples,
                **self._stands,
            }
            write_state(self.folder, state)
        self._is_saved = True

    def _note(self) -> None:
        """Note where the run stands: after a step or an epoch, as the weights are then until the next step."""
        self._stands = {"unfreezing": self.unfreezing.state(), **{name: getattr(self, name) for name in WHERE}}
        self._is_saved = False

    def _resume(self) -> None:
        needed = ("network", "optimizer", "recipe", "preset", "unfreezing", *WHERE)
        state = read_state(self.folder, self.fabric.device, needed)
        if state is None:
            return
        if state["recipe"] != self.recipe.to_yaml():
            raise ModelError(f"{self.folder}: holds a run with another recipe. Choose another folder, or delete it.")
        if state["preset"] != self.preset.to_json():
            raise ModelError(
                f"{self.folder}: holds a run with another preprocessing (the data were prepared anew, or the model to "
                "start from was replaced). Choose another folder, or delete it."
            )
        if state.get("samples", self._samples) != self._samples:  # states of earlier versions do not say
            raise ModelError(
                f"{self.folder}: holds a run on other samples (cases were added, left out or corrected since). Choose "
                "another folder, or delete it; --start goes on from its weights."
            )
        self.network.load_state_dict(state["network"])
        self.unfreezing.restore(state["unfreezing"])
        if self.unfreezing.learning:
            self._set_up()
        self.optimizer.load_state_dict(state["optimizer"])
        if scale := state.get("precision"):  # of float16's losses; other precisions have none
            self.fabric.strategy.precision.load_state_dict(scale)
        for name in WHERE:
            setattr(self, name, state[name])

    def _train_epoch(self, stop_after: int | None) -> bool:
        """Train the rest of an epoch; False if it was stopped."""
        recipe, began = self.recipe, time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * lr_factor(recipe, self.epoch - self.unfreezing.since)
        since = [0.0, 0.0]  # the last step: of loss and Dice
        for number, batch in self._batches():
            last_of_step = (number + 1) % recipe.accumulation == 0 or number + 1 == self.per_epoch()
            loss, dice = self._learn(batch, number, last_of_step)
            since = [since[0] + loss, since[1] + dice]
            if last_of_step:
                with held_back():
                    self._make_step(number)
                    means = self._all_mean(since)
                    self.sums = [self.sums[0] + means[0], self.sums[1] + means[1]]
                    now = time.monotonic()
                    self.seconds, began = self.seconds + now - began, now
                    self._note()
                since = [0.0, 0.0]
                if self.steps % recipe.save_every == 0:
                    self.save()
                if stop_after is not None and self.steps >= stop_after:
                    return False
        loss, dice = (total / self.per_epoch() for total in self.sums)
        self._finish_epoch(loss, dice)
        with held_back():
            if self.unfreezing.after(self.epoch, loss):
                self._set_up()
            self.epoch, self.batch, self.sums = self.epoch + 1, 0, [0.0, 0.0]
            self._note()
        return True

    def _learn(self, batch: dict[str, Any], number: int, last_of_step: bool) -> tuple[float, float]:
        """Add the gradients of a batch; returns its loss and Dice."""
        recipe = self.recipe
        images = pooled(batch["image"].to(self.fabric.device), self.preset, recipe)
        batch_seed = _seed(recipe.seed, self.epoch, number, 7)
        with self.fabric.no_backward_sync(self.loop, enabled=not last_of_step):
            loss, dice = self.loop(images, batch["mask"].to(self.fabric.device), batch["seed"].tolist(), batch_seed)
            self._check_loss(float(loss.detach()), number)
            self.fabric.backward(loss / self._group(number))
        return float(loss.detach()), float(dice.mean())

    def _make_step(self, number: int) -> None:
        """Make a step of the optimizer by the gradients so far; `number` is the batch that they end with."""
        if self.recipe.clip_gradients:
            self.fabric.clip_gradients(self.loop, self.optimizer, max_norm=self.recipe.clip_gradients)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps, self.batch = self.steps + 1, number + 1

    def _check_loss(self, loss: float, number: int) -> None:
        """Refuse to go on from a loss that is no number, before it spoils the weights."""
        if not math.isfinite(loss):
            raise ModelError(
                f"{self.folder}: the loss of batch {number + 1} in epoch {self.epoch + 1} is {loss}. Choose a smaller "
                "lr, or clip_gradients in the recipe; best.safetensors is what was best before."
            )

    def _group(self, number: int) -> int:
        """Batches that make the step which this one belongs to; the last step of an epoch may have fewer."""
        size = self.recipe.accumulation
        return min(size, self.per_epoch() - number // size * size)

    def _wrapped(self, network: Any) -> nn.Module:
        """Return what is called in each step."""
        return ClickLoop(network, self.recipe, self.preset.low_res_shape)

    def _batches(self) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(loaded(self.patches, _BatchesOfRank(self), self.recipe.workers), start=self.batch)

    def per_epoch(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self.patches) / (self.recipe.batch_size * self.fabric.world_size))

    def batch_indices(self, number: int) -> list[tuple[int, int]]:
        """Return what this process takes of a batch: (index, seed) of each sample.

        Where an epoch's last batch cannot be shared out evenly, it is filled with the first samples of the epoch.
        """
        rng = np.random.default_rng(_seed(self.recipe.seed, self.epoch, 0, 1))
        count = len(self.patches)
        order = rng.permutation(count) if self._often is None else rng.choice(count, count, p=self._often)
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        whole = self.recipe.batch_size * processes
        size = math.ceil(min(whole, len(order) - number * whole) / processes)
        first = number * whole + rank * size
        chosen = [int(order[n % len(order)]) for n in range(first, first + size)]
        return [(index, _seed(self.recipe.seed, self.epoch, index, 3)) for index in chosen]

    def _all_mean(self, values: Sequence[float]) -> list[float]:
        """Return the means over all processes."""
        if self.fabric.world_size == 1:  # also on an Apple GPU, which has no double precision
            return list(values)
        mean = self.fabric.all_reduce(
            torch.tensor(values, dtype=torch.float64, device=self.fabric.device), reduce_op="mean"
        )
        return mean.tolist()  # type: ignore[union-attr]

    def _finish_epoch(self, loss: float, dice: float) -> None:
        validation = math.nan
        last = self.epoch + 1 == self.recipe.epochs
        if len(self._validation) and ((self.epoch + 1) % self.recipe.validate_every == 0 or last):
            validation = self._validate()
            self.without_gain = 0 if validation > self.validated else self.without_gain + 1
            self.validated = max(self.validated, validation)
        if self.fabric.is_global_zero:
            make_folder(self.folder)
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
                image = item["image"][None].to(self.fabric.device)
                mask = item["mask"][None].to(self.fabric.device)
                scores.append(float(self.loop(image, mask, [item["seed"]], 0, self.recipe.validation_clicks)[1]))
        self.loop.train()
        return float(np.mean(scores))

    def _log(self, loss: float, dice: float, validation: float) -> None:
        lr = self.optimizer.param_groups[0]["lr"]
        values = (self.epoch, self.steps, loss, dice, lr, validation, self.seconds)
        shown = ("" if isinstance(value, float) and math.isnan(value) else value for value in values)
        rows = log_rows(self.folder, COLUMNS, shown)
        write_curves(self.folder, rows, {"training": "dice", "validation": "validation_dice"})
        named = [("loss", loss), ("Dice", dice), ("validation Dice", validation)]
        told = ", ".join(f"{name} {value:.4f}" for name, value in named if not math.isnan(value))
        self._say(f"epoch {self.epoch + 1} of {self.recipe.epochs}: {told}")
        if self.recipe.tensorboard:
            from tensorboardX import SummaryWriter  # noqa: PLC0415 - not every run writes it

            with SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.epoch) as writer:
                for name, value in zip(COLUMNS[1:], values[1:], strict=True):
                    if not math.isnan(value):
                        writer.add_scalar(name, value, self.epoch)

    def _export(self, validation: float) -> None:
        """Write the weights as a checkpoint that `load_model` understands; with LoRA, the updates as well."""
        trained = f"{self.epoch + 1} epochs, {self.steps} steps"
        if not math.isnan(validation):
            trained += f"; validation Dice {validation:.4f} after {self.recipe.validation_clicks} clicks"
        model = trained_model(self.model, self.folder.resolve().name, self.recipe, trained)
        recipe = self.recipe.to_yaml()
        model.write(self.folder / BEST, plain_weights(self.network), recipe=recipe)
        if self.recipe.lora_rank:
            base = "" if self.model.file is None else file_digest(self.model.file)
            before = self.preset
            if self.recipe.ct_window is not None:  # came with the recipe
                before = replace(before, clamp=None, clamp_after=False)
            about = model.about() | {"notes": [], "recipe": recipe, "base_preset": before.to_json()}
            write_checkpoint(self.folder / UPDATES, lora_weights(self.network), base_sha256=base, **about)
        samples = self.patches.samples
        counts = Counter(f"{sample.dataset}, structures" for sample in samples)
        card = model_card(model, recipe, [sample.structure for sample in samples], counts)
        write_text(self.folder / RUN_CARD, card)
        write_text(self.folder / "summary.json", json.dumps({"best": self.best, "epoch": self.epoch + 1}))


class _BatchesOfRank(Sampler[list[tuple[int, int]]]):
    """The batches of an epoch that are still to come, for one process."""

    def __init__(self, run: Run) -> None:
        self._batches = [run.batch_indices(n) for n in range(run.batch, run.per_epoch())]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def samples_digest(*sides: Sequence[Sample]) -> str:
    """Return a digest (hex) of which samples are on which side, and how large they are."""
    listed = [[(each.dataset, each.structure, each.case, each.voxels) for each in side] for side in sides]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
