"""Small building blocks that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayerNorm3d(nn.Module):
    """Layer normalisation over the channel axis of a (B, C, X, Y, Z) tensor, eps 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels_last = nn.functional.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6)
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


class UpsampleByTwo(nn.ConvTranspose3d):
    """`ConvTranspose3d` with kernel 2 and stride 2, computed as the matrix product that it is.

    Its blocks do not overlap, so every input voxel makes its own 2x2x2 output voxels. Same keys, same numbers; on a
    CPU several times faster than the general kernel.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=2, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: ARG002 - base signature
        b, _, i, j, k = x.shape
        blocks = x.movedim(1, -1) @ self.weight.flatten(1)  # (B, X, Y, Z, C * 8)
        if self.bias is not None:
            blocks = blocks + self.bias.repeat_interleave(8)
        blocks = blocks.view(b, i, j, k, self.out_channels, 2, 2, 2)
        return blocks.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(b, self.out_channels, 2 * i, 2 * j, 2 * k)
