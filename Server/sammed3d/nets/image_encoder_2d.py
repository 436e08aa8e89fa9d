"""The 2-D image encoder of SAM, with the adapters of SAM-Med2D.

Source: `segment_anything/modeling/image_encoder.py` and SAM-Med2D's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.common import ChannelNorm, Doubling, MLPBlock, WindowAttention, relative, wide
from sammed3d.nets.config import EncoderConfig


class Attention2d(WindowAttention):
    """Self-attention with decomposed relative position, in zero-padded square windows; as `WindowAttention`."""

    rel_pos_h: nn.Parameter
    rel_pos_w: nn.Parameter

    def __init__(self, width: int, heads: int, window: int, grid: int) -> None:
        super().__init__(width, heads, window, grid, "hw")

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows: (B, H, W, C) -> the same shape.

        Tokens of zeros that fill the last windows take part, as published. Their query, key and value are the biases,
        so they go through no layer.
        """
        n = self.window
        batch, height, width, channels = x.shape
        rows, columns = -(-height // n), -(-width // n)
        qkv = self.qkv(x)
        if (rows * n, columns * n) != (height, width):
            filled = self.qkv.bias.to(qkv.dtype).expand(batch, rows * n, columns * n, -1).clone()
            filled[:, :height, :width] = qkv
            qkv = filled
        windows = qkv.view(batch, rows, n, columns, n, -1).transpose(2, 3).reshape(-1, n, n, qkv.shape[-1])
        out = self._attend(windows).view(batch, rows, columns, n, n, channels).transpose(2, 3)
        projected: Tensor = self.proj(out.reshape(batch, rows * n, columns * n, channels)[:, :height, :width])
        return projected

    def _attend(self, qkv: Tensor) -> Tensor:
        count, n, _, triple = qkv.shape
        channels = triple // 3
        q, k, v = qkv.view(count, n * n, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        query = q.unflatten(2, (n, n))
        in_h = torch.einsum("nzhwc,hkc->nzhwk", query, relative(self.rel_pos_h, n).to(q.dtype))
        in_w = torch.einsum("nzhwc,wkc->nzhwk", query, relative(self.rel_pos_w, n).to(q.dtype))
        bias = (wide(in_h)[..., :, None] + wide(in_w)[..., None, :]).flatten(4).flatten(2, 3)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return out.transpose(1, 2).reshape(count, n, n, channels)


class Adapter(nn.Module):
    """SAM-Med2D's adapter: channel attention, then a small spatial hourglass, added and normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.channel = nn.Sequential(
            nn.Linear(width, width // 4, bias=False), nn.ReLU(), nn.Linear(width // 4, width, bias=False), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            Doubling(width),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        image = x.permute(0, 3, 1, 2)
        gated = (self.channel(image.mean(dim=(2, 3)))[:, :, None, None] * image).contiguous()
        result: Tensor = self.norm(x + self.spatial(gated).permute(0, 2, 3, 1))
        return result


class Block2d(nn.Module):
    """Transformer block; with an adapter beside the MLP in SAM-Med2D."""

    def __init__(self, config: EncoderConfig, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention2d(config.width, config.heads, window, config.grid)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, 4 * config.width, nn.GELU())
        self.adapts = config.adapter
        if config.adapter:
            self.Adapter = Adapter(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        normalised = self.norm2(x)
        x = x + self.mlp(normalised)
        return x + self.Adapter(normalised) if self.adapts else x


class PatchEmbed2d(nn.Module):
    """Cut the image into squares and project each to a token: (B, 3, S, S) -> (B, H, W, C)."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.proj(image)
        return tokens.permute(0, 2, 3, 1)


class ImageEncoder2d(nn.Module):
    """Turn a normalised image of three colours into an image embedding."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed2d(config.patch_size, config.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.width))
        self.blocks = nn.ModuleList(
            Block2d(config, 0 if index in config.global_blocks else config.window) for index in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, config.out_channels, kernel_size=1, bias=False),
            ChannelNorm(config.out_channels),
            nn.Conv2d(config.out_channels, config.out_channels, kernel_size=3, padding=1, bias=False),
            ChannelNorm(config.out_channels),
        )

    def forward(self, image: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """(B, 3, S, S) -> (B, out_channels, S/16, S/16); `between_layers` may raise to stop early."""
        x = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            if between_layers is not None:
                between_layers()
            x = block(x)
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return embedding
