"""Self-attention of the 3-D image encoder, with the published relative position and padding, computed cheaply.

Two properties of the published code look like slips, but the released weights were trained with them and need them:

1. **Relative position.** With q[d, h, w] the unscaled query of one head and R_t[i, j] = table_t[(i - j) + n - 1], the
   logits of query (d, h, w) and key (kd, kh, kw) get three terms

       q[d, h, w] . R_d[d, kw]  +  q[d, h, kd] . R_h[h, kw]  +  q[d, h, kh] . R_w[kh, kw]

   (the "decomposed" form would use R_d[d, kd] + R_h[h, kh] + R_w[w, kw], all with q[d, h, w]). The second and third
   term are shared by all queries of a row (d, h).

2. **Padding.** A grid that the window does not divide is padded with zeros at the end of each axis, without a mask.
   Padded tokens take part: their query, key and value are the biases b_q, b_k, b_v of the qkv layer.

All padded keys of a window share one key and one value, so they act like a single virtual key whose logit is the
log-sum-exp of theirs. The relative-position terms of that sum separate over kd and kh. On the 8x8x8 grid with window
14 this leaves 512 queries x 513 keys instead of 2744 x 2744, with equal results. `literal.py` has the long form.

Source: SAM-Med3D `segment_anything/modeling/image_encoder3D.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.common import WindowAttention, relative, wide


class Attention3d(WindowAttention):
    """Self-attention in cubic windows of a cubic grid of tokens; arguments as `WindowAttention`."""

    rel_pos_d: nn.Parameter
    rel_pos_h: nn.Parameter
    rel_pos_w: nn.Parameter

    def __init__(self, width: int, heads: int, window: int, grid: int) -> None:
        super().__init__(width, heads, window, grid, "dhw")

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows: (B, D, H, W, C) -> the same shape."""
        qkv = self.qkv(x)
        out = qkv.new_empty(x.shape)
        for windows in equal_windows(x.shape[1:4], self.window):
            out[windows.slices] = windows.join(self._attend(windows.split(qkv[windows.slices])), len(x))
        projected: Tensor = self.proj(out)
        return projected

    def _attend(self, qkv: Tensor) -> Tensor:
        """Attention in N windows of d x h x w real tokens: (N, d, h, w, 3C) -> (N, d, h, w, C)."""
        count, d, h, w, triple = qkv.shape
        channels = triple // 3 // self.heads
        q, k, v = qkv.reshape(count, d * h * w, 3, self.heads, channels).permute(2, 0, 3, 1, 4)
        pad_q, pad_k, pad_v = self.qkv.bias.to(qkv.dtype).view(3, self.heads, 1, channels)
        bias, padded = self._position_bias(q.unflatten(2, (d, h, w)), pad_q)
        if padded is not None:
            k = torch.cat([k, pad_k.expand(count, -1, -1, -1)], dim=2)
            v = torch.cat([v, pad_v.expand(count, -1, -1, -1)], dim=2)
            bias = torch.cat([bias, padded], dim=-1)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return out.transpose(1, 2).reshape(count, d, h, w, triple // 3)

    def _position_bias(self, q: Tensor, pad_q: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits that relative position adds.

        Args:
            q: unscaled queries (N, H, d, h, w, c) of the real tokens.
            pad_q: query of a padded token (H, 1, c).

        Returns:
            (N, H, dhw, dhw) for the real keys, and (N, H, dhw, 1) for the virtual key that stands for all padded
            ones, or None where the window has no padding.
        """
        n = self.window
        d, h, w, c = q.shape[2:]
        row = q
        if w < n:
            row = torch.cat([q, pad_q[:, None, None].expand(*q.shape[:4], n - w, c)], dim=4)
        in_d = torch.einsum("nzdhwc,dkc->nzdhwk", q, relative(self.rel_pos_d, n)[:d].to(q.dtype))
        in_h = torch.einsum("nzdhpc,hkc->nzdhpk", row, relative(self.rel_pos_h, n)[:h].to(q.dtype))
        in_w = torch.einsum("nzdhpc,pkc->nzdhpk", row, relative(self.rel_pos_w, n).to(q.dtype))
        in_d, in_h, in_w = wide(in_d), wide(in_h), wide(in_w)
        # Axes from here on: n, head, d, h (of the query), w (of the query), kd, kh, kw.
        shared = in_h[:, :, :, :, :d, None, :w] + in_w[:, :, :, :, None, :h, :w]
        bias = in_d[..., None, None, :w] + shared[:, :, :, :, None]
        padded = None if d == h == w == n else _padded_mass(in_d, in_h, in_w, (d, h, w))
        return bias.flatten(5).flatten(2, 4), None if padded is None else padded.flatten(2, 4)[..., None]


def _padded_mass(in_d: Tensor, in_h: Tensor, in_w: Tensor, real: tuple[int, int, int]) -> Tensor:
    """Log-sum-exp of the position logits of all padded keys, for every query: (N, H, d, h, w).

    A key is padded if kd >= d, or kh >= h, or kw >= w. `in_h` depends on (kd, kw) and `in_w` on (kh, kw) only, so the
    sums over kd and kh are taken apart.
    """
    d, h, w = real
    n = in_h.shape[-1]
    inside_d, any_d = in_h[..., :d, :].logsumexp(-2), in_h.logsumexp(-2)
    any_h = in_w.logsumexp(-2)
    masses = []  # (kw range, log-mass of its padded (kd, kh) pairs), each (N, H, d, h, kw)
    if w < n:
        masses.append((slice(w, n), any_d + any_h))
    if d < n:
        masses.append((slice(0, w), in_h[..., d:, :].logsumexp(-2) + any_h))
    if h < n:
        masses.append((slice(0, w), inside_d + in_w[..., h:, :].logsumexp(-2)))
    return torch.cat([in_d[..., kw] + mass[..., None, kw] for kw, mass in masses], dim=-1).logsumexp(-1)


@dataclass(frozen=True)
class EqualWindows:
    """Windows of one extent that lie side by side in a grid.

    Attributes:
        slices: Index of the windows' tokens in a (B, D, H, W, C) tensor.
        counts: Numbers of windows along D, H, W.
        extent: Tokens of each window along D, H, W, padding not counted.
    """

    slices: tuple[slice, ...]
    counts: tuple[int, int, int]
    extent: tuple[int, int, int]

    def split(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) -> (B * windows, d, h, w, C)."""
        (a, b, c), (d, h, w) = self.counts, self.extent
        return x.reshape(len(x), a, d, b, h, c, w, -1).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, d, h, w, x.shape[-1])

    def join(self, windows: Tensor, batch: int) -> Tensor:
        """Undo `split`."""
        (a, b, c), (d, h, w) = self.counts, self.extent
        x = windows.view(batch, a, b, c, d, h, w, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return x.reshape(batch, a * d, b * h, c * w, -1)


def equal_windows(grid: Sequence[int], window: int) -> Iterator[EqualWindows]:
    """Partition a grid of tokens: whole windows first, then those that the end of an axis cuts short."""
    per_axis = []
    for size in grid:
        whole, rest = divmod(size, window)
        spans = [(0, whole, window)] if whole else []
        per_axis.append(spans + ([(whole * window, 1, rest)] if rest else []))
    for d, h, w in itertools.product(*per_axis):
        slices = tuple(slice(begin, begin + count * size) for begin, count, size in (d, h, w))
        yield EqualWindows((slice(None), *slices), (d[1], h[1], w[1]), (d[2], h[2], w[2]))
