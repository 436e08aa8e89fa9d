"""Clicks as maps for a network: how near each voxel is to them, and how like them.

Clicks are taken a few at a time, so that hundreds of them need no more memory than a few; what comes out is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

REACHES = (2.0, 8.0)
"""Reach of the distance maps, in voxels of the finest level."""
_AT_A_TIME = 16  # clicks whose maps are in memory at once
_UNALIKE = 1e4  # squared distance of features that is no likeness at all


def nearness(positions: Tensor, labels: Tensor, edge: int) -> list[Tensor]:
    """Maps (B, 1, n, n, n) for positive, then negative clicks: at the click itself, and how near, for each reach."""
    axis = torch.arange(edge, device=positions.device, dtype=positions.dtype)
    maps = []
    for sign in (1, 0):
        far = torch.where(labels == sign, 0.0, 1e6)[:, :, None]
        r, a, s = ((axis - positions[:, :, d, None]) ** 2 for d in range(3))  # each (B, N, n)
        r = r + far
        nearest = _least(
            (r[:, some, :, None, None] + a[:, some, None, :, None] + s[:, some, None, None, :]).amin(1, keepdim=True)
            for some in few_at_a_time(labels)
        )
        maps.append((nearest <= 1).to(nearest.dtype))
        maps += [torch.exp(-nearest / (2 * reach**2)) for reach in REACHES]
    return maps


def likeness(features: Tensor, positions: Tensor, labels: Tensor, sharpness: Tensor) -> Tensor:
    """(B, 2, n, n, n): likeness in 0..1 of every voxel to the most alike positive, and to the most alike negative."""
    batch, edge = len(positions), features.shape[-1]
    r, a, s = positions.round().long().clamp(0, edge - 1).unbind(-1)  # (B, N) each
    features = features.expand(batch, *features.shape[1:])
    clicked = features[torch.arange(batch, device=r.device)[:, None], :, r, a, s]  # (B, N, C)
    flat = features.flatten(2)
    lengths, of_clicked = flat.square().sum(1)[:, None], clicked.square().sum(-1)[:, :, None]
    of_signs = [(labels == sign)[:, :, None] for sign in (1, 0)]

    def nearest(some: slice) -> Tensor:
        squared = (of_clicked[:, some] + lengths - 2 * clicked[:, some] @ flat).clamp(min=0)
        return torch.stack([squared.masked_fill(~own[:, some], _UNALIKE).amin(dim=1) for own in of_signs], dim=1)

    least = _least(nearest(some) for some in few_at_a_time(labels))
    there = torch.stack([own.any(dim=1) for own in of_signs], dim=1).to(least.dtype)
    alike = torch.exp(-sharpness.abs() * least / features.shape[1]) * there
    return alike.view(batch, 2, edge, edge, edge)


def few_at_a_time(labels: Tensor) -> list[slice]:
    """Parts of many clicks, whose maps would take a MiB each; all of them where the network is written down as ONNX."""
    if torch.compiler.is_compiling():
        return [slice(None)]
    return [slice(begin, begin + _AT_A_TIME) for begin in range(0, labels.shape[1], _AT_A_TIME)]


def _least(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.minimum, parts)
