"""Families: which network and which preprocessing belong together, and how a file's weights tell them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch

from sammed3d import nets
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.preset import Preset
from sammed3d.zoo.checkpoint import Checkpoint

SAM_MED3D = Preset()
SAM_MED3D_256 = Preset(patch_shape=(256, 256, 256), low_res_shape=(64, 64, 64))
CT_LIDC = Preset((1.0, 1.0, 1.0), clamp=(-1024.0, 300.0), rescale=True, normalisation="none")


@dataclass(frozen=True)
class Family:
    """A published way to use a network.

    Attributes:
        network: name for `nets.build`.
        preset: the preprocessing that its checkpoints were trained with.
        about: where it comes from.
    """

    network: str
    preset: Preset
    about: str


FAMILIES: dict[str, Family] = {
    "sam_med3d": Family("sam_med3d", SAM_MED3D, "SAM-Med3D, SAM-Med3D-turbo and BoSAM"),
    "sam_med3d_boxes": Family("sam_med3d_boxes", SAM_MED3D, "SAM-Med3D's CVPR 2025 checkpoints, which know boxes"),
    "sam_med3d_vit_b": Family("sam_med3d_vit_b", SAM_MED3D_256, "SAM-Med3D's 256³ ViT-B; no published weights"),
    "sam_med3d_vit_l": Family("sam_med3d_vit_l", SAM_MED3D_256, "SAM-Med3D's 256³ ViT-L; no published weights"),
    "sam_med3d_vit_h": Family("sam_med3d_vit_h", SAM_MED3D_256, "SAM-Med3D's 256³ ViT-H; no published weights"),
    "fastsam3d": Family("fastsam3d", SAM_MED3D, "FastSAM3D's student"),
    "fastsam3d_teacher": Family("fastsam3d_teacher", SAM_MED3D, "FastSAM3D's 12-layer network"),
    "ct_lidc": Family("sam_med3d", CT_LIDC, "the CT fork for lung nodules (LIDC): HU -1024..300, 1 mm, 128³"),
    "ct_lidc_96": Family(
        "sam_med3d_96",
        replace(CT_LIDC, patch_shape=(96, 96, 96), low_res_shape=(24, 24, 24)),
        "the CT fork for lung nodules (LIDC) with 96³ patches",
    ),
}
"""By name. Of several that share keys and shapes the first is taken where nothing else tells them apart."""


def named(name: str) -> Family:
    """Return a family by name.

    Raises:
        ModelError: there is none; lists those that there are.
    """
    if name not in FAMILIES:
        raise ModelError(f"There is no family named {name!r}. Known: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def recognise(checkpoint: Checkpoint) -> list[str]:
    """Return the names of the families whose networks a checkpoint's keys and shapes fit best.

    Raises:
        CheckpointError: no known network is near; an incomplete file is recognised, and refused later with a list.
    """
    found = {(key, tuple(value.shape)) for key, value in checkpoint.weights.items()}
    shared = {name: len(found & expected) / len(found | expected) for name, expected in _known_shapes().items()}
    best = max(shared.values())
    names = [name for name, share in shared.items() if share == best]
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
    return {name: {(key, tuple(value.shape)) for key, value in state.items()} for name, state in states.items()}
