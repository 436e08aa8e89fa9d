"""Sizes of image encoders, in two and three dimensions."""

from __future__ import annotations

from dataclasses import dataclass


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
        mlp_only_blocks: how many of the first blocks have no attention (FastSAM3D's student).
        adapter: whether every block has an adapter beside its MLP (SAM-Med2D).
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

    @property
    def grid(self) -> int:
        """Edge length of the grid of tokens."""
        return self.image_size // self.patch_size
