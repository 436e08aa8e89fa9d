"""The 3-D prompt encoder of SAM-Med3D: clicks become sparse tokens, the mask prompt a dense embedding.

Source: SAM-Med3D `segment_anything/modeling/prompt_encoder3D.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sammed3d.nets.common import LayerNorm3d

NOT_A_POINT = -1
"""Label of the padding point."""


class PositionEncoding3d(nn.Module):
    """Random Fourier features of coordinates in [0, 1]^3: cat(sin, cos, sin), 3 x 128 channels."""

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, frequencies))

    def forward(self, coords: Tensor) -> Tensor:
        """(..., 3) -> (..., 3 * frequencies), in the precision of the matrix also under autocast."""
        matrix = self.positional_encoding_gaussian_matrix
        with torch.autocast(coords.device.type, enabled=False):
            angle = 2 * math.pi * ((2 * coords - 1) @ matrix)
        return torch.cat([angle.sin(), angle.cos(), angle.sin()], dim=-1)

    def grid(self, size: int) -> Tensor:
        """Encode the centres of a size³ grid: (1, C, size, size, size).

        The first two axes are swapped against those of the clicks: index (i, j, k) is encoded as (j, i, k). The
        published weights were trained so.
        """
        matrix = self.positional_encoding_gaussian_matrix
        centre = (torch.arange(size, dtype=matrix.dtype, device=matrix.device) + 0.5) / size
        i, j, k = torch.meshgrid(centre, centre, centre, indexing="ij")
        encoded: Tensor = self(torch.stack([j, i, k], dim=-1))
        return encoded.permute(3, 0, 1, 2)[None]


class PromptEncoder3d(nn.Module):
    """Encode clicks and mask prompts for the mask decoder.

    Args:
        channels: of tokens and embedding, 384.
        image_size: edge length of the patch, voxels; click coordinates are divided by it.
        grid: edge length of the image embedding.
    """

    def __init__(self, channels: int, image_size: int, grid: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid = grid
        self.pe_layer = PositionEncoding3d(channels // 3)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(2))  # negative, positive
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv3d(1, 4, kernel_size=2, stride=2),
            LayerNorm3d(4),
            nn.GELU(),
            nn.Conv3d(4, 16, kernel_size=2, stride=2),
            LayerNorm3d(16),
            nn.GELU(),
            nn.Conv3d(16, channels, kernel_size=1),
        )

    def dense_position(self) -> Tensor:
        """Position encoding of the image embedding: (1, C, g, g, g)."""
        return self.pe_layer.grid(self.grid)

    def sparse(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Encode clicks: (B, N, 3) voxel indices and (B, N) labels 1/0/-1 -> tokens (B, N + 1, C).

        One padding point is appended, as published. N = 0 gives no token at all (mask prompt only).
        """
        coords = coords.to(self.no_mask_embed.weight.dtype)  # voxel indices do not fit half precision
        if coords.shape[1] == 0:
            return coords.new_zeros(len(coords), 0, self.no_mask_embed.embedding_dim)
        coords = torch.cat([coords + 0.5, coords.new_zeros(len(coords), 1, 3)], dim=1)
        labels = torch.cat([labels, labels.new_full((len(labels), 1), NOT_A_POINT)], dim=1)[..., None]
        tokens: Tensor = self.pe_layer(coords / self.image_size)
        tokens = torch.where(labels == NOT_A_POINT, self.not_a_point_embed.weight, tokens)
        for label, embedding in enumerate(self.point_embeddings.children()):
            tokens = torch.where(labels == label, tokens + embedding.get_parameter("weight"), tokens)
        return tokens

    def dense(self, low_res: Tensor | None, batch: int) -> Tensor:
        """Encode low-res logits (B, 1, 4g, 4g, 4g) -> (B, C, g, g, g); None gives `no_mask_embed`.

        The first click of an object passes zeros, not None: SAM-Med3D never trained `no_mask_embed`.
        """
        if low_res is None:
            constant = self.no_mask_embed.weight.view(1, -1, 1, 1, 1)
            return constant.expand(batch, -1, self.grid, self.grid, self.grid)
        embedded: Tensor = self.mask_downscaling(low_res)
        return embedded
