"""Checkpoints: files that hold weights. Loading them never runs code that they contain.

Source of the `.pth` layout: SAM-Med3D `train.py` (a dict with `model_state_dict`, `argparse.Namespace`, optimizer
state and NumPy scalars) and SAM-Med2D's (the optimizer as an object). The unpickler is torch's `weights_only` one with
the few harmless classes of these layouts allowed; anything else is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sammed3d.errors import CheckpointError
from sammed3d.files.unreadable import no_file

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights are stored as. Whole numbers and floats of 8 bits are quantised: they mean nothing without a scale."""
WRAPPERS = ("module.", "_orig_mod.")
"""What `DistributedDataParallel` and `torch.compile` put before every key."""
STATE_DICT_KEYS = ("model_state_dict", "state_dict", "model")
"""Where checkpoints of this family keep their weights, the published name first."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a file.

    Attributes:
        weights: state-dict key -> tensor, on the CPU, in the file's dtype.
        metadata: strings that a safetensors file carries (for example "network", "preset"); empty for `.pth`.
        path: the file.
        notes: remarks for the user on what was done to the weights on their way here.
    """

    weights: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    path: Path = Path()
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a `.safetensors` file, or a `.pth`/`.pt` file of the published layout or with a bare state dict.

    Raises:
        CheckpointError: missing, unreadable, truncated, holding no weights, or holding objects that could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(no_file(path))
    try:
        path.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    data = _unpickle(path)
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path.name}: expected a dict of weights, found {type(data).__name__}.")
    for key in STATE_DICT_KEYS:
        if isinstance(data.get(key), Mapping):
            data = data[key]
            break
    try:
        weights = {_plain(key): value for key, value in _tensors(data)}
    except RecursionError as error:
        raise CheckpointError(f"{path.name}: is nested without end, so it is no torch checkpoint.") from error
    if not weights:
        raise CheckpointError(
            f"{path.name}: no weights found. Expected a state dict, or one under {', '.join(STATE_DICT_KEYS)}."
        )
    return Checkpoint(weights, {}, path)


def _plain(key: str) -> str:
    """Return a weight's key without what wrapped its network when it was saved."""
    while (plain := key.removeprefix(WRAPPERS[0]).removeprefix(WRAPPERS[1])) != key:
        key = plain
    return key


def _tensors(data: Mapping[Any, Any] | Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of nested dicts and lists, with their keys joined by dots."""
    for key, value in data.items() if isinstance(data, Mapping) else enumerate(data):
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping | list):
            yield from _tensors(value, f"{prefix}{key}.")


def write_checkpoint(path: str | os.PathLike[str], weights: Mapping[str, Tensor], **metadata: Any) -> None:
    """Write weights as safetensors; metadata that is no string is stored as JSON."""
    text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    path = Path(path)
    path.touch()
    rights = path.stat().st_mode  # safetensors' own files can be read by their owner alone
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, path, text)
    path.chmod(rights)


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a network, every one of them, as float32.

    The network may have been built on torch's "meta" device: its tensors are replaced, not filled.

    Raises:
        CheckpointError: keys are missing or unexpected, shapes differ, or values are no finite real numbers; lists the
            first few and how many.
    """
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in checkpoint.weights.items()}
    problems = []
    if missing := [k for k in expected if k not in found]:
        problems.append(f"{len(missing)} of {len(expected)} weights are missing ({_first(missing)})")
    if unexpected := [k for k in found if k not in expected]:
        problems.append(f"{len(unexpected)} weights are unexpected ({_first(unexpected)})")
    if differing := [k for k in expected if k in found and expected[k] != found[k]]:
        shapes = [f"{k} is {found[k]}, not {expected[k]}" for k in differing]
        problems.append(f"{len(differing)} weights have another shape ({_first(shapes)})")
    if strange := [f"{k} is {_kind(v)}" for k, v in checkpoint.weights.items() if not _holds_numbers(v)]:
        problems.append(f"{len(strange)} weights are no plain real numbers ({_first(strange)})")
    # Copied, so that nothing refers to a memory-mapped file that the user may move or delete.
    weights = {} if problems else {k: v.to(torch.float32, copy=True) for k, v in checkpoint.weights.items()}
    if broken := [k for k, v in weights.items() if not torch.isfinite(v).all()]:
        problems.append(f"{len(broken)} weights are not finite ({_first(broken)})")
    if problems:
        raise CheckpointError(
            f"{checkpoint.path.name}: not a complete checkpoint of this model: {'; '.join(problems)}. "
            "Choose the right file or model, or download the file again."
        )
    network.load_state_dict(weights, strict=True, assign=True)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            weights = {_plain(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            return Checkpoint(weights, file.metadata() or {}, path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name}: damaged or incomplete safetensors file. Download it again.") from error


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
            raise CheckpointError(
                f"{path.name}: refused, because it holds objects that could run code, not only weights. "
                "Only load checkpoints from their authors; ask them for a safetensors file."
            ) from error
        raise CheckpointError(f"{path.name}: damaged, or not a torch checkpoint. Download it again.") from error
    except MemoryError:
        raise
    except Exception as error:  # struct.error, IndexError, AssertionError, ...: what is cut off may end anywhere
        raise CheckpointError(f"{path.name}: damaged or incomplete. Download it again.") from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _harmless_globals() -> list[Any]:
    """Classes that the published layout pickles beside tensors; none of them runs code of the file's choosing."""
    scalar = np.float64().__reduce__()[0]  # which pickles call; it lies elsewhere in NumPy 1
    optimizers = ["adam.Adam", "adamw.AdamW", "sgd.SGD"]
    number_types = [np.dtype(c) for c in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    return [
        argparse.Namespace,
        np.dtype,
        *{type(t) for t in number_types},
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        *((_Ignored, f"torch.optim.{name}") for name in optimizers),
        (_plain_dict, "collections.defaultdict"),
        (dict, "builtins.dict"),
        (dict, "__builtin__.dict"),
    ]


def _plain_dict(_factory: object) -> dict[Any, Any]:
    """Stands for a `defaultdict`, which the unpickler cannot fill."""
    return {}


class _Ignored:
    """Stands for an optimizer that was pickled as an object (SAM-Med2D): takes its state and does nothing with it."""


def _holds_numbers(weight: Tensor) -> bool:
    return weight.dtype in NUMBERS and weight.layout == torch.strided and not weight.is_meta


def _kind(weight: Tensor) -> str:
    """Say what a tensor is, shortly: its type, or why it has no plain values."""
    if weight.is_meta:
        return "without values"
    return str(weight.dtype if weight.layout == torch.strided else weight.layout).removeprefix("torch.")


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
