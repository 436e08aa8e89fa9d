"""Exported networks, run by onnxruntime in place of the torch module."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sammed3d.errors import CheckpointError, ModelError
from sammed3d.inference.preset import Preset
from sammed3d.nets import Slicewise
from sammed3d.nets.prompt_encoder import BOX_BEGIN, BOX_END, NOT_A_POINT
from sammed3d.nets.tempering import Tempering
from sammed3d.predictors.device import limit_threads
from sammed3d.zoo.about_file import LEARNT_FROM
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.onnx.export import DECODER, ENCODER, MODEL


class OnnxNetwork(nn.Module):
    """`encode` and `decode` of an exported 3-D network, on the CPU.

    Args:
        encoder, decoder: sessions of onnxruntime.
        sees_all_clicks, first_passes, tempering: those of `torch_predictor.Network`.
        box_points: whether the decoder takes the corners of boxes as points; see `export`.
    """

    starts_without_mask = False
    scores_are_trained = False

    def __init__(
        self,
        encoder: Any,
        decoder: Any,
        sees_all_clicks: bool,
        first_passes: int,
        tempering: Tempering | None,
        box_points: bool = False,
    ) -> None:
        super().__init__()
        self._encoder, self._decoder, self._box_points = encoder, decoder, box_points
        self.sees_all_clicks, self.first_passes, self.tempering = sees_all_clicks, first_passes, tempering

    def encode(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding; `between_layers` can stop it before it starts only."""
        if between_layers is not None:
            between_layers()
        return torch.cat([_run(self._encoder, patch=patch[n : n + 1])[0] for n in range(len(patch))])

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
        """Predict low-res logits and scores, as `SamMed3d.decode` with a mask prompt and the single mask."""
        if multimask or low_res is None or (boxes is not None and not self._box_points):
            raise ModelError("This exported 3-D model takes clicks and a mask prompt, and gives a single mask.")
        if self._box_points:
            coords, labels = _with_corners(coords, labels, boxes)
        answers = [
            _run(
                self._decoder,
                image_embeddings=embedding,
                point_coords=coords[n : n + 1].float(),
                point_labels=labels[n : n + 1].float(),
                mask_input=low_res[n : n + 1],
            )
            for n in range(len(coords))
        ]
        return torch.cat([logits for logits, _ in answers]), torch.cat([scores for _, scores in answers])


class OnnxSamMed2d(nn.Module):
    """`encode` and `decode` of an exported 2-D network, on the CPU, as `SamMed2d` has them.

    Args:
        encoder, decoder: sessions of onnxruntime.
    """

    def __init__(self, encoder: Any, decoder: Any) -> None:
        super().__init__()
        self._encoder, self._decoder = encoder, decoder

    def encode(self, image: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding; `between_layers` can stop it before it starts only."""
        if between_layers is not None:
            between_layers()
        return torch.cat([_run(self._encoder, input_image=image[n : n + 1])[0] for n in range(len(image))])

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        boxes: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Predict low-res logits and scores for one image, as `SamMed2d.decode`."""
        coords, labels = _with_corners(coords, labels, boxes)
        edge = 4 * embedding.shape[-1]
        _, scores, logits = _run(
            self._decoder,
            image_embeddings=embedding,
            point_coords=coords,
            point_labels=labels,
            mask_input=torch.zeros(1, 1, edge, edge) if low_res is None else low_res.float().contiguous(),
            has_mask_input=torch.tensor([0.0 if low_res is None else 1.0]),
            orig_im_size=torch.tensor([float(edge), float(edge)]),
        )
        return (logits[:, 1:], scores[:, 1:]) if multimask else (logits[:, :1], scores[:, :1])


def load_exported(folder: Path) -> LoadedModel:
    """Load an exported folder as a model that runs with onnxruntime.

    Raises:
        ModelError: onnxruntime is not installed, or the folder was exported for other programs.
        CheckpointError: a file is missing or damaged.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ModelError("Running ONNX files needs onnxruntime: install sammed3d[onnx].") from error
    try:
        about = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        preset = Preset.from_json(about["preset"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = limit_threads()
        encoder, decoder = (
            onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
            for file in (ENCODER, DECODER)
        )
        if about["dimensions"] == 2:
            network: OnnxNetwork | Slicewise = Slicewise(OnnxSamMed2d(encoder, decoder))
        else:
            # exports from before there was tempering have none
            tempering = Tempering(**about["tempering"]) if about.get("tempering") else None
            box_points = bool(about.get("box_points"))  # exports from before there were take clicks alone
            preset = replace(preset, boxes=preset.boxes and box_points)
            passes = int(about["first_passes"])
            network = OnnxNetwork(encoder, decoder, bool(about["sees_all_clicks"]), passes, tempering, box_points)
        exported = LoadedModel(
            network,
            str(about["network"]),
            about["sizes"],
            preset,
            str(about["name"]),
            tuple(about["notes"]),
            str(about["licence"]),
            str(about["origin"]),
            folder,
            "onnxruntime, 8-bit weights in matrix products" if about["quantised"] else "onnxruntime, float32",
            tuple(about.get(LEARNT_FROM, ())),
        )
        runnable = bool(about["runnable"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise CheckpointError(
            f"{folder.name}: not a complete export ({ENCODER}, {DECODER}, {MODEL}). Export the model again."
        ) from error
    if not runnable:
        raise ModelError(f"{folder.name}: exported for other programs. Export it without preprocessing, all masks.")
    return exported


def _with_corners(coords: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Append the corners of boxes (B, 2n) to clicks (B, N, n), or without a box the padding point; float32."""
    batch, _, dimensions = coords.shape
    further = coords.new_zeros(batch, 1, dimensions) if boxes is None else boxes.view(batch, 2, dimensions)
    kinds = labels.new_tensor([NOT_A_POINT] if boxes is None else [BOX_BEGIN, BOX_END]).expand(batch, -1)
    return torch.cat([coords.float(), further.float()], dim=1), torch.cat([labels, kinds], dim=1).float()


def _run(session: Any, **inputs: Tensor) -> list[Tensor]:
    outputs = session.run(None, {key: value.contiguous().numpy() for key, value in inputs.items()})
    return [torch.from_numpy(output) for output in outputs]
