"""The 3-D attention written out as published: padded windows, every key, every logit.

Slow and large (2744 x 2744 logits for each head and window), and equal to `attention_3d.py`. Parity tests and the
encoder benchmark compare with it; nothing else uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.attention_3d import Attention3d
from sammed3d.nets.common import relative


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


def make_literal(network: nn.Module) -> None:
    """Make all 3-D attention layers of a network compute the long way, in place."""
    for module in network.modules():
        if type(module) is Attention3d:
            module.__class__ = LiteralAttention3d
