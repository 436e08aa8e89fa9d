"""From a model's name or a checkpoint file to a predictor."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import torch

from sammed3d import nets
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.local import Precision, TorchPredictor, choose_device
from sammed3d.preset import Preset
from sammed3d.zoo.bosam import is_lora, merge_lora
from sammed3d.zoo.checkpoint import Checkpoint, load_weights, read_checkpoint

DEFAULT_MODEL = Path(__file__).parent / "models" / "default.safetensors"
"""The small model that ships with the package."""


def load_predictor(
    model: str | os.PathLike[str] = "default",
    device: str = "auto",
    precision: Precision = "auto",
    family: str | None = None,
    base: str | os.PathLike[str] | None = None,
) -> TorchPredictor:
    """Load a model for prediction in this process.

    Args:
        model: "default", or the path of a checkpoint (`.pth`, `.pt`, `.safetensors`).
        device: "auto" (CUDA, else Apple MPS, else CPU), or a torch device.
        precision: "auto", "float32", "bfloat16" or "float16".
        family: name of the network (see `nets.names()`), where keys and shapes do not tell it.
        base: the checkpoint that a file of low-rank (LoRA) matrices alone was trained on.

    Raises:
        ModelError: the model is not known or not installed, or the device or precision cannot be used.
        CheckpointError: the file is unsafe, damaged, incomplete or of an unknown architecture.
    """
    choose_device(device)  # fail before a large file is read
    path = Path(model)
    if str(model) == "default":
        if not DEFAULT_MODEL.is_file():
            raise ModelError(
                "This version does not include a default model yet. "
                "Give the path of a checkpoint instead, for example sam_med3d_turbo.pth."
            )
        path = DEFAULT_MODEL
    elif not path.suffix and not path.exists():
        raise ModelError(f"There is no model named {str(model)!r}. Use default, or the path of a checkpoint.")
    checkpoint = read_checkpoint(path)
    if is_lora(checkpoint):
        checkpoint = merge_lora(checkpoint, None if base is None else read_checkpoint(base))
    name = family or recognise(checkpoint)
    with torch.device("meta"):
        network = nets.build(name, _json_entry(checkpoint, "sizes"))
    load_weights(network, checkpoint)
    return TorchPredictor(
        network,
        preset_of(checkpoint, network),
        checkpoint.metadata.get("name", path.stem),
        device=device,
        precision=precision,
        notes=checkpoint.notes,
    )


def recognise(checkpoint: Checkpoint) -> str:
    """Return the name of the network that a checkpoint belongs to, by its metadata or by its keys and shapes.

    SAM-Med3D and FastSAM3D's 12-layer teacher have the same keys and shapes; without metadata such a file is taken as
    SAM-Med3D. Name the family to say otherwise.

    Raises:
        CheckpointError: no known network fits; an incomplete file is recognised, and refused later with a list.
    """
    if name := checkpoint.metadata.get("network"):
        return name
    found = {(key, tuple(value.shape)) for key, value in checkpoint.weights.items()}
    shared = {name: len(found & expected) / len(found | expected) for name, expected in _known_shapes().items()}
    best = max(shared, key=lambda name: shared[name])
    if shared[best] < 0.5:
        raise CheckpointError(
            f"{checkpoint.path.name}: none of the known networks. Its {len(found)} weights share "
            f"{shared[best]:.0%} with {best}, the nearest of {', '.join(nets.CONFIGS)}."
        )
    return best


@functools.cache
def _known_shapes() -> dict[str, set[tuple[str, tuple[int, ...]]]]:
    """Keys and shapes of every network; the first of two with the same ones comes first."""
    with torch.device("meta"):
        return {
            name: {(key, tuple(value.shape)) for key, value in nets.build(name).state_dict().items()}
            for name in nets.CONFIGS
        }


def preset_of(checkpoint: Checkpoint, network: nets.SamMed3d) -> Preset:
    """Return the preset that a checkpoint carries, or the one of SAM-Med3D for the network's size."""
    if preset := _json_entry(checkpoint, "preset"):
        return Preset.from_json(preset)
    size = network.config.encoder.image_size
    return Preset(patch_shape=(size,) * 3, low_res_shape=(size // 4,) * 3)


def _json_entry(checkpoint: Checkpoint, key: str) -> dict[str, Any]:
    try:
        entry = json.loads(checkpoint.metadata.get(key, "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{checkpoint.path.name}: {key!r} in its metadata is not JSON.") from error
    if not isinstance(entry, dict):
        raise CheckpointError(f"{checkpoint.path.name}: {key!r} in its metadata is not a JSON object.")
    return entry
