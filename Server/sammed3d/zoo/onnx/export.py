"""Networks as ONNX files, for programs without torch and for onnxruntime.

A folder holds `image_encoder.onnx`, `mask_decoder.onnx` and `model.json` with all that a checkpoint of ours carries,
and how prompts are given.

3-D networks: `patch` -> `image_embeddings`; `image_embeddings`, `point_coords` (1, N, 3), `point_labels` (1, N),
`mask_input` (previous low-res logits, zeros at first) -> `low_res_masks`, `iou_predictions`. N is free. The decoder
appends the padding point itself; that of a network which knows boxes does not ("box_points" in `model.json`): there the
caller appends the corners of a box as points with labels 2 and 3, or else a point with label -1.

2-D networks keep SAM-Med2D's published names: `input_image` -> `image_embeddings`; `image_embeddings`, `point_coords`
(1, N, 2) as x, y, `point_labels` (1, N), `mask_input` (1, 1, 64, 64; probabilities), `has_mask_input` (1),
`orig_im_size` (2: height, width) -> `masks`, `iou_predictions`, `low_res_masks`. N is free. The caller appends the
corners of a box as points with labels 2 and 3, or else a point with label -1, as published. `masks` are those of the
whole image; the published export cuts off what SAM's resizing to the longest side would have padded, which SAM-Med2D
does not do.

Source of the names: segment-anything and SAM-Med2D `scripts/export_onnx_*.py`, `utils/onnx.py`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset
from sammed3d.nets import PromptableUNet, SamMed2d, SamMed3d, Slicewise
from sammed3d.nets.slicewise import PIXEL_MEAN, PIXEL_STD
from sammed3d.zoo.model import LoadedModel

LEAST_TORCH = 2, 8
"""Earlier versions cannot write these graphs, whose number of clicks is free."""
ENCODER, DECODER, MODEL = "image_encoder.onnx", "mask_decoder.onnx", "model.json"


@dataclass(frozen=True)
class OnnxOptions:
    """How a network is written.

    Attributes:
        quantise: store the weights of matrix products as 8-bit integers, a quarter of the size.
        preprocess: 2-D only: the encoder takes an image (height, width, 3) of any size, blue first as the weights were
            trained, with values 0..255.
        single_mask: 2-D only: the decoder gives the best of its masks alone.
    """

    quantise: bool = False
    preprocess: bool = False
    single_mask: bool = False


def export_onnx(model: LoadedModel, folder: Path, options: OnnxOptions | None = None, source_sha256: str = "") -> None:
    """Write a model as ONNX files into a folder.

    Args:
        model: a model with a torch network.
        folder: made if it does not exist.
        options: the options of the export.
        source_sha256: SHA-256 (hex) of the checkpoint that the model came from, for the folder's description.

    Raises:
        ModelError: the packages `onnx`, `onnxscript` or `onnxruntime` are not installed, torch is too old, the folder
            cannot be written, the model was exported before, or an option is not for its network.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < LEAST_TORCH:
        least = ".".join(map(str, LEAST_TORCH))
        raise ModelError(
            f"Exporting to ONNX needs torch {least} or later, and this is {torch.__version__}. Update it "
            f'(pip install "torch>={least}"), or export on another computer: what is exported runs here, too.'
        )
    options = options or OnnxOptions()
    network, name = model.network, model.name
    if not isinstance(model.plain_network, SamMed2d | SamMed3d | PromptableUNet):
        raise ModelError(f"{name}: was exported before. Export the checkpoint.")
    if not isinstance(network, Slicewise) and (options.preprocess or options.single_mask):
        raise ModelError(f"{name}: preprocessing in the graph and single masks are options of 2-D models.")
    network = network.cpu().float().eval()
    about = model.about() | {
        "source_sha256": source_sha256,
        "quantised": options.quantise,
        "dimensions": 2 if isinstance(network, Slicewise) else 3,
        "sees_all_clicks": network.sees_all_clicks,
        "first_passes": network.first_passes,
        "tempering": None if network.tempering is None else asdict(network.tempering),
        "box_points": isinstance(model.plain_network, SamMed2d) or _knows_boxes(model.plain_network),
        "runnable": not (options.preprocess or options.single_mask),
    }
    made = not folder.exists()
    written = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL).unlink(missing_ok=True)  # until all is written: of two models, no half of each
        if isinstance(model.plain_network, SamMed2d):
            _export_2d(model.plain_network, folder, options)
        else:
            _export_3d(model.plain_network, model.preset, folder)
        if options.quantise:
            _quantise(folder)
        (folder / MODEL).write_text(json.dumps(about, indent=2), encoding="utf-8")
        written = True
    except ImportError as error:
        raise ModelError(f"Exporting needs the package {error.name!r}: install sammed3d[onnx].") from error
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written. Check the folder, permissions and free space.") from error
    finally:
        if not written:
            _clear(folder, made)


