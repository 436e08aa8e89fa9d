"""Families: which network and which preprocessing belong together, and how a file's weights tell them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sammed3d import nets
from sammed3d.errors import AmbiguousFamilyError, CheckpointError, ModelError
from sammed3d.inference.preset import Preset
from sammed3d.zoo import registry
from sammed3d.zoo.checkpoint import Checkpoint

SAM_MED3D = Preset()
SAM_MED3D_256 = Preset(patch_shape=(256, 256, 256), low_res_shape=(64, 64, 64))
SAM_MED2D = Preset(patch_shape=(256, 256, 1), low_res_shape=(64, 64, 1), normalisation="grey", fit="resize", boxes=True)
CT_LIDC = Preset((1.0, 1.0, 1.0), clamp=(-1024.0, 300.0), rescale=True, normalisation="none")


@dataclass(frozen=True)
class Family:
    """A published way to use a network.

    Attributes:
        network: name for `nets.build`.
        preset: the preprocessing that its checkpoints were trained with.
        about: its source.
        on_request: another way to use weights of a family before it: taken where it is named, never recognised.
        leaves_out: a part of the keys of those weights that this way does without; "" if it needs all.
    """

    network: str
    preset: Preset
    about: str
    on_request: bool = False
    leaves_out: str = ""


FAMILIES: dict[str, Family] = {
    "sam_med3d": Family("sam_med3d", SAM_MED3D, "SAM-Med3D, SAM-Med3D-turbo and BoSAM"),
    "sam_med3d_boxes": Family(
        "sam_med3d_boxes", replace(SAM_MED3D, boxes=True), "SAM-Med3D's CVPR 2025 checkpoints, which know boxes"
    ),
    "sam_med3d_vit_b": Family("sam_med3d_vit_b", SAM_MED3D_256, "SAM-Med3D's 256³ ViT-B; no published weights"),
    "sam_med3d_vit_l": Family("sam_med3d_vit_l", SAM_MED3D_256, "SAM-Med3D's 256³ ViT-L; no published weights"),
    "sam_med3d_vit_h": Family("sam_med3d_vit_h", SAM_MED3D_256, "SAM-Med3D's 256³ ViT-H; no published weights"),
    "fastsam3d": Family("fastsam3d", SAM_MED3D, "FastSAM3D's student"),
    "fastsam3d_windowed": Family("fastsam3d_windowed", SAM_MED3D, "FastSAM3D's student, trained on several GPUs"),
    "fastsam3d_teacher": Family("fastsam3d_teacher", SAM_MED3D, "FastSAM3D's 12-layer network"),
    "ct_lidc": Family("sam_med3d", CT_LIDC, "the CT fork for lung nodules (LIDC): HU -1024..300, 1 mm, 128³"),
    "ct_lidc_96": Family(
        "sam_med3d_96",
        replace(CT_LIDC, patch_shape=(96, 96, 96), low_res_shape=(24, 24, 24)),
        "the CT fork for lung nodules (LIDC) with 96³ patches",
    ),
    "ct_lidc_32_slices": Family(
        "sam_med3d_32_slices",
        replace(CT_LIDC, patch_shape=(32, 128, 128)),
        "the CT fork for lung nodules (LIDC) with patches of 32 x 128 x 128",
    ),
    "sam_med2d": Family("sam_med2d", SAM_MED2D, "SAM-Med2D, slice by slice"),
    "sam_med2d_padded": Family(
        "sam_med2d",
        replace(SAM_MED2D, fit="pad"),
        "SAM-Med2D with small slices padded instead of enlarged, as in its test code",
        on_request=True,
    ),
    "sam_med2d_no_adapters": Family(
        "ft_sam2d", SAM_MED2D, "SAM-Med2D without its adapters", on_request=True, leaves_out=".Adapter."
    ),
    "ft_sam2d": Family("ft_sam2d", SAM_MED2D, "FT-SAM: SAM fine-tuned on 256 x 256 medical images, slice by slice"),
}
"""By name."""


def named(name: str) -> Family:
    """Return a family by name.

    Raises:
        ModelError: there is none; lists those that there are.
    """
    if name not in FAMILIES:
        raise ModelError(f"There is no family named {name!r}. Known: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def tell(checkpoint: Checkpoint) -> tuple[str, str]:
    """Return the name of a checkpoint's family, and how that is known.

    Raises:
        CheckpointError: a reason of `recognise`.
        AmbiguousFamilyError: several families share its keys and shapes, and nothing else tells them apart.
    """
    names = recognise(checkpoint)
    count = len(checkpoint.weights)
    if len(names) == 1:
        return names[0], f"no other network is as near to its {count} weights"
    if checkpoint.metadata.get("family") in names:
        return checkpoint.metadata["family"], "only its files are laid out like this one"
    published = registry.published_as(checkpoint.path.name)
    if published is not None and published.family in names:
        return published.family, f"{published.title} is published under this file name"
    raise AmbiguousFamilyError(
        f"{checkpoint.path.name}: its {count} weights fit several families, which compute or prepare images "
        f"differently: {', '.join(names)}. Say which it is (--family; Slicer asks at import).",
        names,
    )


def sizes_of(checkpoint: Checkpoint, network: str) -> dict[str, Any]:
    """Return what a network's name leaves open and the shapes of a checkpoint tell.

    Those are, of FastSAM3D's students, the number of attention heads and which blocks have windows.
    """
    if network not in ("fastsam3d", "fastsam3d_windowed"):
        return {}
    config = nets.CONFIGS[network].encoder
    of_blocks = {n: checkpoint.weights.get(f"image_encoder.blocks.{n}.attn.rel_pos_d") for n in range(config.depth)}
    tables = {n: table for n, table in of_blocks.items() if table is not None and table.ndim == 2}
    sizes: dict[str, Any] = {}
    widths = {table.shape[1] for table in tables.values()}
    if (
        len(widths) == 1
        and (width := widths.pop())
        and config.width % width == 0
        and config.width // width != config.heads
    ):
        sizes["heads"] = config.width // width
    if network == "fastsam3d_windowed":
        sizes["global_blocks"] = [n for n, table in tables.items() if len(table) == 2 * config.grid - 1]
    return {"encoder": sizes} if sizes else {}


def recognise(checkpoint: Checkpoint) -> list[str]:
    """Return the names of the families whose networks a checkpoint's keys and shapes fit best.

    Raises:
        CheckpointError: no known network is near, or it is plain SAM; an incomplete file is recognised, and refused
            later with a list.
    """
    position = checkpoint.weights.get("image_encoder.pos_embed")
    if position is not None and tuple(position.shape[:3]) == (1, 64, 64):
        raise CheckpointError(
            f"{checkpoint.path.name}: a checkpoint of plain SAM for images of 1024 x 1024 (MedSAM has the same "
            "layout). Use one for 256 x 256: SAM-Med2D or FT-SAM."
        )
    found = {(key, _told(key, value.shape)) for key, value in checkpoint.weights.items()}
    shared = {name: len(found & expected) / len(found | expected) for name, expected in _known_shapes().items()}
    best = max(shared.values())
    names = [name for name, share in shared.items() if share == best and not FAMILIES[name].on_request]
    if best < 0.5:
        raise CheckpointError(
            f"{checkpoint.path.name}: none of the known networks. Its {len(found)} weights share "
            f"{best:.0%} with {names[0]}, the nearest of {', '.join(FAMILIES)}."
        )
    return names


@functools.cache
def _known_shapes() -> dict[str, set[tuple[str, tuple[int, ...]]]]:
    with torch.device("meta"):
        states = {name: nets.build(family.network).state_dict() for name, family in FAMILIES.items()}
    return {name: {(key, _told(key, value.shape)) for key, value in state.items()} for name, state in states.items()}


def _told(key: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return what of a weight's shape tells families apart: not the number of heads, by which tables are narrower."""
    return tuple(shape[:1] if ".attn.rel_pos_" in key else shape)
