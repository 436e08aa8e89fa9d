"""What the networks compute cheaply, written out as published: padded windows, every key, every logit.

Slow and large (2744 x 2744 logits for each head and window in 3-D), and equal to `attention_3d.py`,
`image_encoder_2d.py`, `image_encoder_3d.PatchEmbed3d`, `common.Upsample` and `common.Doubling`. Parity tests and
benchmarks compare with it; nothing else uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.attention_3d import Attention3d
from sammed3d.nets.common import Doubling, Upsample, relative
from sammed3d.nets.image_encoder_2d import Attention2d
from sammed3d.nets.image_encoder_3d import PatchEmbed3d


class LiteralAttention3d(Attention3d):
    """`Attention3d` with zero-padded windows, same parameters and keys."""

    def forward(self, x: Tensor) -> Tensor:
        """Attend within zero-padded windows: (B, D, H, W, C) -> the same shape."""
        batch, *grid, channels = x.shape
        n = self.window
        padding = [-size % n for size in grid]
        x = functional.pad(x, (0, 0, 0, padding[2], 0, padding[1], 0, padding[0]))
        counts = [size // n for size in x.shape[1:4]]
        x = x.view(batch, counts[0], n, counts[1], n, counts[2], n, channels)
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, n, n, n, channels)
        x = self._attend_padded(x)
        x = x.view(batch, *counts, n, n, n, channels).permute(0, 1, 4, 2, 5, 3, 6, 7)
        x = x.reshape(batch, counts[0] * n, counts[1] * n, counts[2] * n, channels)
        return x[:, : grid[0], : grid[1], : grid[2]].contiguous()

    def _attend_padded(self, x: Tensor) -> Tensor:
        windows, n, _, _, channels = x.shape
        per_head = channels // self.heads
        qkv = self.qkv(x).view(windows, n**3, 3, self.heads, per_head).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, windows * self.heads, n**3, per_head)
        logits = (q * per_head**-0.5) @ k.transpose(1, 2)
        row = q.view(-1, n, n, n, per_head)
        in_d = torch.einsum("bdhwc,dkc->bdhwk", row, relative(self.rel_pos_d, n))
        in_h = torch.einsum("bdhwc,hkc->bdhwk", row, relative(self.rel_pos_h, n))
        in_w = torch.einsum("bdhwc,wkc->bdhwk", row, relative(self.rel_pos_w, n))
        logits = (
            logits.view(-1, n, n, n, n, n, n)
            + in_d[:, :, :, :, None, None, :]
            + in_h[:, :, :, None, :, None, :]
            + in_w[:, :, :, None, None, :, :]
        ).view(-1, n**3, n**3)
        out = (logits.softmax(dim=-1) @ v).view(windows, self.heads, n**3, per_head)
        result: Tensor = self.proj(out.transpose(1, 2).reshape(windows, n, n, n, channels))
        return result


class LiteralAttention2d(Attention2d):
    """`Attention2d` with zeros that go through its layers as any other token, same parameters and keys."""

    def forward(self, x: Tensor) -> Tensor:
        """Attend within zero-padded windows: (B, H, W, C) -> the same shape."""
        batch, height, width, channels = x.shape
        n = self.window
        x = functional.pad(x, (0, 0, 0, -width % n, 0, -height % n))
        rows, columns = x.shape[1] // n, x.shape[2] // n
        windows = x.view(batch, rows, n, columns, n, channels).transpose(2, 3).reshape(-1, n, n, channels)
        out = self._attend_padded(windows).view(batch, rows, columns, n, n, channels).transpose(2, 3)
        return out.reshape(batch, rows * n, columns * n, channels)[:, :height, :width].contiguous()

    def _attend_padded(self, x: Tensor) -> Tensor:
        windows, n, _, channels = x.shape
        per_head = channels // self.heads
        qkv = self.qkv(x).view(windows, n**2, 3, self.heads, per_head).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, windows * self.heads, n**2, per_head)
        logits = (q * per_head**-0.5) @ k.transpose(1, 2)
        row = q.view(-1, n, n, per_head)
        in_h = torch.einsum("bhwc,hkc->bhwk", row, relative(self.rel_pos_h, n))
        in_w = torch.einsum("bhwc,wkc->bhwk", row, relative(self.rel_pos_w, n))
        logits = logits.view(-1, n, n, n, n) + in_h[:, :, :, :, None] + in_w[:, :, :, None, :]
        out = (logits.view(-1, n**2, n**2).softmax(dim=-1) @ v).view(windows, self.heads, n**2, per_head)
        result: Tensor = self.proj(out.transpose(1, 2).reshape(windows, n, n, channels))
        return result


class LiteralUpsample(Upsample):
    """`Upsample` by torch's general kernel of transposed convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, channels out, ... times the factors)."""
        convolve = functional.conv_transpose2d if len(self.factors) == 2 else functional.conv_transpose3d
        return convolve(x, self.weight, self.bias, stride=self.factors)


class LiteralDoubling(Doubling):
    """`Doubling` by torch's general kernel of transposed convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return functional.conv_transpose2d(x, self.weight, stride=2, padding=1)


class LiteralPatchEmbed3d(PatchEmbed3d):
    """`PatchEmbed3d` as a convolution."""

    def forward(self, patch: Tensor) -> Tensor:
        """(B, 1, S, S, S) -> (B, D, H, W, C)."""
        tokens: Tensor = self.proj(patch)
        return tokens.permute(0, 2, 3, 4, 1)


LITERAL: dict[type[nn.Module], type[nn.Module]] = {
    Attention3d: LiteralAttention3d,
    Attention2d: LiteralAttention2d,
    Upsample: LiteralUpsample,
    Doubling: LiteralDoubling,
    PatchEmbed3d: LiteralPatchEmbed3d,
}
"""The long form of what is computed cheaply."""


def make_literal(network: nn.Module) -> None:
    """Make a network compute the long way, in place."""
    for module in network.modules():
        module.__class__ = LITERAL.get(type(module), type(module))
