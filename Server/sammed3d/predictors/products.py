"""Matrix products on a CPU, by the faster of two libraries that torch brings.

torch's linear layers call MKL. On AMD's processors with AVX-512 that uses half of what they can do, and oneDNN, with
weights in an order of its own, takes 0.4 of the time; on those without AVX-512 MKL is as fast or faster. A rule about
names of processors would not hold for long, so a short measurement decides, once in a process. Either way it is float32
arithmetic; the order of sums differs.

The operators belong to torch's compiler and may change: where they do not work, linear layers stay as they are, and
`sammed3d info --machine` says so.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ROWS, WIDTH = 512, 768
"""Tokens of a patch and channels of a token in SAM-Med3D's encoder: what is measured."""
LEAST = 256
"""Channels in and out from which on a layer is worth it."""
GAIN = 1.25
"""How many times as fast oneDNN has to be: noise must not decide, since answers would differ in the last bits."""


@dataclass(frozen=True)
class Rates:
    """Billions of float32 operations a second, with all threads.

    Attributes:
        plain: torch's linear layer.
        packed: oneDNN with packed weights; None where this torch or this machine has no such thing.
    """

    plain: float
    packed: float | None

    @property
    def prefers_packed(self) -> bool:
        """Whether packing pays."""
        return self.packed is not None and self.packed > GAIN * self.plain

    def __str__(self) -> str:
        if self.packed is None:
            return f"torch's own, {self.plain:.0f} GFLOP/s (it has no packed weights here)"
        chosen = "oneDNN's" if self.prefers_packed else "torch's own"
        return f"{chosen} (torch's own {self.plain:.0f}, oneDNN with packed weights {self.packed:.0f} GFLOP/s)"


class PackedLinear(nn.Module):
    """A linear layer for inference in float32 on the CPU, whose weights lie in the order that oneDNN wants.

    Args:
        linear: the layer that it replaces; its weights are not kept.

    Raises:
        RuntimeError, AttributeError: this torch cannot do it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)  # noqa: SLF001

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        result: Tensor = multiply(x, self._weight, self.bias, "none", [], "")
        return result


@functools.cache
def rates() -> Rates:
    """Measure both libraries, in some tens of milliseconds."""
    with torch.inference_mode():
        linear, x = nn.Linear(WIDTH, WIDTH), torch.ones(ROWS, WIDTH)
        try:
            packed = PackedLinear(linear)
            packed(x)
        except (RuntimeError, AttributeError):
            return Rates(_rates([linear], x)[0], None)
        return Rates(*_rates([linear, packed], x))


def pack(network: nn.Module) -> int:
    """Replace the large linear layers of an image encoder, if that is faster here; returns how many were replaced.

    Args:
        network: on the CPU, for inference in float32; its weights can be neither saved nor trained afterwards.
    """
    encoder = getattr(network, "image_encoder", None)
    if encoder is None:
        return 0
    large = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and min(child.in_features, child.out_features) >= LEAST
    ]
    if not large or not rates().prefers_packed:
        return 0
    for parent, name, child in large:
        setattr(parent, name, PackedLinear(child))
    return len(large)


def _rates(layers: list[nn.Module], x: Tensor) -> list[float]:
    """Return the best rates of layers that take turns, in GFLOP/s."""
    seconds = [math.inf] * len(layers)
    for _ in range(5):
        for n, layer in enumerate(layers):
            begin = time.perf_counter()
            layer(x)
            seconds[n] = min(seconds[n], time.perf_counter() - begin)
    return [2e-9 * ROWS * WIDTH * WIDTH / each for each in seconds]
