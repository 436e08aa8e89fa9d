"""Low-rank updates (LoRA) merged into their model as a file, and taken out again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sammed3d.errors import CheckpointError
from sammed3d.inference.preset import Preset
from sammed3d.zoo.adapters.lora import check_base, is_updates, merged_weights
from sammed3d.zoo.checkpoint import read_checkpoint
from sammed3d.zoo.download import file_digest
from sammed3d.zoo.load import load_model, locate


def merge_files(base: Path, updates: Path, output: Path, take_out: bool = False) -> None:
    """Write a model with a file of updates merged; or a merged one with them taken out again, equal up to rounding.

    Args:
        base: the checkpoint that the updates were trained on (file or name of an installed model); the merged one, if
            they are taken out.
        updates: file of `sammed3d train --lora`.
        output: `.safetensors`.
        take_out: whether to take them out.

    Raises:
        CheckpointError: they do not belong together.
        ModelError: a reason of `load_model` or `LoadedModel.write`.
    """
    low_rank = read_checkpoint(updates)
    if not is_updates(low_rank.weights):
        raise CheckpointError(f"{updates.name}: holds something else than low-rank updates of sammed3d train --lora.")
    file = locate(base).path
    if not take_out:
        load_model(updates, base=file).write(output, merged_from=file_digest(file))
        return
    check_base(low_rank, read_checkpoint(file).metadata.get("merged_from", ""), file.name)
    merged = load_model(file)
    before = low_rank.metadata.get("base_preset")
    plain = merged if before is None else replace(merged, preset=Preset.from_json(json.loads(before)))
    plain.write(output, merged_weights(merged.plain_network.state_dict(), low_rank.weights, -1.0))
