"""Simulated users during training: fast, random, on the network's own grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_REACHES = (3, 7, 13)
"""Edges of the surroundings, in voxels, by which depth is judged."""


def first_clicks(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Click in each object, rather in its depth than at its edge.

    Args:
        targets: (N, 1, n, n, n), 1 inside; every object has a voxel.
        generator: torch's generator on the CPU; the only source of randomness.

    Returns:
        (N, 3) voxels of the targets.
    """
    return _pick(targets * (0.02 + depth(targets) ** 2), generator, 1)[:, 0]


def next_clicks(
    logits: Tensor, targets: Tensor, generator: torch.Generator, count: int = 1, where: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Click in the large errors, rather in their depth.

    Args:
        logits: (N, 1, n, n, n), above 0 inside.
        targets: same shape, above 0.5 inside.
        generator: torch's generator on the CPU.
        count: number of clicks for each object.
        where: same shape, 1 where errors are looked for first; None for everywhere.

    Returns:
        (N, count, 3) voxels, and (N, count) labels: 1 where the object is missing, 0 where it should not be. Without an
        error, clicks inside the object.
    """
    inside = targets > 0.5
    errors = ((logits > 0) != inside).float()
    if where is not None:
        there = errors * where
        errors = torch.where(_is_empty(there), errors, there)
    errors = torch.where(_is_empty(errors), inside.float(), errors)
    voxels = _pick(errors * depth(errors) ** 4, generator, count)
    n = torch.arange(len(voxels), device=voxels.device)[:, None]
    return voxels, inside[n, 0, voxels[..., 0], voxels[..., 1], voxels[..., 2]].long()


def clicks_on_neighbours(intensities: Tensor, targets: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Click beside each object, rather where it looks as the object does: negative clicks that are hard to understand.

    Args:
        intensities: (N, 1, n, n, n) of the image.
        targets: same shape, 1 inside.
        generator: torch's generator on the CPU.
        count: number of clicks for each object.

    Returns:
        (N, count, 3) voxels outside of the objects.
    """
    inside = (targets > 0.5).float()
    total = inside.flatten(1).sum(1).clamp(min=1).view(-1, 1, 1, 1, 1)
    mean = (intensities * inside).flatten(1).sum(1).view_as(total) / total
    spread = ((intensities - mean).square() * inside).flatten(1).sum(1).view_as(total) / total
    likeness = torch.exp(-(intensities - mean).square() / (2 * spread + 1e-6))
    near = _share_of_surroundings(targets, 13) > 1e-4
    outside = (targets < 0.05).float()
    weights = outside * near * (likeness + 0.01)
    return _pick(torch.where(_is_empty(weights), outside, weights), generator, count)


def depth(masks: Tensor) -> Tensor:
    """Roughly how deep each voxel lies in its mask, 0..1: the mask's share of growing surroundings."""
    return torch.stack([_share_of_surroundings(masks, edge) for edge in _REACHES]).mean(0)


def _share_of_surroundings(masks: Tensor, edge: int) -> Tensor:
    """Mean of a cube round each voxel, nothing beyond the border: `avg_pool3d(masks, edge, 1, edge // 2)`, but quick.

    Differences of running sums, axis by axis: the work does not grow with the edge.
    """
    means = masks
    for axis in (-3, -2, -1):
        padding = [0] * 6
        padding[-2 * axis - 2 : -2 * axis] = [edge // 2 + 1, edge // 2]
        sums = functional.pad(means, padding).cumsum(axis)
        size = masks.shape[axis]
        means = (sums.narrow(axis, edge, size) - sums.narrow(axis, 0, size)) / edge
    return means.clamp(min=0)


def _is_empty(masks: Tensor) -> Tensor:
    return masks.flatten(1).amax(1).view(-1, 1, 1, 1, 1) == 0


def _pick(weights: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Draw voxels (N, count, 3) of each (N, 1, n, n, n) by weight."""
    flat = weights.flatten(1)
    if flat.device.type == "mps":  # Apple's GPUs have no double precision
        flat = flat.cpu()
    sums = flat.double().cumsum(1)  # in single precision it would round small weights away
    chosen = torch.rand(len(flat), count, generator=generator).to(flat.device) * sums[:, -1:]
    index = torch.searchsorted(sums, chosen, right=True).clamp(max=flat.shape[1] - 1).to(weights.device)
    edge = weights.shape[-1]
    return torch.stack([index // edge**2, index // edge % edge, index % edge], dim=-1)
