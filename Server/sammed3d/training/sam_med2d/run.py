"""SAM-Med2D's training on lists of images, on one device; stopped and resumed at any time with the same result.

What happens in a batch depends on the seed, the epoch and its number alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sammed3d.errors import ModelError
from sammed3d.files.image_lists import ListedImage
from sammed3d.files.outputs import make_folder, write_text
from sammed3d.nets import SamMed2d, Slicewise, build
from sammed3d.predictors.device import choose_device
from sammed3d.training.held_back import held_back
from sammed3d.training.loading import loaded
from sammed3d.training.result import model_card, origin_of
from sammed3d.training.sam_med2d.images import Images
from sammed3d.training.sam_med2d.recipe import Recipe2d
from sammed3d.training.sam_med2d.step import learn, parts_that_learn
from sammed3d.training.state import check_writable, log_rows, read_state, write_curves, write_state
from sammed3d.zoo.families import SAM_MED2D
from sammed3d.zoo.load import load_model
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.store import RUN_CARD, RUN_WEIGHTS

WHERE = ("epoch", "batch", "steps", "best", "seconds", "sums")
"""What a state says of where the run stands."""
COLUMNS = ("epoch", "batches", "loss", "dice", "lr", "seconds")


class ImageRun:
    """A run in a folder.

    Args:
        recipe: the recipe.
        listed: images to learn from.
        folder: folder of the run. If it holds a state, the run goes on from there.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        ModelError: the model cannot be trained on images, or the folder holds a run with another recipe or images.
        VolumeError: nothing can be written into the folder.
    """

    def __init__(self, recipe: Recipe2d, listed: Sequence[ListedImage], folder: Path, device: str = "auto") -> None:
        check_writable(folder)
        self.recipe, self.folder, self.device = recipe, folder, choose_device(device)
        self.model = model_to_train(recipe)
        network: Any = self.model.plain_network.to(self.device).train()
        self.network: SamMed2d = network
        parts_that_learn(self.network, recipe.learns)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=recipe.lr)
        self.images = Images(listed, self.model.preset, recipe.masks)
        self.epoch = self.batch = self.steps = 0
        self.best = math.inf  # mean loss of an epoch
        self.seconds = 0.0
        self.sums = [0.0, 0.0]  # of loss and Dice over the epoch's batches so far
        self._resume()
        self._is_saved = True

    def train(self, stop_after: int | None = None, say: Callable[[str], None] = lambda _line: None) -> None:
        """Train to the end; or until so many batches were learned from in all. `say` is told of every epoch.

        An interruption (KeyboardInterrupt) saves the state after the last batch.
        """
        try:
            while self.epoch < self.recipe.epochs:
                if not self._train_epoch(stop_after, say):
                    return
        except KeyboardInterrupt:
            if not self._is_saved:
                self._save()
            raise

    def _train_epoch(self, stop_after: int | None, say: Callable[[str], None]) -> bool:
        """Train the rest of an epoch; False if it was stopped."""
        began = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr_at(self.epoch)
        for batch in self._batches():
            with held_back():  # a batch makes several steps
                self._learn(batch)
                now = time.monotonic()
                self.seconds, began = self.seconds + now - began, now
            if self.steps % self.recipe.save_every == 0:
                self._save()
            if stop_after is not None and self.steps >= stop_after:
                return False
        loss, dice = (value / self.per_epoch() for value in self.sums)
        with held_back():
            self._finish_epoch(loss, dice)
            say(f"epoch {self.epoch + 1} of {self.recipe.epochs}: loss {loss:.4f}, Dice {dice:.3f}")
            self.epoch, self.batch, self.sums = self.epoch + 1, 0, [0.0, 0.0]
            self._is_saved = False
        self._save()
        return True

    def per_epoch(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self.images) / self.recipe.batch_size)

    def _batches(self) -> Iterator[dict[str, Any]]:
        order = np.random.default_rng(_seed(self.recipe.seed, self.epoch, 0, 1)).permutation(len(self.images))
        items = [(int(index), _seed(self.recipe.seed, self.epoch, int(index), 3)) for index in order]
        size = self.recipe.batch_size
        batches = [items[n * size : (n + 1) * size] for n in range(self.batch, self.per_epoch())]
        yield from loaded(self.images, batches, self.recipe.workers)

    def _learn(self, batch: dict[str, Any]) -> None:
        on_device = {key: each.to(self.device) if isinstance(each, Tensor) else each for key, each in batch.items()}
        mixed = self.recipe.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            seed = _seed(self.recipe.seed, self.epoch, self.batch, 7)
            loss, dice = learn(self.network, on_device, self.recipe, self._step, seed)
        if not math.isfinite(loss):
            raise ModelError(
                f"The loss of batch {self.batch} in epoch {self.epoch + 1} is {loss}. Choose a smaller lr."
            )
        self.sums = [self.sums[0] + loss, self.sums[1] + dice]
        self.batch, self.steps = self.batch + 1, self.steps + 1
        self._is_saved = False

    def _step(self, loss: Tensor) -> None:
        with torch.autocast(self.device.type, enabled=False):  # gradients in the precision of what they are of
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _save(self) -> None:
        """Write the state, so that a kill in the middle leaves the previous one."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "recipe": self.recipe.to_yaml(),
            "images": self._images_digest(),
            **{name: getattr(self, name) for name in WHERE},
        }
        write_state(self.folder, state)
        self._is_saved = True

    def _resume(self) -> None:
        state = read_state(self.folder, self.device, ("network", "optimizer", "recipe", *WHERE))
        if state is None:
            return
        if state["recipe"] != self.recipe.to_yaml():
            raise ModelError(f"{self.folder}: holds a run with another recipe. Choose another folder, or delete it.")
        if state.get("images", self._images_digest()) != self._images_digest():  # earlier versions do not say
            raise ModelError(
                f"{self.folder}: holds a run on other images or masks (the lists were changed since). Choose another "
                "folder, or delete it; --start goes on from its weights."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in WHERE:
            setattr(self, name, state[name])

    def _finish_epoch(self, loss: float, dice: float) -> None:
        """Keep the weights of the epoch with the smallest loss, as published, and write the log."""
        make_folder(self.folder)
        if loss < self.best:
            self.best = loss
            self._export(loss)
        lr = self.recipe.lr_at(self.epoch)
        rows = log_rows(self.folder, COLUMNS, (self.epoch, self.steps, loss, dice, lr, self.seconds))
        write_curves(self.folder, rows, {"training": "dice"})

    def _export(self, loss: float) -> None:
        start = self.model
        trained = f"{self.epoch + 1} epochs, {self.steps} batches; loss {loss:.4f}"
        licence = f"that of {start.name} ({start.licence}) and of the training data" if start.licence else ""
        name = self.folder.resolve().name
        model = replace(start, name=name, licence=licence, origin=origin_of(start, trained))
        model.write(self.folder / RUN_WEIGHTS, self.network.state_dict(), recipe=self.recipe.to_yaml())
        structures = [each.structure_of(mask) for each in self.images.listed for mask in each.masks]
        card = model_card(model, self.recipe.to_yaml(), structures, {"2-D images": len(self.images)})
        write_text(self.folder / RUN_CARD, card)
        summary = {"loss": self.best, "epoch": self.epoch + 1}
        write_text(self.folder / "summary.json", json.dumps(summary))

    def _images_digest(self) -> str:
        """Return a digest (hex) of which images and masks there are, by the names of their files."""
        listed = [[each.image.name, [mask.name for mask in each.masks]] for each in self.images.listed]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def model_to_train(recipe: Recipe2d) -> LoadedModel:
    """Return the model that a run begins with; its preset is what images are framed by and what is exported.

    Raises:
        ModelError: it is no 2-D model with torch weights, or another network than the recipe's.
    """
    torch.manual_seed(recipe.seed)  # of random weights
    if recipe.start is None:
        network: Any = build(recipe.network, recipe.sizes)
        size, low_res = network.config.image_size, 4 * network.config.grid
        preset = replace(SAM_MED2D, patch_shape=(size, size, 1), low_res_shape=(low_res, low_res, 1))
        model = LoadedModel(
            Slicewise(network), recipe.network, recipe.sizes, preset, recipe.network, origin="random weights"
        )  # fmt: skip
    else:
        model = load_model(recipe.start, recipe.family)
        if not isinstance(model.plain_network, SamMed2d):
            raise ModelError(f"{model.name}: learns from volumes; lists of 2-D images are for SAM-Med2D and FT-SAM.")
        if model.network_name != recipe.network:
            raise ModelError(f"{model.name} is {model.network_name}, the recipe's network {recipe.network}.")
    return replace(model, preset=replace(model.preset, fit=recipe.fit))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
