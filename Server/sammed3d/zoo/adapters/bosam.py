"""BoSAM's LoRA checkpoints, merged into plain SAM-Med3D weights.

BoSAM adds low-rank updates to the query and value part of every encoder block's qkv layer, without scaling:
W_q <- W_q + B_q A_q and W_v <- W_v + B_v A_v. Merging is exact up to rounding, so the plain network runs the result.
Its files hold either the whole wrapped model or the low-rank matrices alone, in four ways. The decoder's low-rank
matrices are dead weight: they were saved but never part of a computation.

Source: BoSAM `sam_model.py`, `train_lora.py`, `val_lora.py`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from sammed3d.errors import CheckpointError, ModelWarning
from sammed3d.zoo.checkpoint import Checkpoint

WRAPPED = re.compile(r"image_encoder\.blocks\.(\d+)\.attn\.qkv\.linear_([ab])_([qv])\.weight")
NUMBERED = re.compile(r"(?:image_encoder_)?w_([AaBb])(?:s\.(\d+)\.weight|_(\d+))")
DEAD = re.compile(r"mask_decoder_w_[AaBb](?:s\.\d+\.weight|_\d+)")

Part = Literal["q", "v"]
UNKNOWN_BASE = (
    "its matrices may be of no use on this base: BoSAM's published training leaves the encoder's qkv layers (24 "
    "tensors) at random values when it loads its base, and a file of matrices alone does not hold those. Try the "
    "result on a case that you know, or get the whole model."
)
"""Source: BoSAM `train_lora.py` loads with `strict=False` under keys that the wrapped layers do not have."""


@dataclass(frozen=True)
class LowRank:
    """The low-rank update of one qkv layer's query or value part.

    Attributes:
        a: (rank, width).
        b: (width, rank).
    """

    a: Tensor
    b: Tensor


def is_lora(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint holds BoSAM's low-rank matrices."""
    return any(WRAPPED.search(key) or NUMBERED.fullmatch(key) for key in checkpoint.weights)


def merge_lora(checkpoint: Checkpoint, base: Checkpoint | None = None) -> Checkpoint:
    """Return plain weights with the low-rank updates merged in, and notes on what was merged and what was dead weight.

    Args:
        checkpoint: a whole wrapped model, or low-rank matrices alone.
        base: the model that matrices alone belong to; nothing in the file says which that is.

    Raises:
        CheckpointError: matrices alone without a base, incomplete pairs, or shapes that do not fit.
    """
    plain = {k.removeprefix("sam."): v for k, v in checkpoint.weights.items()}
    dead = [k for k in plain if DEAD.fullmatch(k)]
    updates = _updates(plain, checkpoint.path.name)
    matrices = {k for k in plain if WRAPPED.fullmatch(k) or NUMBERED.fullmatch(k) or k in dead}
    weights = {k.replace(".attn.qkv.qkv.", ".attn.qkv."): v for k, v in plain.items() if k not in matrices}
    whole = bool(weights)
    if not whole:
        if base is None:
            raise CheckpointError(
                f"{checkpoint.path.name}: holds low-rank (LoRA) matrices only. Name the checkpoint that they were "
                "trained on as well (--base)."
            )
        _check_base(checkpoint.path.name, base)
        weights = dict(base.weights)
    _merge(weights, updates, checkpoint.path.name)
    notes = [f"merged {len(updates)} low-rank updates into {len({block for block, _ in updates})} encoder blocks"]
    if not whole:
        notes.append(UNKNOWN_BASE)
        warnings.warn(f"{checkpoint.path.name}: {UNKNOWN_BASE}", ModelWarning, stacklevel=2)
    if dead:
        notes.append(f"left out {len(dead)} matrices of the mask decoder that never took part in a computation")
    # BoSAM's network is SAM-Med3D's
    metadata = {**(base.metadata if base else {}), **checkpoint.metadata, "family": "sam_med3d"}
    return replace(checkpoint, weights=weights, metadata=metadata, notes=(*checkpoint.notes, *notes))


def _check_base(name: str, base: Checkpoint) -> None:
    """Refuse networks that BoSAM's matrices cannot belong to, although their widths may fit."""
    projection = base.weights.get("image_encoder.patch_embed.proj.weight")
    if projection is None or projection.ndim != 5:
        raise CheckpointError(
            f"{base.path.name}: is no 3-D network of SAM-Med3D's kind, so the matrices of {name} do not belong to it. "
            "Choose the checkpoint that they were trained on."
        )


def _updates(weights: Mapping[str, Tensor], name: str) -> dict[tuple[int, Part], LowRank]:
    """Collect pairs by (block, part). Numbered matrices are in the order block 0 q, block 0 v, block 1 q, ..."""
    found: dict[tuple[int, Part], dict[str, Tensor]] = {}
    for key, value in weights.items():
        if match := WRAPPED.fullmatch(key):
            block, side, part = int(match[1]), match[2], match[3]
        elif match := NUMBERED.fullmatch(key):
            number = int(match[2] or match[3])
            block, side, part = number // 2, match[1].lower(), "qv"[number % 2]
        else:
            continue
        # A whole model holds every matrix twice; both copies are the same parameter.
        found.setdefault((block, "q" if part == "q" else "v"), {}).setdefault(side, value)
    if broken := [f"block {block} {part}" for (block, part), sides in found.items() if set(sides) != {"a", "b"}]:
        raise CheckpointError(f"{name}: low-rank matrices are missing ({', '.join(broken[:3])}). Get the whole file.")
    return {place: LowRank(sides["a"], sides["b"]) for place, sides in found.items()}


def _merge(weights: dict[str, Tensor], updates: Mapping[tuple[int, Part], LowRank], name: str) -> None:
    for (block, part), update in updates.items():
        key = f"image_encoder.blocks.{block}.attn.qkv.weight"
        width = weights[key].shape[1] if key in weights else 0
        if update.a.shape[1:] != (width,) or update.b.shape != (width, len(update.a)):
            raise CheckpointError(
                f"{name}: the low-rank update of block {block} is {tuple(update.b.shape)} x {tuple(update.a.shape)}, "
                f"which does not fit its model ({key}). Choose the checkpoint that it was trained on."
            )
        merged = weights[key].float().clone()
        rows = slice(0, width) if part == "q" else slice(-width, None)
        merged[rows] += update.b.float() @ update.a.float()
        weights[key] = merged
