"""SAM-Med3D and FastSAM3D: image encoder, prompt encoder and mask decoder as one network.

Source: `segment_anything/build_sam3D.py` of SAM-Med3D and of FastSAM3D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from sammed3d.errors import ModelError
from sammed3d.nets.config import EncoderConfig
from sammed3d.nets.image_encoder_3d import ImageEncoder3d
from sammed3d.nets.mask_decoder import MaskDecoder
from sammed3d.nets.prompt_encoder import PromptEncoder
from sammed3d.nets.sizes import with_sizes


@dataclass(frozen=True)
class SamMed3dConfig:
    """Sizes of the whole network.

    Attributes:
        encoder: Sizes of the image encoder; its `out_channels` are those of prompt encoder and decoder too.
        decoder_mlp: Hidden width of the decoder's transformer MLPs.
        boxes: Whether the prompt encoder knows boxes (the CVPR 2025 checkpoints).
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder_mlp: int = 2048
    boxes: bool = False

    def with_sizes(self, sizes: Mapping[str, Any]) -> SamMed3dConfig:
        """Return this configuration with other sizes: {"encoder": {"width": 96, ...}, "decoder_mlp": 512}.

        Raises:
            ModelError: a size is unknown, cannot be one, or does not go together with the others.
        """
        own = {name: value for name, value in sizes.items() if name != "encoder"}
        encoder = self.encoder.with_sizes(sizes.get("encoder", {}))
        if encoder.out_channels % 48:  # three axes of positions, and eight heads of half the channels in the decoder
            raise ModelError(f"The network size out_channels is {encoder.out_channels}; a multiple of 48 is needed.")
        return replace(with_sizes(self, own), encoder=encoder)


CONFIGS: dict[str, SamMed3dConfig] = {
    "sam_med3d": SamMed3dConfig(),
    "sam_med3d_boxes": SamMed3dConfig(boxes=True),
    "sam_med3d_96": SamMed3dConfig(EncoderConfig(image_size=96)),
    "sam_med3d_32_slices": SamMed3dConfig(EncoderConfig(first_axis_divisor=4)),
    "sam_med3d_vit_b": SamMed3dConfig(EncoderConfig(image_size=256, width=384)),
    "sam_med3d_vit_l": SamMed3dConfig(
        EncoderConfig(image_size=256, width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))
    ),
    "sam_med3d_vit_h": SamMed3dConfig(
        EncoderConfig(image_size=256, width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31))
    ),
    "fastsam3d": SamMed3dConfig(
        EncoderConfig(depth=6, heads=6, window=0, global_blocks=(), mlp_only_blocks=2, normalised_residual=True)
    ),
    "fastsam3d_windowed": SamMed3dConfig(
        EncoderConfig(depth=6, heads=6, global_blocks=(2, 5), mlp_only_blocks=2, normalised_residual=True)
    ),
    "fastsam3d_teacher": SamMed3dConfig(EncoderConfig(normalised_residual=True)),
}
"""The published builders.

`sam_med3d` is `vit_b_ori` (128³, every released checkpoint of SAM-Med3D), `sam_med3d_boxes` that of CVPR 2025, and
`sam_med3d_96` and `sam_med3d_32_slices` the CT fork's `vit_b_96` and `vit_b_32slices` (32 x 128 x 128, with low-res
logits of 32³; its training code takes every fourth slice of them as mask prompt, "nearest"); vit_b, vit_l
and vit_h are 256³ and have no weights. `fastsam3d` is FastSAM3D's student, `fastsam3d_windowed` the one of its training
on several GPUs, `fastsam3d_teacher` the 12-layer network of its repository.
"""


class SamMed3d(nn.Module):
    """Encode a patch once, then decode clicks as often as needed.

    Example:
        >>> net = sammed3d.nets.build("sam_med3d")
        >>> embedding = net.encode(patch)                                    # (1, 1, 128, 128, 128)
        >>> zero = patch.new_zeros(1, 1, 32, 32, 32)
        >>> logits, scores = net.decode(embedding, coords, labels, zero)     # (1, 1, 3), (1, 1)
    """

    sees_all_clicks = False
    starts_without_mask = False  # the published inference passes zeros, never `no_mask_embed`
    scores_are_trained = False
    first_passes = 1
    tempering = None

    def __init__(self, config: SamMed3dConfig | None = None) -> None:
        super().__init__()
        config = config or SamMed3dConfig()
        encoder = config.encoder
        self.config = config
        self.image_encoder = ImageEncoder3d(encoder)
        # The CT fork's 32 slices: masks are cubes of logits; as prompts, every fourth slice of them is embedded.
        factors = (1, 2, 2) if encoder.first_axis_divisor == 4 else (2, 2, 2)
        self.prompt_encoder = PromptEncoder(
            encoder.out_channels, encoder.image_shape, encoder.grid, factors, boxes=config.boxes
        )
        self.mask_decoder = MaskDecoder(encoder.out_channels, (2, 2, 2), mlp_hidden=config.decoder_mlp)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Voxels of the input along R, A, S."""
        return self.config.encoder.image_shape

    @property
    def low_res_shape(self) -> tuple[int, int, int]:
        """Voxels of the low-res logits along R, A, S."""
        edge = 4 * self.config.encoder.grid
        return edge, edge, edge

    def encode(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding.

        Args:
            patch: (B, 1, S, S, S) normalised intensities, axes R, A, S; S is 128 (or 256).
            between_layers: called before every transformer block; what it raises stops the computation.

        Returns:
            (B, 384, S/16, S/16, S/16).
        """
        embedding: Tensor = self.image_encoder(patch, between_layers)
        return embedding

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        multimask: bool = False,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict low-res logits for clicks on an encoded patch.

        Args:
            embedding: What `encode` returned, batch B or 1.
            coords: (B, N, 3) voxel indices of the patch, any real dtype. SAM-Med3D was trained with the newest click
                only (N = 1); N = 0 decodes from the mask prompt alone.
            labels: (B, N) 1 positive, 0 negative, -1 not a point.
            low_res: (B, 1, S/4, S/4, S/4) previous low-res logits; zeros before the first click; None for
                `no_mask_embed`, which SAM-Med3D never trained.
            multimask: masks 1..3 instead of mask 0; untrained in 3-D.
            boxes: (B, 6) first and last corner in voxel indices; only for `sam_med3d_boxes`.

        Returns:
            Logits (B, 1 or 3, S/4, S/4, S/4), above 0 inside, and scores (B, 1 or 3). The scores are untrained in
            3-D: they are no measure of quality.
        """
        logits, scores = self.mask_decoder(
            embedding,
            self.prompt_encoder.dense_position(),
            self.prompt_encoder.sparse(coords, labels, boxes),
            self.prompt_encoder.dense(
                None if low_res is None else low_res[:, :, :: self.config.encoder.first_axis_divisor], len(coords)
            ),
            multimask=multimask,
        )
        return logits, scores
