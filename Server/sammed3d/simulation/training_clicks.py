"""Simulated users during training: fast, random, on the network's own grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def first_clicks(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Click in each object, rather in its depth than at its edge.

    Args:
        targets: (N, 1, n, n, n), 1 inside; every object has a voxel.
        generator: on the CPU; the only source of randomness.

    Returns:
        (N, 3) voxels of the targets.
    """
    return _pick(targets * (0.02 + _depth(targets) ** 2), generator)


def next_clicks(logits: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Click in the large errors, rather in their depth.

    Args:
        logits: (N, 1, n, n, n), above 0 inside.
        targets: same shape, above 0.5 inside.
        generator: on the CPU.

    Returns:
        (N, 3) voxels, and (N,) labels: 1 where the object is missing, 0 where it should not be. Without an error, a
        click inside the object.
    """
    inside = targets > 0.5
    errors = ((logits > 0) != inside).float()
    without = errors.flatten(1).amax(1) == 0
    errors[without] = inside[without].float()
    voxels = _pick(errors * _depth(errors) ** 4, generator)
    n = torch.arange(len(voxels), device=voxels.device)
    return voxels, inside[n, 0, voxels[:, 0], voxels[:, 1], voxels[:, 2]].long()


def _depth(masks: Tensor) -> Tensor:
    """Roughly how deep each voxel lies in its mask, 0..1: the mask's share of growing surroundings."""
    return sum(functional.avg_pool3d(masks, k, 1, k // 2) for k in (3, 7, 13)) / 3  # type: ignore[return-value]


def _pick(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one voxel of each (N, 1, n, n, n) by weight."""
    flat = weights.flatten(1)
    chosen = torch.rand(len(flat), 1, generator=generator).to(flat.device) * flat.sum(1, keepdim=True)
    index = torch.searchsorted(flat.cumsum(1), chosen).clamp(max=flat.shape[1] - 1)[:, 0]
    edge = weights.shape[-1]
    return torch.stack([index // edge**2, index // edge % edge, index % edge], dim=1)
