"""From a model's name or a checkpoint file to a predictor."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from sammed3d import nets
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.inference.preset import Preset
from sammed3d.predictors.device import Precision, choose_device
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.zoo import families
from sammed3d.zoo.adapters.bosam import is_lora, merge_lora
from sammed3d.zoo.adapters.fastsam3d_encoder import is_encoder_alone, with_decoder
from sammed3d.zoo.adapters.lora import is_updates, merge_updates
from sammed3d.zoo.checkpoint import Checkpoint, load_weights, read_checkpoint, write_checkpoint
from sammed3d.zoo.download import file_digest
from sammed3d.zoo.onnx.export import OnnxOptions, export_onnx
from sammed3d.zoo.onnx.network import load_exported
from sammed3d.zoo.store import ModelStore, default_folder

Runtime = Literal["torch", "onnx", "onnx-int8"]
EXPORTED, FORM = "exported-onnx", 1
"""Where exported files are kept, beside the models; and their form, which grows when the exporter changes."""
AnyNetwork = nets.SamMed3d | nets.PromptableUNet | nets.Slicewise


def load_predictor(
    model: str | os.PathLike[str] = "default",
    device: str = "auto",
    precision: Precision = "auto",
    family: str | None = None,
    base: str | os.PathLike[str] | None = None,
    cache_mib: int = 256,
    host_cache_mib: int = 0,
    all_clicks: bool | None = None,
    runtime: Runtime = "torch",
) -> TorchPredictor:
    """Load a model for prediction in this process.

    Args:
        model: the name of an installed model ("default", ...), the path of a checkpoint (`.pth`, `.pt`,
            `.safetensors`), or of a folder of exported ONNX files, which run on the CPU in float32.
        device: "auto" (CUDA, else Apple MPS, else CPU), or a torch device.
        precision: "auto", "float32", "bfloat16" or "float16".
        family: one of `families.FAMILIES`, where keys and shapes do not tell it.
        base: the checkpoint that completes a file: what low-rank (LoRA) matrices were trained on, or whose prompt
            encoder and mask decoder go with an image encoder alone.
        cache_mib: bound of each cache on the device; see `TorchPredictor`.
        host_cache_mib: bound of each cache in the computer's memory.
        all_clicks: whether each pass of the decoder takes all prompts so far; see `TorchPredictor`.
        runtime: "onnx" and "onnx-int8" (8-bit weights in matrix products) run it with onnxruntime on the CPU; the first
            time, the model is exported to a folder beside the installed models.

    Raises:
        ModelError: the model is not known or not installed, or the device or precision cannot be used.
        CheckpointError: the file is unsafe, damaged, incomplete or of an unknown architecture.
    """
    choose_device(device)  # fail before a large file is read
    path, family = locate(model, family)
    if runtime != "torch":
        path = _export_once(path, family, base, runtime, device, precision)
    if path.is_dir():
        if device not in ("auto", "cpu") or precision not in ("auto", "float32"):
            raise ModelError(f"{path.name}: exported models run on the CPU in float32. Give the checkpoint instead.")
        return _exported(path, cache_mib, all_clicks)
    network, preset, name, notes = load_network(path, family, base)
    return TorchPredictor(
        network,
        preset,
        name,
        device=device,
        precision=precision,
        cache_mib=cache_mib,
        host_cache_mib=host_cache_mib,
        notes=notes,
        all_clicks=all_clicks,
    )


def locate(model: str | os.PathLike[str], family: str | None = None) -> tuple[Path, str | None]:
    """Return the file (or folder) of a model and its family, where that is known: by name, or by path.

    Raises:
        ModelError: there is no such installed model.
    """
    path = Path(model)
    if path.suffix or path.exists():
        return path, family
    stored = ModelStore().model(str(model))
    return stored.path, family or stored.family


def _exported(folder: Path, cache_mib: int, all_clicks: bool | None) -> TorchPredictor:
    network, preset, name = load_exported(folder)
    return TorchPredictor(
        network, preset, name, device="cpu", precision="float32", cache_mib=cache_mib, all_clicks=all_clicks
    )


def _export_once(
    path: Path,
    family: str | None,
    base: str | os.PathLike[str] | None,
    runtime: Runtime,
    device: str,
    precision: Precision,
) -> Path:
    """Return the folder of a model's ONNX files; writes them if they are not there yet."""
    if runtime not in get_args(Runtime):
        raise ModelError(f"Unknown runtime {runtime!r}. Use {', '.join(get_args(Runtime))}.")
    if path.is_dir():
        raise ModelError(f"{path.name}: is exported already. Leave the runtime out.")
    if device not in ("auto", "cpu") or precision not in ("auto", "float32"):
        raise ModelError("onnxruntime runs models on the CPU in float32. Leave device and precision out.")
    files = [path] if base is None else [path, Path(base)]
    what = [path.name, family or "", *(file_digest(f) for f in files if f.is_file())]
    name_of_it = hashlib.sha256("|".join(what).encode()).hexdigest()[:32]
    folder = default_folder() / EXPORTED / f"{name_of_it}-{FORM}-{runtime}"
    if not folder.is_dir():
        network, preset, name, _ = load_network(path, family, base)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            export_onnx(network, preset, name, partial, OnnxOptions(quantise=runtime == "onnx-int8"))
            if not folder.is_dir():  # else another process was faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def convert(
    model: str | os.PathLike[str],
    output: Path,
    family: str | None = None,
    base: str | os.PathLike[str] | None = None,
) -> None:
    """Write a model as one safetensors file that says what it is, so that it loads without a word about its family.

    Args:
        model: the name of an installed model, or a checkpoint file.
        output: `.safetensors`.
        family: see `load_predictor`.
        base: see `load_predictor`.

    Raises:
        ModelError, CheckpointError: as `load_predictor`; or the output has another suffix.
    """
    if output.suffix != ".safetensors":
        raise ModelError(f"{output.name}: models are exported as .safetensors.")
    path, family = locate(model, family)
    model_read = _read(path, family, base)
    _build(model_read)  # nothing incomplete is passed on
    about = {
        "network": model_read.network,
        "sizes": model_read.sizes,
        "preset": model_read.preset.to_json(),
        "name": model_read.name,
    }
    partial = output.with_name(f"{output.name}.part")
    write_checkpoint(partial, model_read.checkpoint.weights, **about)
    partial.replace(output)


