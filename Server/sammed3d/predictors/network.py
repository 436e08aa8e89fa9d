"""What a predictor needs of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from sammed3d.nets.tempering import Tempering


class Network(Protocol):
    """What a predictor needs of a network; see `nets.SamMed3d`.

    Attributes:
        sees_all_clicks: whether a decoder pass takes all prompts so far, or the newest alone as SAM-Med3D was trained.
        starts_without_mask: whether the first pass takes no mask prompt, or one of zeros as SAM-Med3D was trained.
        scores_are_trained: whether the scores that it gives with its logits mean anything.
        first_passes: number of passes for the first prompt of a new object, each fed the logits of the one before.
        tempering: how its answers are used where that is not as they are.
    """

    sees_all_clicks: bool
    starts_without_mask: bool
    scores_are_trained: bool
    first_passes: int

    @property
    def tempering(self) -> Tempering | None: ...

    def encode(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor: ...

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        *,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...

    def eval(self) -> Self: ...

    def requires_grad_(self, requires_grad: bool = True) -> Self: ...

    def to(self, device: torch.device) -> Self: ...


@runtime_checkable
class WeighingNetwork(Protocol):
    """A network that weighs several masks; see `nets.Slicewise.candidates`."""

    def candidates(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        *,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...
