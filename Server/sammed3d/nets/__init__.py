"""The network architectures. They know tensors only: nothing of volumes, files or devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from sammed3d.errors import ModelError
from sammed3d.nets.promptable_unet import PromptableUNet, PromptableUNetConfig
from sammed3d.nets.sam_med2d import CONFIGS_2D, SamMed2d
from sammed3d.nets.sam_med3d import CONFIGS, SamMed3d, SamMed3dConfig
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
        ModelError: the name or a size is unknown.
    """
    if name in CONFIGS_2D:
        others = {k: v for k, v in (sizes or {}).items() if k != "encoder"}
        try:
            return SamMed2d(CONFIGS_2D[name].with_sizes((sizes or {}).get("encoder", {})), **others)
        except TypeError as error:
            raise ModelError(f"Unknown network size: {error}.") from error
    if name == PROMPTABLE_UNET:
        return PromptableUNet(PromptableUNetConfig().with_sizes(sizes or {}))
    config = CONFIGS.get(_ALIASES.get(name, name))
    if config is None:
        raise ModelError(f"There is no network named {name!r}. Known: {', '.join(names())}.")
    return SamMed3d(config.with_sizes(sizes or {}))
