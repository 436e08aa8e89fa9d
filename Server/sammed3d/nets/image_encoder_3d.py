"""The 3-D image encoder (a plain vision transformer) of SAM-Med3D and FastSAM3D.

Source: `segment_anything/modeling/image_encoder3D.py` of SAM-Med3D and of FastSAM3D. In FastSAM3D, teacher and student
alike, the MLP's residual is taken after normalisation: the same weights give other numbers in either code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.attention_3d import Attention3d
from sammed3d.nets.common import ChannelNorm, MLPBlock
from sammed3d.nets.config import EncoderConfig


class ImageEncoder3d(nn.Module):
    """Turn a normalised patch into an image embedding."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        grid, width = config.grid, config.width
        self.patch_embed = PatchEmbed3d(config.patch_shape, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, width))
        self.blocks = nn.ModuleList(
            Block3d(config, 0 if index in config.global_blocks else config.window, index >= config.mlp_only_blocks)
            for index in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv3d(width, config.out_channels, kernel_size=1, bias=False),
            ChannelNorm(config.out_channels),
            nn.Conv3d(config.out_channels, config.out_channels, kernel_size=3, padding=1, bias=False),
            ChannelNorm(config.out_channels),
        )

    def forward(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """(B, 1, S, S, S) -> (B, 384, S/16, S/16, S/16); `between_layers` may raise to stop early."""
        x = self.patch_embed(patch) + self.pos_embed
        for block in self.blocks:
            if between_layers is not None:
                between_layers()
            x = block(x)
        embedding: Tensor = self.neck(x.permute(0, 4, 1, 2, 3))
        return embedding


class PatchEmbed3d(nn.Module):
    """Cut the input into cubes and project each to a token: (B, 1, S, S, S) -> (B, D, H, W, C)."""

    def __init__(self, patch_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, width, kernel_size=patch_shape, stride=patch_shape)

    def forward(self, patch: Tensor) -> Tensor:
        """As a matrix product: the same numbers as the convolution, which in bfloat16 takes a CPU 15 times as long."""
        d, h, w = self.proj.kernel_size
        grid = patch.shape[2] // d, patch.shape[3] // h, patch.shape[4] // w
        cubes = patch.reshape(len(patch), grid[0], d, grid[1], h, grid[2], w).permute(0, 1, 3, 5, 2, 4, 6)
        cubes = cubes.reshape(len(patch), *grid, d * h * w)
        return functional.linear(cubes, self.proj.weight.flatten(1), self.proj.bias)


class Block3d(nn.Module):
    """Transformer block: attention, then MLP, both on normalised input with a residual.

    Args:
        config: Sizes of the encoder.
        window: Edge length of attention windows; 0 for the whole grid.
        attends: False for a block that is an MLP alone.
    """

    def __init__(self, config: EncoderConfig, window: int, attends: bool) -> None:
        super().__init__()
        self.normalised_residual = config.normalised_residual
        self.attends = attends
        if attends:
            self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
            self.attn = Attention3d(config.width, config.heads, window, config.grid)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, 4 * config.width, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        if self.attends:
            x = x + self.attn(self.norm1(x))
        normalised = self.norm2(x)
        result: Tensor = (normalised if self.normalised_residual else x) + self.mlp(normalised)
        return result