def _clear(folder: Path, made: bool) -> None:
    """Delete what an export has left that did not end, and its folder if that was made for it and is empty."""
    with contextlib.suppress(OSError):
        for name in (MODEL, ENCODER, f"{ENCODER}.data", DECODER, f"{DECODER}.data"):
            (folder / name).unlink(missing_ok=True)
        if made:
            folder.rmdir()


def _export_3d(network: SamMed3d | PromptableUNet, preset: Preset, folder: Path) -> None:
    patch = torch.zeros(1, 1, *preset.patch_shape)
    patch[..., ::2] = 1  # the U-Net looks at the intensities' spread
    with torch.inference_mode():
        embedding = network.encode(patch)
    prompts = (embedding.clone(), torch.zeros(1, 2, 3), torch.ones(1, 2), torch.zeros(1, 1, *preset.low_res_shape))
    clicks = torch.export.Dim("clicks", min=1, max=1024)
    _export(_Encoder(network), (patch,), folder / ENCODER, ["patch"], ["image_embeddings"])
    _export(
        _BoxDecoder(network) if _knows_boxes(network) else _Decoder(network),
        prompts,
        folder / DECODER,
        ["image_embeddings", "point_coords", "point_labels", "mask_input"],
        ["low_res_masks", "iou_predictions"],
        {"embedding": None, "coords": {1: clicks}, "labels": {1: clicks}, "low_res": None},
    )


def _knows_boxes(network: nn.Module) -> TypeGuard[SamMed3d]:
    """Whether this is a 3-D network that was trained with boxes."""
    return isinstance(network, SamMed3d) and network.config.boxes


def _export_2d(network: SamMed2d, folder: Path, options: OnnxOptions) -> None:
    size, channels, grid = network.config.image_size, network.config.out_channels, network.config.grid
    encoder: nn.Module = _Encoder(network)
    image, free = torch.zeros(1, 3, size, size), None
    if options.preprocess:
        encoder, image = _ImageEncoder(network), torch.zeros(300, 400, 3)
        free = {"image": {0: torch.export.Dim("height", min=2), 1: torch.export.Dim("width", min=2)}}
    _export(encoder, (image,), folder / ENCODER, ["input_image"], ["image_embeddings"], free)
    points = torch.export.Dim("points", min=1, max=1024)
    prompts = (
        torch.zeros(1, channels, grid, grid),
        torch.zeros(1, 5, 2),
        torch.ones(1, 5),
        torch.zeros(1, 1, 4 * grid, 4 * grid),
        torch.ones(1),
        torch.tensor([1500.0, 2250.0]),
    )
    _export(
        _SlicePrompts(network, options.single_mask),
        prompts,
        folder / DECODER,
        ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"],
        ["masks", "iou_predictions", "low_res_masks"],
        {"embedding": None, "coords": {1: points}, "labels": {1: points}, "mask": None, "has_mask": None, "size": None},
    )


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    file: Path,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: dict[str, Any] | None = None,
) -> None:
    # The plain form of attention: the fused one leaves a memory layout that the exporter cannot express. Nor can it
    # express what networks use in inference mode.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH), torch.inference_mode(mode=False), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            file,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=dynamic_shapes,
            dynamo=True,
            verbose=False,
            external_data=file.name == ENCODER,
        )


