"""Matrix products on a CPU, by the faster of two libraries that torch brings; and their weights in half precision.

torch's linear layers call MKL. On AMD's processors with AVX-512 that leaves a part of what they can do unused, and
oneDNN, with weights in an order of its own, is 1.1 to 2.4 times as fast; on those without AVX-512 MKL is as fast or
faster. Which one is used follows from the processor alone, not from a measurement: the order of sums differs, and the
same machine has to answer with the same bits tomorrow. Either way it is float32 arithmetic.

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

from sammed3d.nets.common import Doubling
from sammed3d.predictors import processor

ROWS, WIDTH = 512, 768
"""Tokens of a patch and channels of a token in SAM-Med3D's encoder: what weights are packed for and measured with."""
LEAST = 256
"""Channels in and out from which on a layer is worth it."""


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


class PackedDoubling(nn.Module):
    """A doubling of the resolution whose product is a `PackedLinear`.

    Args:
        doubling: what it replaces; its weights are not kept.
    """

    def __init__(self, doubling: Doubling) -> None:
        super().__init__()
        of_blocks = doubling.weight.detach().flatten(1).T.contiguous()  # (channels x 4 x 4, channels)
        linear = nn.Linear(of_blocks.shape[1], of_blocks.shape[0], bias=False)
        linear.weight = nn.Parameter(of_blocks)
        self.product = PackedLinear(linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        blocks = self.product(x.flatten(2).transpose(1, 2))
        return Doubling.joined(blocks.transpose(1, 2), x.shape)


def pays() -> bool:
    """Whether linear layers are packed on this machine."""
    return processor.is_slow_with_mkl() and works()


@functools.cache
def works() -> bool:
    """Whether this torch can pack weights here."""
    try:
        with torch.inference_mode():
            PackedLinear(nn.Linear(LEAST, LEAST))(torch.ones(1, LEAST))
    except (RuntimeError, AttributeError):
        return False
    return True


def pack(network: nn.Module) -> int:
    """Replace the large products of an image encoder, if that is faster here; returns how many were replaced.

    Args:
        network: on the CPU, for inference in float32; its weights can be neither saved nor trained afterwards.
    """
    encoder = getattr(network, "image_encoder", None)
    if encoder is None or not pays():
        return 0
    large = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if (type(child) is nn.Linear and min(child.in_features, child.out_features) >= LEAST)
        or (type(child) is Doubling and len(child.weight) >= LEAST)
    ]
    for parent, name, child in large:
        setattr(parent, name, PackedDoubling(child) if isinstance(child, Doubling) else PackedLinear(child))
    return len(large)


def narrow(network: nn.Module, kind: torch.dtype) -> int:
    """Keep the weights of an image encoder's products in the type that autocast multiplies them in; returns how many.

    It would make them anew for each patch, a tenth to a sixth of the time, beside those in float32, which take twice
    the memory. The answers keep their bits.

    Args:
        network: for inference under autocast; its weights can be neither saved nor trained afterwards.
        kind: bfloat16 or float16.
    """
    encoder = getattr(network, "image_encoder", nn.Module())
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear | Doubling)]
    for layer in layers:
        layer.to(kind)
    return len(layers)


@dataclass(frozen=True)
class Rates:
    """Billions of float32 operations a second, with all threads.

    Attributes:
        plain: torch's linear layer.
        packed: oneDNN with packed weights; None where this torch or this machine has no such thing.
    """

    plain: float
    packed: float | None

    def __str__(self) -> str:
        if self.packed is None:
            return f"torch's own, {self.plain:.0f} GFLOP/s (it has no packed weights here)"
        chosen = "oneDNN's" if pays() else "torch's own"
        return f"{chosen} (torch's own {self.plain:.0f}, oneDNN with packed weights {self.packed:.0f} GFLOP/s)"


def rates() -> Rates:
    """Measure both libraries, in some tens of milliseconds."""
    with torch.inference_mode():
        linear, x = nn.Linear(WIDTH, WIDTH), torch.ones(ROWS, WIDTH)
        if not works():
            return Rates(_rates([linear], x)[0], None)
        return Rates(*_rates([linear, PackedLinear(linear)], x))


def _rates(layers: list[nn.Module], x: Tensor) -> list[float]:
    """Return the best rates of layers that take turns, in GFLOP/s."""
    seconds = [math.inf] * len(layers)
    for _ in range(5):
        for n, layer in enumerate(layers):
            begin = time.perf_counter()
            layer(x)
            seconds[n] = min(seconds[n], time.perf_counter() - begin)
    return [2e-9 * ROWS * WIDTH * WIDTH / each for each in seconds]
