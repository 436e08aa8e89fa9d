"""Clicks as maps for a network: how near each voxel is to them, and how like them.

Clicks are taken a few at a time, so that hundreds of them need no more memory than a few; what comes out is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

REACHES = (2.0, 8.0)
"""Reach of the distance maps, in voxels of the finest level."""
SIGNS = (1, 0)
"""Labels of positive and of negative clicks, in the order of the maps."""
_AT_A_TIME = 16  # clicks whose maps are in memory at once
_FAR = 1e6  # added to the squared distance from clicks that do not count


def nearness(positions: Tensor, labels: Tensor, edge: int) -> list[Tensor]:
    """Maps (B, 1, n, n, n) for positive, then negative clicks: at the click itself, and how near, for each reach."""
    axis = torch.arange(edge, device=positions.device, dtype=positions.dtype)
    r, a, s = ((axis - positions[:, :, d, None]) ** 2 for d in range(3))  # each (B, N, n)

    def squared(some: Tensor | slice, more: Tensor) -> Tensor:
        in_plane = r[:, some, :, None] + (a[:, some] + more)[:, :, None, :]
        return in_plane[..., None] + s[:, some, None, None, :]

    maps = []
    for sign in SIGNS:
        nearest = _least(squared, labels, sign)
        if nearest is None:
            maps += [axis.new_zeros(len(labels), 1, edge, edge, edge)] * (1 + len(REACHES))
            continue
        maps.append((nearest <= 1).to(nearest.dtype))
        maps += [torch.exp(nearest * (-1 / (2 * reach**2))) for reach in REACHES]
    return maps


def likeness(features: Tensor, positions: Tensor, labels: Tensor, sharpness: Tensor) -> Tensor:
    """(B, 2, n, n, n): likeness in 0..1 of every voxel to the most alike positive, and to the most alike negative.

    In single precision also under autocast: small differences of large squares, which bfloat16 rounds away.
    """
    with torch.autocast(features.device.type, enabled=False):
        return _likeness(features.float(), positions, labels, sharpness)


def _likeness(features: Tensor, positions: Tensor, labels: Tensor, sharpness: Tensor) -> Tensor:
    batch, edge = len(positions), features.shape[-1]
    r, a, s = positions.round().long().clamp(0, edge - 1).unbind(-1)  # (B, N) each
    image = torch.arange(batch, device=r.device).clamp(max=len(features) - 1)  # one image may stand for all
    clicked = features[image[:, None], :, r, a, s]  # (B, N, C)
    flat = features.flatten(2)
    lengths, of_clicked = flat.square().sum(1, keepdim=True), clicked.square().sum(-1, keepdim=True)

    def without_lengths(some: Tensor | slice, more: Tensor) -> Tensor:  # |c - f|² = |c|² - 2 c f + |f|²
        own = (of_clicked[:, some] + more).reshape(len(flat), -1, 1)
        both = torch.baddbmm(own, -2 * clicked[:, some].reshape(len(flat), -1, clicked.shape[-1]), flat)
        return both.view(batch, -1, both.shape[-1])

    maps = []
    for sign in SIGNS:
        nearest = _least(without_lengths, labels, sign)
        if nearest is None:
            maps.append(lengths.new_zeros(batch, *lengths.shape[1:]))
            continue
        squared = (nearest + lengths).clamp(min=0)
        there = (labels == sign).any(dim=1)[:, None, None]
        maps.append(torch.exp(squared * (-sharpness.abs() / features.shape[1])) * there)
    return torch.cat(maps, dim=1).view(batch, 2, edge, edge, edge)


def few_at_a_time(clicks: Tensor) -> list[Tensor]:
    """Parts of the indices (N,) of many clicks, whose maps would take a MiB each."""
    return [clicks[begin : begin + _AT_A_TIME] for begin in range(0, len(clicks), _AT_A_TIME)]


def _least(distances: Callable[[Tensor | slice, Tensor], Tensor], labels: Tensor, sign: int) -> Tensor | None:
    """Return the least distance from clicks of a sign, (B, 1, ...); None where it is known that there are none.

    Args:
        distances: returns those from some of the clicks, (B, n, ...), plus what is given for each, (B, n, 1).
        labels: of the clicks, (B, N).
        sign: the label that counts.
    """
    if torch.compiler.is_compiling():  # written down as ONNX, whatever the number of clicks
        return distances(slice(None), _unless(labels == sign)).amin(1, keepdim=True)
    counts = labels == sign
    own = counts.any(dim=0).nonzero()[:, 0]
    parts = [distances(some, _unless(counts[:, some])).amin(1, keepdim=True) for some in few_at_a_time(own)]
    return reduce(torch.minimum, parts) if parts else None


def _unless(counts: Tensor) -> Tensor:
    return torch.where(counts, 0.0, _FAR)[:, :, None]
