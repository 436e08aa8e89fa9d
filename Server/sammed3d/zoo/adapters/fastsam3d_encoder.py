"""FastSAM3D's distilled image encoders, published without prompt encoder and mask decoder.

Their keys are bare (`blocks.0...` instead of `image_encoder.blocks.0...`). The rest comes from the 12-layer checkpoint
that they were distilled from.

Source: FastSAM3D `distillation.py`, `validation_student.py`.
"""

from __future__ import annotations

from dataclasses import replace

from sammed3d.errors import CheckpointError
from sammed3d.zoo.about_file import LEARNT_FROM
from sammed3d.zoo.checkpoint import Checkpoint

REST = ("prompt_encoder.", "mask_decoder.")


def is_encoder_alone(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint holds an image encoder and nothing else."""
    return "patch_embed.proj.weight" in checkpoint.weights


def with_decoder(checkpoint: Checkpoint, base: Checkpoint | None) -> Checkpoint:
    """Return a whole model: the image encoder of a checkpoint, all else from another one.

    Raises:
        CheckpointError: there is no other one, or it holds no prompt encoder and mask decoder.
    """
    if base is None:
        raise CheckpointError(
            f"{checkpoint.path.name}: holds an image encoder alone. Name the checkpoint with prompt encoder and mask "
            "decoder as well (--base)."
        )
    rest = {key: value for key, value in base.weights.items() if key.startswith(REST)}
    if not all(any(key.startswith(part) for key in rest) for part in REST):
        raise CheckpointError(
            f"{base.path.name}: holds no prompt encoder and mask decoder. Choose the checkpoint that the encoder was "
            "distilled from."
        )
    encoder = {f"image_encoder.{key}": value for key, value in checkpoint.weights.items()}
    note = f"prompt encoder and mask decoder are those of {base.path.name}"
    taught = {key: value for key, value in base.metadata.items() if key == LEARNT_FROM}
    metadata = taught | dict(checkpoint.metadata)
    return replace(checkpoint, weights=encoder | rest, metadata=metadata, notes=(*checkpoint.notes, note))