def load_network(
    path: Path, family: str | None = None, base: str | os.PathLike[str] | None = None
) -> tuple[AnyNetwork, Preset, str, tuple[str, ...]]:
    """Load a checkpoint file: the network on the CPU, its preset, its name and notes for the user.

    Raises:
        ModelError, CheckpointError: as `load_predictor`.
    """
    model_read = _read(path, family, base)
    return _build(model_read), model_read.preset, model_read.name, model_read.notes


@dataclass(frozen=True, eq=False)
class _Read:
    """A checkpoint made whole, and all that is known of it.

    Attributes:
        checkpoint: its weights are those of the network.
        network: name for `nets.build`.
        sizes: what differs from that network's usual sizes.
        preset: its preprocessing.
        name: shown to users.
        notes: for them.
    """

    checkpoint: Checkpoint
    network: str
    sizes: dict[str, Any]
    preset: Preset
    name: str
    notes: tuple[str, ...]


def _read(path: Path, family: str | None, base: str | os.PathLike[str] | None) -> _Read:
    checkpoint = _merged(read_checkpoint(path), base)
    network, preset, notes = _what_it_is(checkpoint, family)
    if family is not None and (part := families.named(family).leaves_out):
        checkpoint = _without(checkpoint, part)
    sizes = _json_entry(checkpoint, "sizes") or families.sizes_of(checkpoint, network)
    name = checkpoint.metadata.get("name", path.stem)
    return _Read(checkpoint, network, sizes, preset, name, (*checkpoint.notes, *notes))


def _build(model_read: _Read) -> AnyNetwork:
    with torch.device("meta"):
        network = nets.build(model_read.network, model_read.sizes)
    load_weights(network, model_read.checkpoint)
    return nets.Slicewise(network) if isinstance(network, nets.SamMed2d) else network


def _without(checkpoint: Checkpoint, part: str) -> Checkpoint:
    weights = {key: value for key, value in checkpoint.weights.items() if part not in key}
    note = f"left out {len(checkpoint.weights) - len(weights)} weights ({part.strip('.')})"
    return replace(checkpoint, weights=weights, notes=(*checkpoint.notes, note))


def family_of(path: Path) -> str | None:
    """Return the family of a checkpoint file without loading it whole; None where its metadata or its base say it.

    Raises:
        CheckpointError: the file is unsafe, damaged or of an unknown architecture.
        AmbiguousFamilyError: somebody has to name its family.
    """
    checkpoint = read_checkpoint(path)
    if is_lora(checkpoint):
        return "sam_med3d"
    if is_updates(checkpoint.weights) or is_encoder_alone(checkpoint):
        return None
    return None if "network" in checkpoint.metadata else families.tell(checkpoint)[0]


def _merged(checkpoint: Checkpoint, base: str | os.PathLike[str] | None) -> Checkpoint:
    """Return a checkpoint made whole: with low-rank updates merged, or with a decoder for an encoder alone."""
    if is_encoder_alone(checkpoint):
        return with_decoder(checkpoint, None if base is None else read_checkpoint(base))
    if is_updates(checkpoint.weights):
        return merge_updates(checkpoint, base)
    if is_lora(checkpoint):
        return merge_lora(checkpoint, None if base is None else read_checkpoint(base))
    if base is not None:
        name = checkpoint.path.name
        raise ModelError(f"{name}: is a whole model, so it needs no base. Leave the base out.")
    return checkpoint


def _what_it_is(checkpoint: Checkpoint, family: str | None) -> tuple[str, Preset, list[str]]:
    """Return network, preset and notes: from the named family, else the file's metadata, else its keys and shapes."""
    notes = []
    network = checkpoint.metadata.get("network")
    if family is not None or network is None:
        if family is None:
            family, how = families.tell(checkpoint)
            notes.append(f"taken for {family}: {how}")
        chosen = families.named(family)
        network, preset = chosen.network, chosen.preset
    else:
        preset = Preset()
    if entry := _json_entry(checkpoint, "preset"):
        fit = preset.fit
        preset = Preset.from_json(entry)
        if family is not None and families.named(family).on_request:
            preset = replace(preset, fit=fit)
    return network, preset, notes


def _json_entry(checkpoint: Checkpoint, key: str) -> dict[str, Any]:
    try:
        entry = json.loads(checkpoint.metadata.get(key, "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{checkpoint.path.name}: {key!r} in its metadata is not JSON.") from error
    if not isinstance(entry, dict):
        raise CheckpointError(f"{checkpoint.path.name}: {key!r} in its metadata is not a JSON object.")
    return entry
