"""Runtimes on the CPU side by side, 2 threads, batch 1: torch, onnxruntime, onnxruntime with 8-bit weights, OpenVINO.

OpenVINO takes part where it is installed; it is no dependency. The encoders of SAM-Med3D and FT-SAM have generated
weights, so their masks say how much arithmetic changes, not how good they are. The default model, on the sample CT with
simulated clicks, says what Dice is lost.
"""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import filled_network, patch, seconds

from sammed3d import demo, load_predictor, nets
from sammed3d.core.freed_memory import keep_freed
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.predictors import products
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server.compute.worker_process import patch_of
from sammed3d.zoo.families import SAM_MED2D
from sammed3d.zoo.load import load_model
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.onnx.export import ENCODER, OnnxOptions, export_onnx
from sammed3d.zoo.onnx.network import load_exported
from sammed3d.zoo.store import BUNDLED

Encode = Callable[[torch.Tensor], torch.Tensor]


def openvino_encoder(folder: Path, name: str) -> Encode | None:
    """Compile an exported encoder with OpenVINO; None where that is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return None
    import openvino

    compiled = openvino.Core().compile_model(str(folder / ENCODER), "CPU", {"INFERENCE_NUM_THREADS": 2})
    return lambda image: torch.from_numpy(compiled({name: image.numpy()})[0])


def compare_encoders(model: LoadedModel, image: torch.Tensor) -> None:
    """Print the times of one encoder in all runtimes, as ratios to torch, and the largest differences."""
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        plain, small = Path(name) / "plain", Path(name) / "int8"
        export_onnx(model, plain)
        export_onnx(model, small, OnnxOptions(quantise=True))
        as_used = copy.deepcopy(model)
        products.pack(as_used.plain_network)
        runtimes: dict[str, Encode | None] = {
            "torch": as_used.network.encode,
            "onnxruntime": load_exported(plain).network.encode,
            "onnxruntime int8": load_exported(small).network.encode,
        }
        if not model.preset.by_slice:
            runtimes["OpenVINO"] = openvino_encoder(plain, "patch")
        baseline, expected = 0.0, model.network.encode(image)
        for runtime, encode in runtimes.items():
            if encode is None:
                print(f"{model.name}: {runtime} is not installed")
                continue
            time = seconds(lambda encode=encode: encode(image), repeats=5)
            baseline = baseline or time
            difference = float((encode(image).view(expected.shape) - expected).abs().max())
            size = sum(f.stat().st_size for f in (small if "int8" in runtime else plain).iterdir()) / 2**20
            print(
                f"{model.name}: {runtime} {time:.2f} s, ratio {time / baseline:.2f}, off by {difference:.0e}, "
                f"{size:.0f} MiB"
            )


def compare_masks(model: LoadedModel, image: torch.Tensor) -> None:
    """Print the Dice between masks of float32 and of 8-bit weights after each of five clicks."""
    with tempfile.TemporaryDirectory() as name:
        export_onnx(model, Path(name), OnnxOptions(quantise=True))
        masks = []
        for each in (model, load_exported(Path(name))):
            predictor = TorchPredictor(each.network, each.preset, device="cpu")
            masks.append(_masks_of(predictor, image))
    dice = [2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())) for a, b in zip(*masks, strict=True)]
    print(f"{model.name}: Dice between float32 and int8 masks after clicks 1-5: " + " ".join(f"{d:.4f}" for d in dice))


def _masks_of(predictor: TorchPredictor, image: torch.Tensor) -> list[np.ndarray]:
    cut = patch_of(image[0, 0].numpy(), "benchmark")
    clicks = [PatchClick((30.0 + 15 * n, 64.0, 90.0 - 10 * n), n % 2 == 0) for n in range(5)]
    return [predictor.predict(cut, PatchPrompts(clicks[: n + 1])).low_res > 0 for n in range(5)]


def default_model() -> None:
    """Print what the default model loses on the sample CT: Dice with the labels after the last simulated click."""
    for title, options in {
        "torch float32": {},
        "onnxruntime": {"runtime": "onnx"},
        "onnxruntime int8": {"runtime": "onnx-int8"},
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            results = list(demo.run(load_predictor("default", "cpu", **options), Path(folder)))
        scores = ", ".join(f"{r.name} {r.dice[-1]:.3f}" for r in results)
        print(f"default model, {title}: {scores}; {sum(r.seconds for r in results):.1f} s")


def main() -> None:
    """Print all comparisons."""
    torch.set_num_threads(2)
    keep_freed()
    volume = patch()
    sam_med3d = LoadedModel(filled_network(), "sam_med3d", name="SAM-Med3D")
    compare_encoders(sam_med3d, volume)
    compare_masks(sam_med3d, volume)
    compare_encoders(load_model(BUNDLED), volume)
    slicewise = nets.Slicewise(filled_network("ft_sam2d"))
    ft_sam = LoadedModel(slicewise, "ft_sam2d", preset=SAM_MED2D, name="FT-SAM, a slice")
    compare_encoders(ft_sam, 255 * torch.rand(1, 1, 256, 256, 1))
    default_model()


if __name__ == "__main__":
    main()