def _quantise(folder: Path) -> None:
    """Replace both files by ones whose matrix products have 8-bit weights; the rest stays float32."""
    import onnx  # noqa: PLC0415 - optional
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]  # noqa: PLC0415

    logging.disable(logging.WARNING)  # it asks for a preprocessing that changes nothing here
    try:
        for name in (ENCODER, DECODER):
            small = folder / f"{name}.int8"
            products = ["MatMul", "Gemm"]
            model = onnx.load(folder / name)
            del model.graph.value_info[:]  # some shapes that the exporter notes contradict the quantiser's
            quantize_dynamic(
                model,
                small,
                op_types_to_quantize=products,
                weight_type=QuantType.QUInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            (folder / f"{name}.data").unlink(missing_ok=True)
            small.replace(folder / name)
    finally:
        logging.disable(logging.NOTSET)


class _Encoder(nn.Module):
    def __init__(self, network: SamMed3d | PromptableUNet | SamMed2d) -> None:
        super().__init__()
        self.network = network

    def forward(self, patch: Tensor) -> Tensor:
        return self.network.encode(patch)


class _Decoder(nn.Module):
    def __init__(self, network: SamMed3d | PromptableUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: Tensor, coords: Tensor, labels: Tensor, low_res: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.decode(embedding, coords, labels, low_res)


class _BoxDecoder(nn.Module):
    """Of a network that knows boxes: corners are points too, and whoever calls appends them or the padding point."""

    def __init__(self, network: SamMed3d) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: Tensor, coords: Tensor, labels: Tensor, low_res: Tensor) -> tuple[Tensor, Tensor]:
        prompts = self.network.prompt_encoder
        tokens = prompts.tokens(coords + 0.5, labels)
        position, dense = prompts.dense_position(), prompts.dense(low_res, 1)
        answer: tuple[Tensor, Tensor] = self.network.mask_decoder(embedding, position, tokens, dense, multimask=False)
        return answer


class _ImageEncoder(nn.Module):
    """Prepares an image of any size, blue first, as the graph of SAM-Med2D's own export does, then encodes it."""

    def __init__(self, network: SamMed2d) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN))
        self.register_buffer("std", torch.tensor(PIXEL_STD))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        size = self.network.config.image_size
        rows, columns = (torch.arange(size) * length // size for length in image.shape[:2])  # nearest pixels
        normalised = (image[rows][:, columns] - self.mean) / self.std
        return self.network.encode(normalised.permute(2, 0, 1)[None])


class _SlicePrompts(nn.Module):
    """SAM-Med2D's decoder with the published inputs and outputs."""

    def __init__(self, network: SamMed2d, single_mask: bool) -> None:
        super().__init__()
        self.network, self.single_mask = network, single_mask

    def forward(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        prompts = self.network.prompt_encoder
        dense = has_mask * prompts.dense(mask, 1) + (1 - has_mask) * prompts.dense(None, 1)
        tokens = prompts.tokens(coords + 0.5, labels)
        position = prompts.dense_position()
        low_res, scores = self.network.mask_decoder(embedding, position, tokens, dense, multimask=None)
        if self.single_mask:
            single_first = (coords.shape[1] - 2.5) * 1000  # mask 0 from three points on, the best of the others before
            reweighted = scores + single_first * torch.tensor([[1.0, 0.0, 0.0, 0.0]])
            best = reweighted.argmax(dim=1, keepdim=True)
            low_res = low_res.take_along_dim(best[..., None, None], dim=1)
            scores = scores.take_along_dim(best, dim=1)
        image = 2 * [self.network.config.image_size]
        larger = functional.interpolate(low_res, image, mode="bilinear", align_corners=False)
        return _resize(larger, size), scores, low_res


def _resize(masks: Tensor, size: Tensor) -> Tensor:
    """Resize (B, M, h, w) bilinearly to a size that is known when the graph runs: matrices from positions."""
    rows, columns = _weights(masks.shape[2], size[0]), _weights(masks.shape[3], size[1])
    return rows @ masks @ columns.T


def _weights(source: int, target: Tensor) -> Tensor:
    count = target.long().item()
    torch._check(count >= 1)  # type: ignore[no-untyped-call]  # noqa: SLF001 - documented under this name
    torch._check(count <= 65536)  # type: ignore[no-untyped-call]  # noqa: SLF001
    positions = ((torch.arange(count) + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
    return (1 - (positions[:, None] - torch.arange(source)).abs()).clamp(min=0)
