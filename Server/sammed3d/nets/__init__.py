"""The network architectures. They know tensors only: nothing of volumes, files or devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from sammed3d.errors import ModelError
from sammed3d.nets.promptable_unet import PromptableUNet, PromptableUNetConfig
from sammed3d.nets.sam_med2d import CONFIGS_2D, Decoder2dConfig, SamMed2d
from sammed3d.nets.sam_med3d import CONFIGS, SamMed3d, SamMed3dConfig
from sammed3d.nets.sizes import with_sizes
from sammed3d.nets.slicewise import Slicewise

__all__ = [
    "CONFIGS",
    "CONFIGS_2D",
    "PromptableUNet",
    "SamMed2d",
    "SamMed3d",
    "SamMed3dConfig",
    "Slicewise",
    "build",
    "names",
]

PROMPTABLE_UNET = "promptable_unet"
_ALIASES = {"vit_b_ori": "sam_med3d"}


def names() -> list[str]:
    """Names that `build` knows."""
    return [*CONFIGS, *CONFIGS_2D, PROMPTABLE_UNET, *_ALIASES]


@overload
def build(  # type: ignore[overload-overlap]
    name: Literal["sam_med2d", "ft_sam2d"], sizes: Mapping[str, Any] | None = None
) -> SamMed2d: ...
@overload
def build(  # type: ignore[overload-overlap]
    name: Literal["promptable_unet"], sizes: Mapping[str, Any] | None = None
) -> PromptableUNet: ...
@overload
def build(name: str, sizes: Mapping[str, Any] | None = None) -> SamMed3d: ...
def build(name: str, sizes: Mapping[str, Any] | None = None) -> SamMed3d | SamMed2d | PromptableUNet:
    """Build a network with random weights and the published state-dict keys.

    Args:
        name: one of `names()`.
        sizes: those that differ from the usual ones: {"encoder": {"width": 96, ...}, "decoder_mlp": 512} for all but
            the U-Net, whose configuration has names of its own.

    Raises:
        ModelError: the name or a size is unknown, or no network has these sizes.
    """
    try:
        return _built(name, sizes or {})
    except (
        RuntimeError,
        ValueError,
        ArithmeticError,
        TypeError,
    ) as error:  # torch's, of sizes that do not fit together
        raise ModelError(f"{name}: no network can be made with the sizes {sizes}: {error}") from error


def _built(name: str, sizes: Mapping[str, Any]) -> SamMed3d | SamMed2d | PromptableUNet:
    if name in CONFIGS_2D:
        decoder = with_sizes(Decoder2dConfig(), {k: v for k, v in sizes.items() if k != "encoder"})
        encoder = CONFIGS_2D[name].with_sizes(sizes.get("encoder", {}))
        if encoder.out_channels % 16:  # eight heads of half the channels in the decoder
            raise ModelError(f"The network size out_channels is {encoder.out_channels}; a multiple of 16 is needed.")
        return SamMed2d(encoder, decoder.decoder_mlp)
    if name == PROMPTABLE_UNET:
        return PromptableUNet(PromptableUNetConfig().with_sizes(sizes))
    config = CONFIGS.get(_ALIASES.get(name, name))
    if config is None:
        raise ModelError(f"There is no network named {name!r}. Known: {', '.join(names())}.")
    return SamMed3d(config.with_sizes(sizes))
