"""A 2-D network behind the interface of the 3-D ones: a slice is a patch of thickness 1, a coloured one of 3.

Source of the numbers: SAM-Med2D `segment_anything/predictor_sammed.py`, `DataLoader.py` and `test.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


def normalised(image: Tensor) -> Tensor:
    """(B, 1 or 3, S, S) values 0..255, below 0 in the padding -> (B, 3, S, S) as the networks were trained, 0 there."""
    mean, deviation = (image.new_tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return torch.where(image < 0, 0.0, (image - mean) / deviation)


class Network2d(Protocol):
    """What it needs of a network; see `SamMed2d`."""

    def encode(self, image: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor: ...

    def decode(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, low_res: Tensor | None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]: ...


class Slicewise(nn.Module):
    """Run SAM-Med2D or FT-SAM on slices.

    The network gets the slice as an image of three colours with rows running down, three candidate masks are decoded,
    and the one with the best score of the model's own is taken. Mask prompts are fed back as probabilities, as it was
    trained.
    """

    sees_all_clicks = True
    starts_without_mask = True
    scores_are_trained = True
    first_passes = 1
    tempering = None

    def __init__(self, network: Network2d) -> None:
        super().__init__()
        self.network = network

    def encode(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding.

        Args:
            patch: (B, 1, S, S, 1 or 3) grey values or colours 0..255 by column and row; below 0 outside of the slice.
            between_layers: called before every transformer block; what it raises stops the computation.

        Returns:
            (B, C, S/16, S/16).
        """
        image = patch[:, 0].permute(0, 3, 2, 1)  # by channel, row and column
        return self.network.encode(normalised(image), between_layers)

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        *,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict low-res logits for all prompts of a slice so far.

        Args:
            embedding: What `encode` returned, batch B or 1.
            coords: (B, N, 3) column, row and 0.
            labels: (B, N) 1 positive, 0 negative, -1 not a point.
            low_res: (B, 1, S/4, S/4, 1) previous low-res logits, or None.
            boxes: (B, 6) first and last corner as column, row and 0, or None.

        Returns:
            Logits (B, 1, S/4, S/4, 1), above 0 inside, and the model's own estimate of their IoU (B, 1).
        """
        logits, scores = self.candidates(embedding, coords, labels, low_res, boxes=boxes)
        best = scores.argmax(dim=1, keepdim=True)
        return logits.take_along_dim(best[..., None, None, None], dim=1), scores.take_along_dim(best, dim=1)

    def candidates(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        *,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict the three masks that `decode` takes the best of: logits (B, 3, S/4, S/4, 1) and scores (B, 3)."""
        mask = None if low_res is None else low_res[..., 0].transpose(2, 3).sigmoid()
        flat_boxes = None if boxes is None else boxes[:, [0, 1, 3, 4]]
        logits, scores = self.network.decode(embedding, coords[..., :2], labels, mask, flat_boxes)
        return logits.transpose(2, 3)[..., None], scores
