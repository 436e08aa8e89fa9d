"""Small building blocks that several networks share, for two and three spatial dimensions."""

from __future__ import annotations

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


class UpsampleByTwo(nn.Module):
    """A transposed convolution with kernel 2 and stride 2, computed as the matrix product that it is.

    Its blocks do not overlap, so every input voxel makes its own 2x2(x2) output voxels. Keys, shapes and numbers are
    those of `ConvTranspose2d` and `ConvTranspose3d`; on a CPU it is several times faster than their general kernel.
    """

    def __init__(self, channels_in: int, channels_out: int, dimensions: int) -> None:
        super().__init__()
        general = (nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d)(channels_in, channels_out, 2, 2)
        self.weight, self.bias = general.weight, general.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, channels out, ... doubled)."""
        batch, _, *grid = x.shape
        dimensions, channels = len(grid), self.weight.shape[1]
        blocks = x.movedim(1, -1) @ self.weight.flatten(1)  # (B, ..., channels * 2^dimensions)
        if self.bias is not None:
            blocks = blocks + self.bias.repeat_interleave(2**dimensions)
        blocks = blocks.view(batch, *grid, channels, *[2] * dimensions)
        interleaved = [axis for d in range(dimensions) for axis in (1 + d, dimensions + 2 + d)]
        return blocks.permute(0, dimensions + 1, *interleaved).reshape(batch, channels, *(2 * n for n in grid))


def relative(table: Tensor, n: int) -> Tensor:
    """Look a relative-position table (2n - 1, c) up for all pairs: (n, n, c), entry [i, j] = table[i - j + n - 1].

    A table of another length is linearly interpolated first, as published.
    """
    if len(table) != 2 * n - 1:
        table = functional.interpolate(table.T[None], size=2 * n - 1, mode="linear")[0].T
    index = torch.arange(n, device=table.device)
    return table[index[:, None] - index[None, :] + n - 1]


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
