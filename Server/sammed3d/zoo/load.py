"""From a model's name or a checkpoint file to a loaded model, and to a predictor."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from sammed3d.errors import CheckpointError, ModelError
from sammed3d.inference.preset import Preset
from sammed3d.predictors import products
from sammed3d.predictors.device import Precision, choose_device
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.zoo import families, registry
from sammed3d.zoo.about_file import LEARNT_FROM
from sammed3d.zoo.adapters.bosam import is_lora, merge_lora
from sammed3d.zoo.adapters.fastsam3d_encoder import is_encoder_alone, with_decoder
from sammed3d.zoo.adapters.lora import is_updates, merge_updates
from sammed3d.zoo.checkpoint import Checkpoint, read_checkpoint
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.onnx.cache import exported_once
from sammed3d.zoo.onnx.export import MODEL
from sammed3d.zoo.onnx.network import load_exported
from sammed3d.zoo.store import RUN_WEIGHTS, ModelStore, StoredModel

Runtime = Literal["torch", "onnx", "onnx-int8"]


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
            `.safetensors`), of the folder of a training run, or of a folder of exported ONNX files, which run on the
            CPU in float32.
        device: "auto" (CUDA, else Apple MPS, else CPU), or a torch device.
        precision: "auto", "float32", "bfloat16" or "float16".
        family: one of `families.FAMILIES`, where keys and shapes do not tell it.
        base: the model that completes a file: what low-rank (LoRA) matrices were trained on, or whose prompt encoder
            and mask decoder go with an image encoder alone.
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
    if runtime not in get_args(Runtime):
        raise ModelError(f"Unknown runtime {runtime!r}. Use {', '.join(get_args(Runtime))}.")
    place = locate(model, family)
    exported = place.path.is_dir() or runtime != "torch"
    if exported and (device not in ("auto", "cpu") or precision not in ("auto", "float32")):
        raise ModelError(
            f"{place.path.name}: exported models run on the CPU in float32. Leave device and precision out, or give "
            "the checkpoint and no runtime."
        )
    if runtime != "torch":
        if place.path.is_dir():
            raise ModelError(f"{place.path.name}: is exported already. Leave the runtime out.")
        files = [place.path] if base is None else [place.path, locate(base).path]
        quantise = runtime == "onnx-int8"
        loaded = exported_once(files, place.family, lambda: load_model(model, family, base), quantise)
    else:
        loaded = load_model(model, family, base)
    predictor = TorchPredictor(
        loaded.network,
        loaded.preset,
        loaded.name,
        device="cpu" if exported else device,
        precision="float32" if exported else precision,
        cache_mib=cache_mib,
        host_cache_mib=host_cache_mib,
        notes=loaded.notes,
        all_clicks=all_clicks,
        arithmetic=loaded.arithmetic,
    )
    if predictor.autocast_type is not None:
        products.narrow(loaded.plain_network, predictor.autocast_type)
    elif predictor.device.type == "cpu":
        products.pack(loaded.plain_network)
    return predictor


def load_model(
    model: str | os.PathLike[str] = "default",
    family: str | None = None,
    base: str | os.PathLike[str] | None = None,
) -> LoadedModel:
    """Load a model: its network on the CPU, and everything that has to travel with it.

    Args:
        model: name or path, as for `load_predictor`.
        family: family of the file, as for `load_predictor`.
        base: base of low-rank updates, as for `load_predictor`.

    Raises:
        ModelError: the model is not known or not installed, or the named family is not that of the file.
        CheckpointError: the file is unsafe, damaged, incomplete or of an unknown architecture.
        AmbiguousFamilyError: several families fit; one has to be named.
    """
    place = locate(model, family)
    if place.path.is_dir():
        return load_exported(place.path)
    checkpoint = _completed(read_checkpoint(place.path), base)
    family = place.family
    network_name, preset, notes = _what_it_is(checkpoint, family)
    if family is not None and (part := families.named(family).leaves_out):
        checkpoint = _without(checkpoint, part)
    about = checkpoint.metadata
    published = registry.published_as(place.path.name)
    known_licence = published.licence if published else ""
    name, licence = about.get("name") or place.path.stem, about.get("licence") or known_licence
    if place.stored is not None and not place.stored.is_bundled:  # who installed it has the last word
        name, licence = place.stored.title or name, place.stored.licence or licence
    return LoadedModel.assembled(
        checkpoint,
        network_name,
        _json_entry(checkpoint, "sizes", dict) or families.sizes_of(checkpoint, network_name),
        preset=preset,
        name=name,
        notes=(*_json_entry(checkpoint, "notes", list), *checkpoint.notes, *notes),
        licence=licence,
        origin=about.get("origin") or (place.stored.source if place.stored else place.path.name),
        learnt_from=tuple(_json_entry(checkpoint, LEARNT_FROM, list)),
    )


def family_of(path: Path) -> str | None:
    """Return the family of a checkpoint file without loading it whole; None where its metadata or its base say it.

    Raises:
        CheckpointError: the file is unsafe, damaged or of an unknown architecture.
        AmbiguousFamilyError: several families fit; one has to be named.
    """
    checkpoint = read_checkpoint(path)
    if is_lora(checkpoint):
        return "sam_med3d"
    if is_updates(checkpoint.weights) or is_encoder_alone(checkpoint):
        return None
    return None if "network" in checkpoint.metadata else families.tell(checkpoint)[0]


@dataclass(frozen=True)
class Location:
    """Where a model is.

    Attributes:
        path: its file of weights, or a folder of exported files.
        family: the family named by the caller, or known to the store; None where neither says.
        stored: its entry in the store; None for a path.
    """

    path: Path
    family: str | None
    stored: StoredModel | None = None


def locate(model: str | os.PathLike[str], family: str | None = None) -> Location:
    """Find a model by name or path; an installed model goes before a file or folder of the same name.

    Raises:
        ModelError: there is no such installed model, or a folder holds none.
    """
    if not os.fspath(model):
        raise ModelError("A model has a name, or a file. Give one; `sammed3d models list` shows what is installed.")
    path = Path(model)
    is_path = bool(path.suffix) or len(path.parts) > 1
    if not is_path and path.exists():
        is_path = all(str(model) != known.name for known in ModelStore().models())
    if not is_path:
        stored = ModelStore().model(str(model))
        return Location(stored.path, family or stored.family, stored)
    if path.is_dir() and (path / RUN_WEIGHTS).is_file():
        path = path / RUN_WEIGHTS
    elif path.is_dir() and not (path / MODEL).is_file():
        raise ModelError(f"{path}: this folder holds neither a training run nor exported files. Give a checkpoint.")
    return Location(path, family)


def _completed(checkpoint: Checkpoint, base: str | os.PathLike[str] | None) -> Checkpoint:
    """Return a checkpoint made whole: with low-rank updates merged, or with a decoder for an encoder alone."""
    if is_encoder_alone(checkpoint):
        return with_decoder(checkpoint, None if base is None else _base(base))
    if is_updates(checkpoint.weights):
        return merge_updates(checkpoint, None if base is None else _base(base))
    if is_lora(checkpoint):
        return merge_lora(checkpoint, None if base is None else _base(base))
    if base is not None:
        name = checkpoint.path.name
        raise ModelError(f"{name}: is a whole model, so it needs no base. Leave the base out.")
    return checkpoint


def _base(model: str | os.PathLike[str]) -> Checkpoint:
    """Read the model that completes another file; a LoRA-wrapped one is merged."""
    checkpoint = read_checkpoint(locate(model).path)
    return merge_lora(checkpoint) if is_lora(checkpoint) else checkpoint


def _without(checkpoint: Checkpoint, part: str) -> Checkpoint:
    weights = {key: value for key, value in checkpoint.weights.items() if part not in key}
    note = f"left out {len(checkpoint.weights) - len(weights)} weights ({part.strip('.')})"
    return replace(checkpoint, weights=weights, notes=(*checkpoint.notes, note))


def _what_it_is(checkpoint: Checkpoint, family: str | None) -> tuple[str, Preset, list[str]]:
    """Return network, preset and notes: from the file's metadata, else the named family, else its keys and shapes."""
    notes = []
    carried = checkpoint.metadata.get("network")
    named = None if family is None else families.named(family)
    if named is not None and carried not in (None, named.network) and not named.on_request:
        raise ModelError(
            f"{checkpoint.path.name}: says of itself that its network is {carried}, and {family} has "
            f"{named.network}. Leave the family out."
        )
    if named is None and carried is None:
        found, how = families.tell(checkpoint)
        notes.append(f"taken for {found}: {how}")
        named = families.named(found)
    network, preset = (named.network, named.preset) if named is not None else (str(carried), Preset())
    if entry := _json_entry(checkpoint, "preset", dict):
        fit = preset.fit
        preset = Preset.from_json(entry)
        if named is not None and named.on_request:
            preset = replace(preset, fit=fit)
    return network, preset, notes


def _json_entry(checkpoint: Checkpoint, key: str, kind: type[Any]) -> Any:
    """Return an entry of a file's metadata; an empty one where there is none."""
    try:
        entry = json.loads(checkpoint.metadata[key]) if key in checkpoint.metadata else kind()
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{checkpoint.path.name}: {key!r} in its metadata is not JSON.") from error
    if not isinstance(entry, kind):
        raise CheckpointError(f"{checkpoint.path.name}: {key!r} in its metadata is not a JSON {kind.__name__}.")
    return entry
