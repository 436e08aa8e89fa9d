"""3-D networks as ONNX files, for programs without torch and for onnxruntime.

A folder holds `image_encoder.onnx` (with its weights beside it), `mask_decoder.onnx` and `model.json` with name and
preset. The names of inputs and outputs follow SAM's ONNX export: `patch` -> `image_embeddings`; `image_embeddings`,
`point_coords` (B, N, 3), `point_labels` (B, N), `mask_input` -> `low_res_masks`, `iou_predictions`. N is free. The
decoder appends the padding point itself.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sammed3d.errors import ModelError
from sammed3d.nets import PromptableUNet, SamMed3d, Slicewise
from sammed3d.preset import Preset

ENCODER, DECODER, MODEL = "image_encoder.onnx", "mask_decoder.onnx", "model.json"


def export_onnx(network: SamMed3d | PromptableUNet | Slicewise, preset: Preset, name: str, folder: Path) -> None:
    """Write a network as ONNX files into a folder.

    Raises:
        ModelError: the packages `onnx` and `onnxscript` are not installed, the folder cannot be written, or the
            network is no SAM-Med3D or FastSAM3D.
    """
    if not isinstance(network, SamMed3d):
        raise ModelError(f"{name}: only SAM-Med3D and FastSAM3D networks can be written as ONNX files.")
    network = network.cpu().float().eval()
    size, low_res = network.config.encoder.image_size, preset.low_res_shape
    patch = torch.zeros(1, 1, size, size, size)
    with torch.inference_mode():
        embedding = network.encode(patch)
    prompts = (embedding.clone(), torch.zeros(1, 2, 3), torch.ones(1, 2), torch.zeros(1, 1, *low_res))
    clicks = torch.export.Dim("clicks", min=1, max=1024)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The plain form of attention: the fused one leaves a memory layout that the exporter cannot express.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Encoder(network),
                (patch,),
                folder / ENCODER,
                input_names=["patch"],
                output_names=["image_embeddings"],
                dynamo=True,
                verbose=False,
            )
            torch.onnx.export(
                _Decoder(network),
                prompts,
                folder / DECODER,
                input_names=["image_embeddings", "point_coords", "point_labels", "mask_input"],
                output_names=["low_res_masks", "iou_predictions"],
                dynamic_shapes={"embedding": None, "coords": {1: clicks}, "labels": {1: clicks}, "low_res": None},
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        (folder / MODEL).write_text(json.dumps({"name": name, "preset": preset.to_json()}, indent=2), encoding="utf-8")
    except ImportError as error:
        raise ModelError(f"Exporting needs the package {error.name!r}: install sammed3d[onnx].") from error
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written. Check the folder and its permissions.") from error


class _Encoder(nn.Module):
    def __init__(self, network: SamMed3d) -> None:
        super().__init__()
        self.network = network

    def forward(self, patch: Tensor) -> Tensor:
        return self.network.encode(patch)


class _Decoder(nn.Module):
    def __init__(self, network: SamMed3d) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: Tensor, coords: Tensor, labels: Tensor, low_res: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.decode(embedding, coords, labels, low_res)
