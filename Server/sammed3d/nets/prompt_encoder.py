"""The prompt encoder of SAM, in two and three dimensions: clicks and boxes become sparse tokens, the mask a dense one.

Source: `segment_anything/modeling/prompt_encoder.py` and SAM-Med3D's `prompt_encoder3D.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sammed3d.errors import ModelError
from sammed3d.nets.common import ChannelNorm

NOT_A_POINT, NEGATIVE, POSITIVE, BOX_BEGIN, BOX_END = -1, 0, 1, 2, 3
"""Labels of points; those from 0 on are indices of `point_embeddings`."""


class PositionEncoding(nn.Module):
    """Random Fourier features of coordinates in [0, 1]^n: cat(sin, cos) in 2-D, cat(sin, cos, sin) in 3-D."""

    def __init__(self, dimensions: int, frequencies: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(dimensions, frequencies))

    def forward(self, coords: Tensor) -> Tensor:
        """(..., n) -> (..., n * frequencies), in the precision of the matrix also under autocast."""
        matrix = self.positional_encoding_gaussian_matrix
        with torch.autocast(coords.device.type, enabled=False):
            angle = 2 * math.pi * ((2 * coords - 1) @ matrix)
        return torch.cat([angle.sin(), angle.cos(), angle.sin()][: len(matrix)], dim=-1)

    def grid(self, size: int) -> Tensor:
        """Encode the centres of a grid of edge length `size`: (1, C, size, size[, size]).

        Tensor index (i, j[, k]) is encoded as (j, i[, k]). In 2-D that is x, y, the order of the clicks. In 3-D the
        clicks are in the order i, j, k, so the first two axes disagree; the published weights were trained so.
        """
        matrix = self.positional_encoding_gaussian_matrix
        centre = (torch.arange(size, dtype=matrix.dtype, device=matrix.device) + 0.5) / size
        first, second, *rest = torch.meshgrid(*[centre] * len(matrix), indexing="ij")
        encoded: Tensor = self(torch.stack([second, first, *rest], dim=-1))
        return encoded.movedim(-1, 0)[None]


class PromptEncoder(nn.Module):
    """Encode clicks, boxes and mask prompts for the mask decoder.

    Args:
        channels: Width of tokens and embedding (C).
        image_shape: Voxels of the network's input along n = 2 or 3 axes; coordinates are divided by it.
        grid: edge length of the image embedding (g).
        factors: Downscaling of a mask prompt in each of the two steps, along each axis.
        boxes: whether there are embeddings for the corners of boxes.
    """

    def __init__(
        self, channels: int, image_shape: Sequence[int], grid: int, factors: Sequence[int], *, boxes: bool = False
    ) -> None:
        super().__init__()
        dimensions = len(image_shape)
        kernel: Any = tuple(factors)
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.image_shape = tuple(image_shape)
        self.size = grid
        self.boxes = boxes
        self.pe_layer = PositionEncoding(dimensions, channels // dimensions)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4 if boxes else 2))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            convolution(1, 4, kernel_size=kernel, stride=kernel),
            ChannelNorm(4),
            nn.GELU(),
            convolution(4, 16, kernel_size=kernel, stride=kernel),
            ChannelNorm(16),
            nn.GELU(),
            convolution(16, channels, kernel_size=1),
        )

    def dense_position(self) -> Tensor:
        """Position encoding of the image embedding: (1, C, g, g[, g])."""
        return self.pe_layer.grid(self.size)

    def sparse(self, coords: Tensor, labels: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Encode clicks and boxes: tokens (B, T, C).

        Args:
            coords: (B, N, n) voxel or pixel indices.
            labels: (B, N) 1, 0 or -1.
            boxes: (B, 2n) first and last corner, or None.

        Clicks without a box are followed by one padding point, as published. No click and no box give no token.
        """
        coords = coords.to(self.no_mask_embed.weight.dtype) + 0.5  # voxel indices do not fit half precision
        if boxes is not None:
            if not self.boxes:
                raise ModelError("This model does not know boxes. Use clicks, or a checkpoint trained with boxes.")
            corners = boxes.to(coords.dtype).view(len(boxes), 2, -1) + 0.5
            coords = torch.cat([coords, corners], dim=1)
            labels = torch.cat([labels, labels.new_tensor([BOX_BEGIN, BOX_END]).expand(len(labels), 2)], dim=1)
        elif coords.shape[1]:
            coords = torch.cat([coords, coords.new_zeros(len(coords), 1, coords.shape[2])], dim=1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), NOT_A_POINT)], dim=1)
        return self.tokens(coords, labels)

    def tokens(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Encode points as they are, without shift and padding: (B, N, n), (B, N) -> (B, N, C)."""
        labels = labels[..., None]
        tokens: Tensor = self.pe_layer(coords / coords.new_tensor(self.image_shape))
        tokens = torch.where(labels == NOT_A_POINT, self.not_a_point_embed.weight, tokens)
        for label, embedding in enumerate(self.point_embeddings.children()):
            tokens = torch.where(labels == label, tokens + embedding.get_parameter("weight"), tokens)
        return tokens

    def dense(self, low_res: Tensor | None, batch: int) -> Tensor:
        """Encode a mask prompt (B, 1, 4g, 4g[, 4g]), or as `factors` say -> (B, C, g, g[, g]).

        None gives `no_mask_embed`.

        The first click of an object in 3-D passes zeros, not None: SAM-Med3D never trained `no_mask_embed`.
        """
        if low_res is None:
            dimensions = len(self.pe_layer.positional_encoding_gaussian_matrix)
            constant = self.no_mask_embed.weight.view(1, -1, *[1] * dimensions)
            return constant.expand(batch, -1, *[self.size] * dimensions)
        embedded: Tensor = self.mask_downscaling(low_res)
        return embedded
