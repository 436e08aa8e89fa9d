"""Small building blocks that several networks share, for two and three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    """Layer normalisation over the channel axis of a (B, C, ...) tensor, eps 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels_last = functional.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6)
        return channels_last.movedim(-1, 1)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them: the MLP of a transformer block."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.lin2(self.act(self.lin1(x)))
        return result


class Upsample(nn.Module):
    """A transposed convolution whose stride is its kernel, computed as the matrix product that it is.

    Its blocks do not overlap, so every input voxel makes its own block of output voxels. Keys, shapes and numbers are
    those of `ConvTranspose2d` and `ConvTranspose3d`; on a CPU it is several times faster than their general kernel.

    Args:
        channels_in, channels_out: Channels before and after.
        factors: How many times more voxels come out along each of the two or three axes.
    """

    def __init__(self, channels_in: int, channels_out: int, factors: Sequence[int]) -> None:
        super().__init__()
        convolution = nn.ConvTranspose2d if len(factors) == 2 else nn.ConvTranspose3d
        kernel: Any = tuple(factors)
        general = convolution(channels_in, channels_out, kernel, kernel)
        self.factors = tuple(factors)
        self.weight, self.bias = general.weight, general.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, channels out, ... times the factors)."""
        batch, _, *grid = x.shape
        dimensions, channels = len(grid), self.weight.shape[1]
        blocks = x.movedim(1, -1) @ self.weight.flatten(1)  # (B, ..., channels * voxels of a block)
        if self.bias is not None:
            blocks = blocks + self.bias.repeat_interleave(math.prod(self.factors))
        blocks = blocks.view(batch, *grid, channels, *self.factors)
        interleaved = [axis for d in range(dimensions) for axis in (1 + d, dimensions + 2 + d)]
        larger = [n * factor for n, factor in zip(grid, self.factors, strict=True)]
        return blocks.permute(0, dimensions + 1, *interleaved).reshape(batch, channels, *larger)


class Doubling(nn.Module):
    """A transposed convolution with kernel 4, stride 2 and padding 1, as a matrix product whose blocks are then added.

    Key, shape and numbers are those of `ConvTranspose2d` without a bias; on a CPU it takes a third of the time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.ConvTranspose2d(channels, channels, 4, 2, 1, bias=False).weight

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        blocks = x.flatten(2).transpose(1, 2) @ self.weight.flatten(1)  # the weights' own order: nothing is turned
        return self.joined(blocks.transpose(1, 2), x.shape)

    @staticmethod
    def joined(blocks: Tensor, shape: Sequence[int]) -> Tensor:
        """Add blocks (B, C x 4 x 4, H x W), each of which one pixel of an input (B, C, H, W) became."""
        return functional.fold(blocks, (2 * shape[2], 2 * shape[3]), kernel_size=4, padding=1, stride=2)


def relative(table: Tensor, n: int) -> Tensor:
    """Look a relative-position table (2n - 1, c) up for all pairs: (n, n, c), entry [i, j] = table[i - j + n - 1].

    A table of another length is linearly interpolated first, as published.
    """
    if len(table) != 2 * n - 1:
        table = functional.interpolate(table.T[None], size=2 * n - 1, mode="linear")[0].T
    index = torch.arange(n, device=table.device)
    return table[index[:, None] - index[None, :] + n - 1]


def wide(x: Tensor) -> Tensor:
    """At least float32: exponentials are not summed in half precision, nor are small parts of a logit added in it.

    On a CPU such sums, each over a few keys at a time, take half precision three times as long besides.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class WindowAttention(nn.Module):
    """The parameters of multi-head self-attention in windows, with a relative-position table for each axis.

    Args:
        width: channels C of a token.
        heads: number of heads H; each has c = C / H channels.
        window: edge length n of the windows; 0 for a single window that is the whole grid.
        grid: edge length of the grid of tokens.
        axes: letters of the tables, in the order of the grid's axes.
    """

    def __init__(self, width: int, heads: int, window: int, grid: int, axes: str) -> None:
        super().__init__()
        self.heads = heads
        self.window = window or grid
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        for axis in axes:
            table = torch.zeros(2 * self.window - 1, width // heads)
            self.register_parameter(f"rel_pos_{axis}", nn.Parameter(table))
