"""Sizes of image encoders, in two and three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sammed3d.errors import ModelError
from sammed3d.nets.sizes import with_sizes


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an image encoder.

    Attributes:
        image_size: edge length of the cubic (square) input, voxels.
        patch_size: edge length of the cube (square) that becomes one token, voxels.
        width: channels of a token.
        depth: number of transformer blocks.
        heads: attention heads of a block.
        window: edge length of attention windows, tokens; 0 for attention to the whole grid in every block.
        global_blocks: the blocks that attend to the whole grid instead.
        out_channels: channels of the image embedding.
        mlp_only_blocks: number of first blocks without attention (FastSAM3D's student).
        adapter: whether every block has an adapter beside its MLP (SAM-Med2D).
        first_axis_divisor: how many times fewer voxels than the other axes the first one has, in the input and in what
            becomes one token: 1, or 4 (the CT fork's network for 32 slices).
        normalised_residual: whether the MLP adds to its normalised input instead of its input (all of FastSAM3D).
    """

    image_size: int = 128
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    out_channels: int = 384
    adapter: bool = False
    mlp_only_blocks: int = 0
    normalised_residual: bool = False
    first_axis_divisor: int = 1

    def with_sizes(self, sizes: Mapping[str, Any]) -> EncoderConfig:
        """Return this configuration with other sizes, by the names of the attributes.

        Raises:
            ModelError: a size is unknown, cannot be one, or does not go together with the others.
        """
        made = with_sizes(self, sizes)
        parts = {
            "heads": (made.width, "width"),
            "patch_size": (made.image_size, "image_size"),
            "first_axis_divisor": (made.patch_size, "patch_size"),
        }
        for name, (whole, of) in parts.items():
            if whole % getattr(made, name):
                raise ModelError(
                    f"The network size {name} is {getattr(made, name)}, which does not divide {of} ({whole})."
                )
        return made

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Voxels of a 3-D input along each axis."""
        return self.image_size // self.first_axis_divisor, self.image_size, self.image_size

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Voxels that become one token, along each axis of a 3-D input."""
        return self.patch_size // self.first_axis_divisor, self.patch_size, self.patch_size

    @property
    def grid(self) -> int:
        """Edge length of the grid of tokens."""
        return self.image_size // self.patch_size
