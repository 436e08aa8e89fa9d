"""Exported networks, run by onnxruntime in place of the torch module."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sammed3d.errors import CheckpointError, ModelError
from sammed3d.preset import Preset
from sammed3d.zoo.onnx_export import DECODER, ENCODER, MODEL


class OnnxNetwork(nn.Module):
    """`encode` and `decode` of an exported folder, on the CPU.

    Attributes:
        name: of the model.
        preset: its preprocessing.

    Raises:
        ModelError: onnxruntime is not installed.
        CheckpointError: a file is missing or damaged.
    """

    sees_all_clicks = False
    starts_without_mask = False
    scores_are_trained = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            import onnxruntime  # noqa: PLC0415 - optional
        except ImportError as error:
            raise ModelError("Running ONNX files needs onnxruntime: install sammed3d[onnx].") from error
        try:
            about = json.loads((folder / MODEL).read_text(encoding="utf-8"))
            self.name = str(about["name"])
            self.preset = Preset.from_json(about["preset"])
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self._encoder, self._decoder = (
                onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
                for file in (ENCODER, DECODER)
            )
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise CheckpointError(
                f"{folder.name}: not a complete export ({ENCODER}, {DECODER}, {MODEL}). Export the model again."
            ) from error

    def encode(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding; `between_layers` can stop it before it starts only."""
        if between_layers is not None:
            between_layers()
        return self._run(self._encoder, patch=patch)[0]

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        multimask: bool = False,
        *,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict low-res logits and scores, as `SamMed3d.decode` with clicks, a mask prompt and the single mask."""
        if multimask or boxes is not None or low_res is None:
            raise ModelError("An exported model takes clicks and a mask prompt, and gives a single mask.")
        logits, scores = self._run(
            self._decoder,
            image_embeddings=embedding,
            point_coords=coords.float(),
            point_labels=labels.float(),
            mask_input=low_res,
        )
        return logits, scores

    @staticmethod
    def _run(session: Any, **inputs: Tensor) -> list[Tensor]:
        outputs = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        return [torch.from_numpy(output) for output in outputs]
