"""Tempered answers: of what a network answers to clicks, what is shown and what counts.

A network that cannot know an object's extent from few clicks answers with less than what overlaps best with it, and
one that is given a negative click takes away whatever looks like the place that was clicked, however far, and of a mask
that somebody made nearly all. One that sees a patch begins with too little of what is large in it, and with too much of
what is small; a wide patch round the first click tells which of both it is. Published models are not tempered.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sammed3d.core.interpolation import Float32, Float64

HELD_BY = 0.3
"""Logits by which a click holds: more than is lost where the mask is interpolated again, on the volume's grid."""
LEAST_REACH = 2.0
"""Voxels of the logits that a click on a mask reaches at least (`Tempering.depth` and `beyond`)."""
ROUNDED = 0.25
"""How far from its place a click may have been, in voxels of the logits, before it was rounded to a patch's voxels."""


@dataclass(frozen=True)
class Tempering:
    """How a network's answers are used; values are measured, with one set of weights.

    Attributes:
        early: raises the logits that are shown of a new object after n clicks by this, divided by n.
        reach: how far from a negative click its answer may take away, in voxels of the logits: one standard deviation
            of a Gaussian.
        depth: for an object that started from a mask, that much for each voxel by which the click lies within what was
            there, up to `reach`: who clicks in the middle of what is too much has its edges as far away on all sides.
            0: always `reach`.
        beyond: the same for a positive click on such an object: how far from it its answer may add, for each voxel by
            which it lies beyond what was there. 0: everywhere, as on any other object.
        against: share that counts of what an answer changes against its click: of what it takes away after a positive
            one, of what it adds after a negative one.
        wide: share of a wide patch's answer in that to the first click on a large object; 0: none is looked at.
        large: an object is large where that answer has more voxels of the logits inside, within the click's patch.
        small: share of `early` that counts at the first click on an object that is not.
        hold: whether what is shown at the place of a click is what the click says.
    """

    early: float
    reach: float
    against: float
    depth: float = 0.0
    beyond: float = 0.0
    wide: float = 0.0
    large: int = 0
    small: float = 1.0
    hold: bool = False

    def shown(self, logits: Tensor, clicks: int, large: bool = True) -> Tensor:
        """Return what is shown of a new object; what is fed back to the network stays as it is."""
        return logits + self.early / clicks * (1.0 if large or clicks > 1 else self.small)

    def is_large(self, wide: Tensor) -> bool:
        """Whether an object is large by the answer in a wide patch, seen through the click's."""
        return int((wide > 0).sum()) > self.large

    def blended(self, answer: Tensor, wide: Tensor) -> Tensor | None:
        """Return the first answer in the click's patch together with that in a wide one; None if one finds too little.

        What a wide patch finds that the click's has no quarter of is something else that looks alike.
        """
        if not self.is_large(wide) or int((answer > 0).sum()) <= self.large / 4:
            return None
        return (1 - self.wide) * answer + self.wide * wide

    def further(
        self, before: Tensor, answer: Tensor, place: Sequence[float], positive: bool, from_mask: bool = False
    ) -> Tensor:
        """Return what counts of the answer to a click where there is something: to a further one, or on a mask.

        Args:
            before: (1, 1, n, n, n) logits that were fed back.
            answer: same shape: the network's answer to them and the click.
            place: the click in voxels of the logits.
            positive: whether it is.
            from_mask: whether the object started from a mask.
        """
        more, less = (answer - before).clamp(min=0), (before - answer).clamp(min=0)
        inside = before[0, 0] > 0
        if positive:
            if from_mask and self.beyond and bool(inside.any()):
                more = more * _nearness(place, inside, max(LEAST_REACH, self.beyond * _distance(place, inside)))
            return before + more - self.against * less
        reach = self.reach
        if from_mask and self.depth and not bool(inside.all()):
            reach = min(reach, max(LEAST_REACH, self.depth * _distance(place, ~inside)))
        return before + self.against * more - _nearness(place, inside, reach) * less

    def make_hold(self, logits: Float32, places: Sequence[Sequence[float]], positive: Sequence[bool]) -> None:
        """Change what is shown so that each click lies on its side of the mask's edge; where two disagree, the later.

        Changed are the voxels that its place is interpolated from, and no more than that takes: small structures would
        suffer. What is fed back to the network stays as it is.

        Args:
            logits: (n, n, n) of what is shown otherwise; changed in place.
            places: of the clicks, in voxels of the logits.
            positive: whether each of them is.
        """
        if not self.hold:
            return
        for place, inside in zip(places, positive, strict=True):
            near = logits[tuple(slice(max(0, math.floor(at) - 1), math.floor(at) + 3) for at in place)]
            if (near.min() < HELD_BY) if inside else (near.max() > -HELD_BY):
                for offset in itertools.product((-ROUNDED, ROUNDED), repeat=3):
                    _hold(logits, np.add(place, offset), inside)


def _squares(place: Sequence[float], like: Tensor) -> Iterator[Tensor]:
    """Yield squared distances from a place along each axis, shaped to be added or multiplied to a field."""
    for axis, (at, edge) in enumerate(zip(place, like.shape, strict=True)):
        squared = (torch.arange(edge, device=like.device) - at) ** 2
        yield squared.view([-1 if axis == other else 1 for other in range(3)])


def _nearness(place: Sequence[float], like: Tensor, reach: float) -> Tensor:
    """Return a Gaussian round a place, 1 there, with a field's shape."""
    x, y, z = (torch.exp(squared / (-2 * reach**2)) for squared in _squares(place, like))
    return x * y * z


def _distance(place: Sequence[float], marked: Tensor) -> float:
    """Return how many voxels a place lies from the nearest marked one; there must be one."""
    x, y, z = _squares(place, marked)
    return math.sqrt(float((x + y + z)[marked].min()))


def _hold(logits: Float32, place: Float64, inside: bool) -> None:
    """Change logits by the least that makes what is interpolated of them at a place hold."""
    last = np.array(logits.shape) - 1
    within = np.clip(place, 0, last)
    low = np.minimum(within.astype(int), last - 1)
    around = logits[tuple(slice(at, at + 2) for at in low)]
    (a, b, c), (d, e, f) = 1 - (within - low), within - low
    shares = np.multiply.outer(np.multiply.outer((a, d), (b, e)), (c, f))
    there = float((around * shares).sum())
    lacking = max(0.0, HELD_BY - there) if inside else min(0.0, -HELD_BY - there)
    around += lacking * shares / (shares**2).sum()
