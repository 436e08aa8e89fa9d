"""Files of low-rank updates (LoRA) of `sammed3d train --lora`: merged into their model, and taken out again.

A file holds pairs of matrices, `...attn.qkv.lora_q.a` (rank, width) and `...lora_q.b` (width, rank), for some of q, k
and v; W_q <- W_q + B_q A_q. Its metadata name the SHA-256 of the file that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sammed3d.errors import CheckpointError
from sammed3d.zoo.about_file import LEARNT_FROM
from sammed3d.zoo.checkpoint import Checkpoint
from sammed3d.zoo.download import file_digest

KEY = re.compile(r"(.+\.attn\.qkv)\.lora_([qkv])\.([ab])")
PARTS = "qkv"
TRAVELLING = ("network", "sizes", "preset", "name", "licence", "origin", LEARNT_FROM)
"""What a file of updates says of the model that it makes; the rest of the metadata are those of its base."""


def is_updates(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether these are low-rank updates and nothing else."""
    return bool(weights) and all(KEY.fullmatch(key) for key in weights)


def merge_updates(updates: Checkpoint, base: Checkpoint | None) -> Checkpoint:
    """Return the checkpoint that low-rank updates belong to, with them merged; its metadata are those of the base.

    Raises:
        CheckpointError: no base is named, or another one than they were trained on.
    """
    if base is None:
        raise CheckpointError(
            f"{updates.path.name}: holds low-rank (LoRA) updates only. Name the checkpoint that they were trained on "
            "as well (--base)."
        )
    check_base(updates, file_digest(base.path), base.path.name)
    count = len(updates.weights) // 2
    note = f"merged {count} low-rank updates from {updates.path.name} into {base.path.name}"
    about = {**base.metadata, **{k: v for k, v in updates.metadata.items() if k in TRAVELLING}}
    weights = merged_weights(base.weights, updates.weights)
    return replace(base, weights=weights, metadata=about, notes=(*base.notes, note))


def merged_weights(
    weights: Mapping[str, Tensor], updates: Mapping[str, Tensor], sign: float = 1.0
) -> dict[str, Tensor]:
    """Return plain weights with updates added; with sign -1, taken out again.

    Raises:
        CheckpointError: an update belongs to no weight, or has another shape.
    """
    merged = dict(weights)
    for key, a in updates.items():
        match = KEY.fullmatch(key)
        if match is None:
            raise CheckpointError(f"{key}: is no low-rank update.")
        if match[3] == "b":
            continue
        layer, part = f"{match[1]}.weight", match[2]
        b = updates.get(f"{match[1]}.lora_{part}.b")
        weight = merged.get(layer)
        if b is None or weight is None or weight.shape != (3 * len(b), a.shape[1]):
            raise CheckpointError(f"{key}: does not fit the model. Choose the one that it was trained on.")
        changed = weight.float().clone()
        first = PARTS.index(part) * len(b)
        changed[first : first + len(b)] += sign * (b.float() @ a.float())
        merged[layer] = changed
    return merged


def check_base(updates: Checkpoint, found: str, name: str) -> None:
    """Refuse a base that updates do not belong to.

    Args:
        updates: the file of updates.
        found: SHA-256 (hex) of the base.
        name: name of the base.

    Raises:
        CheckpointError: they were trained on another file.
    """
    wanted = updates.metadata.get("base_sha256", "")
    if wanted and found != wanted:
        raise CheckpointError(
            f"{updates.path.name}: belongs to the model with the SHA-256 {wanted[:12]}..., and {name} is another one."
        )
