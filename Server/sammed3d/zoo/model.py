"""A loaded model: a network with its weights, and everything that has to travel with them.

Loading returns it, training starts from it and writes it, export and import carry it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sammed3d import nets
from sammed3d.errors import CheckpointError, ModelError, VolumeError
from sammed3d.files.outputs import written_whole
from sammed3d.inference.preset import Preset
from sammed3d.zoo.about_file import LEARNT_FROM
from sammed3d.zoo.checkpoint import Checkpoint, load_weights, write_checkpoint

if TYPE_CHECKING:
    from sammed3d.zoo.onnx.network import OnnxNetwork

AnyNetwork: TypeAlias = "nets.SamMed3d | nets.PromptableUNet | nets.Slicewise | OnnxNetwork"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network and what is known of it.

    Attributes:
        network: float32, on the CPU; a 2-D network is inside `nets.Slicewise`, an exported one runs with onnxruntime.
        network_name: the name by which `nets.build` makes it.
        sizes: sizes that differ from that network's usual ones; see `nets.build`.
        preset: the preprocessing that the weights were trained with.
        name: shown to users.
        notes: remarks for users on how the weights came together.
        licence: licence as its source states it; "" where not known.
        origin: source of the weights, in words; "" where not known.
        file: the file that was loaded; None for random weights.
        arithmetic: its numbers and device in words, where the network itself decides that; None else.
        learnt_from: digests of the images that `sammed3d learn` taught it, or that chose its weights.
    """

    network: AnyNetwork
    network_name: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    preset: Preset = field(default_factory=Preset)
    name: str = ""
    notes: tuple[str, ...] = ()
    licence: str = ""
    origin: str = ""
    file: Path | None = None
    arithmetic: str | None = None
    learnt_from: tuple[str, ...] = ()

    @classmethod
    def untrained(cls, network_name: str, sizes: Mapping[str, Any] | None = None) -> LoadedModel:
        """Return a 3-D network with random weights, and SAM-Med3D's preprocessing for patches of its size.

        Raises:
            ModelError: the network or a size is unknown.
        """
        network = nets.build(network_name, sizes or None)
        if isinstance(network, nets.SamMed2d):
            raise ModelError(f"{network_name}: works slice by slice; only 3-D networks can be trained.")
        preset = Preset(patch_shape=network.patch_shape, low_res_shape=network.low_res_shape)
        return cls(network, network_name, dict(sizes or {}), preset, network_name, origin="random weights")

    @classmethod
    def assembled(
        cls, checkpoint: Checkpoint, network_name: str, sizes: Mapping[str, Any], **about: Any
    ) -> LoadedModel:
        """Build a network and give it the weights of a checkpoint, every one of them.

        Args:
            checkpoint: checkpoint of the whole network.
            network_name: the network's name in `nets.build`.
            sizes: the network's sizes in `nets.build`.
            about: the other attributes.

        Raises:
            CheckpointError: weights are missing, unexpected, of another shape, or not finite; or the preset makes
                patches that the network cannot take.
            ModelError: the network or a size is unknown, or no network has these sizes.
        """
        with torch.device("meta"), _WithoutFirstValues():
            network = nets.build(network_name, sizes)
        load_weights(network, checkpoint)
        _check_patches(network, about.get("preset", Preset()), checkpoint.path.name)
        shown = nets.Slicewise(network) if isinstance(network, nets.SamMed2d) else network
        return cls(shown, network_name, sizes, file=checkpoint.path, **about)

    @property
    def plain_network(self) -> nn.Module:
        """The network whose weights a checkpoint holds."""
        network: Any = self.network.network if isinstance(self.network, nets.Slicewise) else self.network
        plain: nn.Module = network
        return plain

    def about(self) -> dict[str, Any]:
        """Return everything but the weights, as JSON types."""
        return {
            "network": self.network_name,
            "sizes": dict(self.sizes),
            "preset": self.preset.to_json(),
            "name": self.name,
            "notes": list(self.notes),
            "licence": self.licence,
            "origin": self.origin,
        } | ({LEARNT_FROM: list(self.learnt_from)} if self.learnt_from else {})

    def write(self, path: str | os.PathLike[str], weights: Mapping[str, Tensor] | None = None, **further: Any) -> None:
        """Write a safetensors file that `load_model` reads without a word about what it is; whole or not at all.

        Args:
            path: `.safetensors`.
            weights: weights in place of the network's, under the same keys.
            further: more entries for the file's metadata.

        Raises:
            ModelError: the network was exported and has no weights, the path has another suffix, or it cannot be
                written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ModelError(f"{path.name}: models are written as .safetensors.")
        found = self.plain_network.state_dict() if weights is None else weights
        if not found:
            raise ModelError(f"{self.name}: was exported before and holds no weights. Choose its checkpoint.")
        try:
            with written_whole(path) as beside:
                write_checkpoint(beside, found, **self.about(), **further)
        except (VolumeError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be written. Check its name, permissions and free space.") from error


def _check_patches(network: nets.SamMed3d | nets.SamMed2d | nets.PromptableUNet, preset: Preset, name: str) -> None:
    """Refuse a preset that makes other patches than the network takes.

    Raises:
        CheckpointError: it does.
    """
    wanted = network.patch_shape, network.low_res_shape
    if (preset.patch_shape, preset.low_res_shape) == wanted:
        return
    raise CheckpointError(
        f"{name}: its preset makes patches of {preset.patch_shape} with logits of {preset.low_res_shape}, and its "
        f"network takes {wanted[0]} with {wanted[1]}. Export the model again, or ask for a file that fits together."
    )


class _WithoutFirstValues(TorchFunctionMode):
    """Leaves out the random numbers that a new network begins with: a tensor on "meta" has no values.

    There, torch would make them with its reference operations, for which it imports its compiler and SymPy: seconds
    for nothing.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, unless it fills a tensor."""
        given = dict(kwargs or {})
        if func is torch.randn:
            return torch.empty(*args, **given)
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)
