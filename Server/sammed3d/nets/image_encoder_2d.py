"""The 2-D image encoder of SAM, with the adapters of SAM-Med2D.

Source: `segment_anything/modeling/image_encoder.py` and SAM-Med2D's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.common import ChannelNorm, MLPBlock, relative


class Attention2d(nn.Module):
    """Multi-head self-attention with decomposed relative position, in zero-padded square windows.

    Args:
        width: channels C of a token.
        heads: number of heads H.
        window: edge length n of the windows; 0 for a single window that is the whole grid.
        grid: edge length of the grid of tokens.
    """

    def __init__(self, width: int, heads: int, window: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window or grid
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        table = (2 * self.window - 1, width // heads)
        self.rel_pos_h = nn.Parameter(torch.zeros(table))
        self.rel_pos_w = nn.Parameter(torch.zeros(table))

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows: (B, H, W, C) -> the same shape. Padded tokens take part, as published."""
        n = self.window
        batch, height, width, channels = x.shape
        x = functional.pad(x, (0, 0, 0, -width % n, 0, -height % n))
        rows, columns = x.shape[1] // n, x.shape[2] // n
        x = x.view(batch, rows, n, columns, n, channels).transpose(2, 3).reshape(-1, n, n, channels)
        x = self._attend(x)
        x = x.view(batch, rows, columns, n, n, channels).transpose(2, 3)
        return x.reshape(batch, rows * n, columns * n, channels)[:, :height, :width]

    def _attend(self, x: Tensor) -> Tensor:
        count, n, _, channels = x.shape
        qkv = self.qkv(x).view(count, n * n, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        query = q.unflatten(2, (n, n))
        in_h = torch.einsum("nzhwc,hkc->nzhwk", query, relative(self.rel_pos_h, n).to(q.dtype))
        in_w = torch.einsum("nzhwc,wkc->nzhwk", query, relative(self.rel_pos_w, n).to(q.dtype))
        bias = (in_h[..., :, None] + in_w[..., None, :]).flatten(4).flatten(2, 3)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(count, n, n, channels))
        return projected


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
            nn.ConvTranspose2d(width, width, kernel_size=4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        image = x.permute(0, 3, 1, 2)
        gated = self.channel(image.mean(dim=(2, 3)))[:, :, None, None] * image
        result: Tensor = self.norm(x + self.spatial(gated).permute(0, 2, 3, 1))
        return result


class Block2d(nn.Module):
    """Transformer block; with an adapter beside the MLP in SAM-Med2D."""

    def __init__(self, width: int, heads: int, window: int, grid: int, *, adapter: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention2d(width, heads, window, grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, 4 * width, nn.GELU())
        self.adapts = adapter
        if adapter:
            self.Adapter = Adapter(width)

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
    """Turn a normalised RGB image into an image embedding."""

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        depth: int,
        heads: int,
        window: int,
        global_blocks: tuple[int, ...],
        out_channels: int,
        adapter: bool,
    ) -> None:
        super().__init__()
        grid = image_size // 16
        self.patch_embed = PatchEmbed2d(16, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        self.blocks = nn.ModuleList(
            Block2d(width, heads, 0 if index in global_blocks else window, grid, adapter=adapter)
            for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out_channels, kernel_size=1, bias=False),
            ChannelNorm(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            ChannelNorm(out_channels),
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
