"""What SAM-Med2D learns from one batch: a step with a box or a point, then steps of the decoder alone with new points.

Source: SAM-Med2D `train.py` (`train_one_epoch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sammed3d.nets.sam_med2d import SamMed2d, best_mask
from sammed3d.nets.slicewise import normalised
from sammed3d.simulation.image_prompts import points_in_error
from sammed3d.training.losses import dice_ce_iou_loss, focal_dice_iou_loss, hard_dice
from sammed3d.training.sam_med2d.recipe import Recipe2d


def learn(
    network: SamMed2d, batch: dict[str, Any], recipe: Recipe2d, step: Callable[[Tensor], None], seed: int
) -> tuple[float, float]:
    """Learn from a batch.

    Args:
        network: its parameters that learn have `requires_grad`; see `parts_that_learn`.
        batch: of `Images`, on the network's device.
        recipe: the recipe.
        step: called with a loss: computes gradients, makes a step of the optimizer, and removes the gradients.
        seed: seed of what is drawn.

    Returns:
        Loss and mean Dice of the last pass.

    The first step is a box or a point, for all masks of the batch, and teaches all that learns. The embedding is kept
    then: further steps teach the decoder alone, each with the previous mask as probabilities, and points in its error.
    A step in the middle and the last one are shown the mask alone.
    """
    rng = np.random.RandomState(seed % 2**32)
    loss_of = focal_dice_iou_loss if recipe.loss == "published" else dice_ce_iou_loss
    targets = batch["masks"].flatten(0, 1)
    embedding = network.encode(normalised(batch["image"])).repeat_interleave(batch["masks"].shape[1], dim=0)
    if rng.random_sample() > 0.5:
        prompts: tuple[Tensor, Tensor, Tensor | None] = (*_no_points(targets), batch["boxes"].flatten(0, 1))
    else:
        prompts = (batch["points"].flatten(0, 1), batch["labels"].flatten(0, 1), None)
    answer = best_mask(network, embedding, *prompts, None)
    loss = loss_of(answer.logits, targets, answer.scores)
    step(loss)
    embedding = embedding.detach()
    silent = {int(rng.randint(1, recipe.iterations - 1)), recipe.iterations - 1} if recipe.iterations else set()
    for n in range(recipe.iterations):
        count = recipe.points[rng.randint(len(recipe.points))]
        points = _no_points(targets) if n in silent else _in_error(answer.logits, targets, count, rng)
        mask = answer.low_res.detach().sigmoid()
        answer = best_mask(network, embedding, *points, None, mask)
        loss = loss_of(answer.logits, targets, answer.scores)
        step(loss)
    return float(loss.detach()), float(hard_dice(answer.logits, targets).mean())


def parts_that_learn(network: SamMed2d, learns: str) -> None:
    """Freeze what a recipe's `learns` leaves as it is."""
    for key, parameter in network.image_encoder.named_parameters():
        parameter.requires_grad_(learns == "all" or (learns == "adapters" and ".Adapter." in key))


def _no_points(targets: Tensor) -> tuple[Tensor, Tensor]:
    count = len(targets)
    return targets.new_zeros(count, 0, 2), torch.zeros(count, 0, dtype=torch.int64, device=targets.device)


def _in_error(logits: Tensor, targets: Tensor, count: int, rng: np.random.RandomState) -> tuple[Tensor, Tensor]:
    found, wanted = (logits.detach() > 0).cpu().numpy()[:, 0], (targets > 0).cpu().numpy()[:, 0]
    drawn = [points_in_error(a, b, count, rng) for a, b in zip(found, wanted, strict=True)]
    coords = torch.from_numpy(np.stack([each for each, _ in drawn]))
    labels = torch.from_numpy(np.stack([each for _, each in drawn]))
    return coords.to(logits.device), labels.to(logits.device)
