"""What SAM-Med2D learns from one batch: a step with a box or a point, then steps of the decoder alone with new points.

Source: SAM-Med2D `train.py` (`train_one_epoch`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sammed3d.nets import SamMed2d
from sammed3d.nets.slicewise import normalised
from sammed3d.simulation.image_prompts import points_in_error
from sammed3d.training.losses import focal_dice_iou_loss, hard_dice
from sammed3d.training.sam_med2d.recipe import Recipe2d


@dataclass(frozen=True)
class Answer:
    """The best of three masks by the network's own estimate.

    Attributes:
        logits: (B, 1, S, S).
        low_res: (B, 1, S/4, S/4).
        scores: (B, 1) estimate of the IoU.
    """

    logits: Tensor
    low_res: Tensor
    scores: Tensor


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
    targets = batch["masks"].flatten(0, 1)
    embedding = network.encode(normalised(batch["image"])).repeat_interleave(batch["masks"].shape[1], dim=0)
    if rng.random_sample() > 0.5:
        prompts: tuple[Tensor, Tensor, Tensor | None] = (*_no_points(targets), batch["boxes"].flatten(0, 1))
    else:
        prompts = (batch["points"].flatten(0, 1), batch["labels"].flatten(0, 1), None)
    answer = answer_to(network, embedding, *prompts, None)
    loss = focal_dice_iou_loss(answer.logits, targets, answer.scores)
    step(loss)
    embedding = embedding.detach()
    silent = {int(rng.randint(1, recipe.iterations - 1)), recipe.iterations - 1} if recipe.iterations else set()
    for n in range(recipe.iterations):
        count = recipe.points[rng.randint(len(recipe.points))]
        points = _no_points(targets) if n in silent else _in_error(answer.logits, targets, count, rng)
        mask = answer.low_res.detach().sigmoid()
        answer = answer_to(network, embedding, *points, None, mask)
        loss = focal_dice_iou_loss(answer.logits, targets, answer.scores)
        step(loss)
    return float(loss.detach()), float(hard_dice(answer.logits, targets).mean())


def answer_to(
    network: SamMed2d, embedding: Tensor, coords: Tensor, labels: Tensor, boxes: Tensor | None, mask: Tensor | None
) -> Answer:
    """Decode prompts, and take the mask that the network itself holds for the best.

    Args:
        network: the network.
        embedding: (B, C, g, g).
        coords: (B, N, 2) x, y; N may be 0.
        labels: (B, N).
        boxes: (B, 4), or None.
        mask: (B, 1, S/4, S/4) probabilities, or None at first. With a mask the prompt encoder does not learn.
    """
    prompt, decoder = network.prompt_encoder, network.mask_decoder
    with torch.set_grad_enabled(torch.is_grad_enabled() and mask is None):
        sparse, dense = prompt.sparse(coords, labels, boxes), prompt.dense(mask, len(coords))
    logits, scores = decoder(embedding, prompt.dense_position(), sparse, dense, multimask=True)
    best = scores.argmax(dim=1, keepdim=True)
    low_res = logits.take_along_dim(best[..., None, None], dim=1)
    low_res = low_res.to(torch.promote_types(low_res.dtype, torch.float32))  # of mixed precision
    size = 2 * [network.config.image_size]
    return Answer(functional.interpolate(low_res, size, mode="bilinear"), low_res, scores.take_along_dim(best, dim=1))


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
