"""SAM-Med2D and FT-SAM: SAM's ViT-B on 256 x 256 images, with and without adapters.

Source: SAM-Med2D `segment_anything/build_sam.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.config import EncoderConfig
from sammed3d.nets.image_encoder_2d import ImageEncoder2d
from sammed3d.nets.mask_decoder import MaskDecoder
from sammed3d.nets.prompt_encoder import PromptEncoder

CONFIGS_2D: dict[str, EncoderConfig] = {
    "sam_med2d": EncoderConfig(image_size=256, out_channels=256, adapter=True),
    "ft_sam2d": EncoderConfig(image_size=256, out_channels=256),
}


@dataclass(frozen=True)
class Decoder2dConfig:
    """Sizes beside those of the image encoder.

    Attributes:
        decoder_mlp: hidden width of the decoder's transformer MLPs.
    """

    decoder_mlp: int = 2048


@dataclass(frozen=True)
class BestMask:
    """The best of three masks by the network's own estimate.

    Attributes:
        logits: (B, 1, S, S).
        low_res: (B, 1, S/4, S/4).
        scores: (B, 1) estimate of the IoU.
    """

    logits: Tensor
    low_res: Tensor
    scores: Tensor


class SamMed2d(nn.Module):
    """Encode an image once, then decode prompts as often as needed.

    Example:
        >>> net = sammed3d.nets.build("sam_med2d")
        >>> embedding = net.encode(image)                              # (1, 3, 256, 256), normalised
        >>> logits, scores = net.decode(embedding, coords, labels, None)
    """

    def __init__(self, config: EncoderConfig, decoder_mlp: int = 2048) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder2d(config)
        self.prompt_encoder = PromptEncoder(
            config.out_channels, 2 * [config.image_size], config.grid, (2, 2), boxes=True
        )
        self.mask_decoder = MaskDecoder(config.out_channels, (2, 2), mlp_hidden=decoder_mlp)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Voxels of a slice: columns, rows, 1."""
        return self.config.image_size, self.config.image_size, 1

    @property
    def low_res_shape(self) -> tuple[int, int, int]:
        """Voxels of the low-res logits of a slice."""
        return 4 * self.config.grid, 4 * self.config.grid, 1

    def encode(self, image: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding: (B, 3, 256, 256) -> (B, 256, 16, 16).

        `between_layers` is called before every transformer block; what it raises stops the computation.
        """
        embedding: Tensor = self.image_encoder(image, between_layers)
        return embedding

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        low_res: Tensor | None,
        boxes: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Predict low-res logits for clicks and boxes on an encoded image.

        Args:
            embedding: What `encode` returned, batch B or 1.
            coords: (B, N, 2) pixel indices x, y of the 256 x 256 image; N may be 0 with a box.
            labels: (B, N) 1 positive, 0 negative, -1 not a point.
            low_res: (B, 1, 64, 64) the sigmoid of previous low-res logits, as in training; None without a mask.
            boxes: (B, 4) x0, y0, x1, y1, or None.
            multimask: three masks for ambiguous prompts instead of one.

        Returns:
            Logits (B, 3 or 1, 64, 64), above 0 inside, and the model's own estimate of their IoU (B, 3 or 1).
        """
        logits, scores = self.mask_decoder(
            embedding,
            self.prompt_encoder.dense_position(),
            self.prompt_encoder.sparse(coords, labels, boxes),
            self.prompt_encoder.dense(low_res, len(coords)),
            multimask=multimask,
        )
        return logits, scores


def best_mask(
    network: SamMed2d, embedding: Tensor, coords: Tensor, labels: Tensor, boxes: Tensor | None, mask: Tensor | None
) -> BestMask:
    """Decode prompts, and take the mask that the network itself holds for the best.

    Args:
        network: SAM-Med2D or FT-SAM.
        embedding: (B, C, g, g).
        coords: (B, N, 2) x, y; N may be 0.
        labels: (B, N).
        boxes: (B, 4), or None.
        mask: (B, 1, S/4, S/4) probabilities, or None at first. With a mask the prompt encoder does not learn.
    """
    prompt, decoder = network.prompt_encoder, network.mask_decoder
    with torch.set_grad_enabled(torch.is_grad_enabled() and mask is None):
        sparse, dense = prompt.sparse(coords, labels, boxes), prompt.dense(mask, len(coords))
    logits, scores = decoder(embedding, prompt.dense_position(), sparse, dense, multimask=True)
    best = scores.argmax(dim=1, keepdim=True)
    low_res = logits.take_along_dim(best[..., None, None], dim=1)
    low_res = low_res.to(torch.promote_types(low_res.dtype, torch.float32))  # of mixed precision
    size = 2 * [network.config.image_size]
    return BestMask(functional.interpolate(low_res, size, mode="bilinear"), low_res, scores.take_along_dim(best, dim=1))
