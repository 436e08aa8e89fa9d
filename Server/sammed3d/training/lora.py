"""Low-rank updates (LoRA) of the attention of an image encoder, to be trained.

As BoSAM has them: W_q <- W_q + B_q A_q and W_v <- W_v + B_v A_v in every block, without scaling; here also for k.
`zoo/lora.py` knows their files.

Source: BoSAM `sam_model.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sammed3d.errors import ModelError
from sammed3d.zoo.adapters.lora import PARTS, merged_weights


class LoraLinear(nn.Module):
    """A qkv layer with low-rank updates of some of its three parts.

    Args:
        linear: the layer; stays as it is.
        rank: rank of the updates.
        targets: some of "q", "k", "v".

    The updates begin as nothing: B is zero. (BoSAM draws both matrices, and so begins elsewhere than its model.)
    """

    def __init__(self, linear: nn.Linear, rank: int, targets: Sequence[str]) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self._width = linear.in_features
        self._rows = linear.out_features // len(PARTS)
        self.a = nn.ParameterDict({part: nn.Parameter(torch.empty(rank, self._width)) for part in targets})
        self.b = nn.ParameterDict({part: nn.Parameter(torch.zeros(self._rows, rank)) for part in targets})
        for matrix in self.a.values():
            nn.init.trunc_normal_(matrix, std=0.02)

    @property
    def weight(self) -> Tensor:
        """The layer's weight with its updates: what attention multiplies with."""
        updates = [
            self.b[part] @ self.a[part] if part in self.a else self.linear.weight.new_zeros(self._rows, self._width)
            for part in PARTS
        ]
        return self.linear.weight + torch.cat(updates)

    @property
    def bias(self) -> Tensor:
        """The layer's bias."""
        return self.linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, updated."""
        return nn.functional.linear(x, self.weight, self.bias)


def add_lora(network: nn.Module, rank: int, targets: Sequence[str]) -> list[nn.Parameter]:
    """Put updates into all attention layers of a network's image encoder, and freeze everything else.

    Returns:
        The parameters that are left to train.

    Raises:
        ModelError: it has none of these layers.
    """
    network.requires_grad_(False)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if name == "qkv" and isinstance(child, nn.Linear):
                setattr(module, name, LoraLinear(child, rank, targets))
    left = [p for p in network.parameters() if p.requires_grad]
    if not left:
        raise ModelError(
            f"Low-rank updates (lora_rank) are of attention layers (qkv), and {type(network).__name__} has none. "
            "Choose another network, or train without them."
        )
    return left


def lora_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the matrices: `....attn.qkv.lora_q.a` and so on."""
    return {
        f"{name}.lora_{part}.{side}": matrix.detach()
        for name, module in network.named_modules()
        if isinstance(module, LoraLinear)
        for side, matrices in (("a", module.a), ("b", module.b))
        for part, matrix in matrices.items()
    }


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights under their usual keys, with updates merged."""
    updates = lora_weights(network)
    weights = {
        key.replace(".qkv.linear.", ".qkv."): value.detach()
        for key, value in network.state_dict().items()
        if not re.search(r"\.qkv\.[ab]\.[qkv]$", key)
    }
    return merged_weights(weights, updates)
