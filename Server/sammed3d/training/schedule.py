"""What learns at which rate, and when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from sammed3d.errors import ModelError
from sammed3d.training.prepared import Sample
from sammed3d.training.recipe import Recipe

WARM_UP = 5
"""Epochs in which the schedule "linear" reaches the full rate, as torch's LinearLR does by itself."""


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
        return gamma + (1 - gamma) * min(epoch, WARM_UP) / WARM_UP
    return 1.0


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the encoder, and prompt encoder and decoder at shares of its rate.

    Raises:
        ModelError: nothing is left that learns.
    """
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
    if not by_share:
        raise ModelError(
            "Nothing is left to learn: give one of the recipe's shares of the learning rate a number above 0."
        )
    return [
        {"params": parameters, "lr": recipe.lr * share, "peak": recipe.lr * share, "weight_decay": recipe.weight_decay}
        for share, parameters in by_share.items()
    ]


def how_often(samples: Sequence[Sample], weights: Mapping[str, float]) -> npt.NDArray[np.float64] | None:
    """Return how often each sample is drawn, shares that sum up to 1; None for each once in an epoch.

    Args:
        samples: to train on.
        weights: how often samples of a dataset are drawn, by its name; 1 for datasets that are not named.

    Raises:
        ModelError: a dataset that is named is not among the data.
    """
    if not weights:
        return None
    if unknown := sorted(set(weights) - {sample.dataset for sample in samples}):
        raise ModelError(f"dataset_weights names {unknown[0]!r}, which is not among the data.")
    shares = np.array([float(weights.get(sample.dataset, 1.0)) for sample in samples])
    if shares.min() < 0 or shares.sum() == 0:
        raise ModelError(f"dataset_weights is {dict(weights)}: weights are 0 or more, and not all 0.")
    often: npt.NDArray[np.float64] = shares / shares.sum()
    return often


class Unfreezing:
    """An encoder that is kept at first, and learns block by block, the last one first, whenever the loss stops falling.

    Args:
        network: of SAM-Med3D's kind; its encoder is frozen if `patience` is above 0.
        patience: epochs without a lower loss until the next block learns; 0 for an encoder that is left alone.

    Source: FastSAM3D `train_unfreeze.py`.
    """

    def __init__(self, network: nn.Module, patience: int) -> None:
        self._network, self.patience = network, patience
        self.learning = self.waited = 0
        self.since = 0
        self.lowest = math.inf
        if patience > 0:
            network.get_submodule("image_encoder").requires_grad_(False)

    def after(self, epoch: int, loss: float) -> bool:
        """Take note of an epoch's loss; tells whether a further block learns from now on."""
        if self.patience <= 0:
            return False
        if loss < self.lowest:
            self.lowest, self.waited = loss, 0
            return False
        self.waited += 1
        if self.waited < self.patience or self.learning == len(self._blocks()):
            return False
        self.waited, self.since = 0, epoch + 1
        self._unfreeze(self.learning + 1)
        return True

    def state(self) -> dict[str, float]:
        """Return where it stands."""
        return {"learning": self.learning, "waited": self.waited, "since": self.since, "lowest": self.lowest}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a state."""
        self.waited, self.since, self.lowest = int(state["waited"]), int(state["since"]), float(state["lowest"])
        self._unfreeze(int(state["learning"]))

    def _unfreeze(self, count: int) -> None:
        self.learning = count
        for block in self._blocks()[len(self._blocks()) - count :]:
            block.requires_grad_(True)

    def _blocks(self) -> list[nn.Module]:
        return list(self._network.get_submodule("image_encoder.blocks").children())
