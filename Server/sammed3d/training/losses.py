"""The published losses, on logits of one channel.

Source: MONAI `DiceCELoss(sigmoid=True, squared_pred=True, reduction="mean")` as SAM-Med3D uses it. Up to MONAI 1.2 its
cross entropy of one channel was 0 (fixed in 1.3), which is the loss "dice" here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMOOTH = 1e-5
FOCUS = 2.0
"""Exponent of the focal loss."""


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 - Dice of probabilities with squared denominators, the mean over the batch.

    Args:
        logits: (B, 1, n, n, n).
        targets: same shape, 0 or 1.
    """
    p, y = logits.sigmoid().flatten(1), targets.flatten(1)
    overlap = (p * y).sum(1)
    return (1 - (2 * overlap + SMOOTH) / ((p * p).sum(1) + (y * y).sum(1) + SMOOTH)).mean()


def generalized_dice_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return MONAI's `GeneralizedDiceFocalLoss(sigmoid=True)` for one channel, which BoSAM trains with.

    With one channel the weight of the generalised Dice, 1 / volume², only matters beside the smoothing, which counts
    the more the larger the object is. An object that is not there has the weight 0.

    Args:
        logits: (B, 1, n, n, n).
        targets: same shape, 0 or 1.
    """
    x, y = logits.flatten(1), targets.flatten(1)
    p = x.sigmoid()
    volume = y.sum(1)
    weight = torch.where(volume > 0, 1 / volume.clamp(min=1) ** 2, torch.zeros_like(volume))
    overlap, both = (p * y).sum(1), p.sum(1) + volume
    dice = 1 - (2 * overlap * weight + SMOOTH) / (both * weight + SMOOTH)
    entropy = functional.binary_cross_entropy_with_logits(x, y, reduction="none")
    focal = (torch.where(y > 0, 1 - p, p) ** FOCUS * entropy).mean()
    return dice.mean() + focal


def focal_dice_iou_loss(logits: Tensor, targets: Tensor, scores: Tensor) -> Tensor:
    """Return SAM-Med2D's loss: 20 x focal + Dice + squared error of the estimated IoU, over the whole batch at once.

    Args:
        logits: (B, 1, H, W).
        targets: same shape, 0 or 1.
        scores: (B, 1) the network's estimate of the IoU; compared with that of the whole batch, as published.

    Source: SAM-Med2D `utils.py` (`FocalDiceloss_IoULoss`).
    """
    p = logits.sigmoid()
    focal_in = 0.25 * targets * (1 - p) ** FOCUS * functional.logsigmoid(logits)
    focal_out = 0.75 * (1 - targets) * p**FOCUS * functional.logsigmoid(-logits)
    focal = -(focal_in + focal_out).mean()
    overlap, both = (p * targets).sum(), p.sum() + targets.sum()
    dice = 1 - (2 * overlap + 1) / (both + 1)
    iou = (overlap + 1e-7) / (both - overlap + 1e-7)
    return 20 * focal + dice + ((iou - scores) ** 2).mean()


def dice_ce_iou_loss(logits: Tensor, targets: Tensor, scores: Tensor) -> Tensor:
    """Return Dice and cross entropy of each mask, and the squared error of the estimate of its own IoU.

    Over a whole batch, as `focal_dice_iou_loss` has it, a network without weights of SAM finds nothing for long.

    Args:
        logits: (B, 1, H, W).
        targets: same shape, 0 or 1.
        scores: (B, 1) the network's estimate of the IoU.
    """
    with torch.no_grad():
        found, wanted = (logits > 0).flatten(1), (targets > 0).flatten(1)
        iou = (found & wanted).sum(1, keepdim=True) / (found | wanted).sum(1, keepdim=True).clamp(min=1)
    return mask_loss(logits, targets, "dice_ce") + functional.mse_loss(scores, iou)


def mask_loss(logits: Tensor, targets: Tensor, kind: str) -> Tensor:
    """Return a loss of the recipe by its name; see the module."""
    if kind == "generalized_dice_focal":
        return generalized_dice_focal_loss(logits, targets)
    loss = dice_loss(logits, targets)
    if kind == "dice_ce":
        loss = loss + functional.binary_cross_entropy_with_logits(logits, targets)
    return loss


def hard_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the Dice of each mask (B,): logits above 0 against targets."""
    a, b = (logits > 0).flatten(1).float(), targets.flatten(1)
    return (2 * (a * b).sum(1) / (a.sum(1) + b.sum(1)).clamp(min=1)).detach()


def mean_squared(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference, in float32."""
    return functional.mse_loss(found.float(), wanted.to(found.device, torch.float32))
