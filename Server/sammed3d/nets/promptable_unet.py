"""A small promptable U-Net: the architecture of the default model that ships with the package.

The image encoder is a convolutional feature pyramid. The decoder is a lighter U-Net over the same levels; it sees all
clicks at once, as maps: where they are, how near, and how alike every voxel is to what was clicked, in intensity and in
the encoder's features. Everything runs at half the patch's resolution and below, which keeps a click quick on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.errors import ModelError
from sammed3d.nets.click_maps import REACHES, likeness, nearness
from sammed3d.nets.sizes import with_sizes
from sammed3d.nets.tempering import Tempering

_BINS = 512


@dataclass(frozen=True)
class PromptableUNetConfig:
    """Sizes of the network.

    Attributes:
        patch_size: edge of the patch; the low-res logits have half of it.
        widths: channels of the levels, finest (half resolution) first; every level halves the resolution.
        depths: residual blocks of the encoder at each level.
        decoder_widths: channels of the decoder's levels.
    """

    patch_size: int = 128
    widths: tuple[int, ...] = (16, 32, 96, 128)
    depths: tuple[int, ...] = (0, 1, 1, 2)
    decoder_widths: tuple[int, ...] = (16, 32, 96, 128)

    def with_sizes(self, sizes: Mapping[str, Any]) -> PromptableUNetConfig:
        """Return this configuration with other sizes.

        Raises:
            ModelError: a size is unknown, cannot be one, or does not go together with the others.
        """
        made = with_sizes(self, sizes)
        if not 0 < len(made.widths) == len(made.depths) == len(made.decoder_widths):
            raise ModelError("The network sizes widths, depths and decoder_widths need a number for each level.")
        if made.patch_size % 2 ** len(made.widths):
            raise ModelError(
                f"The network size patch_size is {made.patch_size}; {len(made.widths)} levels need a multiple of "
                f"{2 ** len(made.widths)}."
            )
        return made


class PromptableUNet(nn.Module):
    """Encode a patch once, then decode clicks as often as needed.

    Unlike SAM-Med3D it takes all clicks so far at every pass, beside the previous low-res logits.
    """

    sees_all_clicks = True
    starts_without_mask = False
    scores_are_trained = False
    first_passes = 2  # the second sees what the first found, and fills it
    tempering = Tempering(  # see docs/model-card.md
        early=1.2, reach=8.0, against=0.2, depth=1.2, beyond=2.5, wide=0.75, large=868, small=0.5, hold=True
    )

    def __init__(self, config: PromptableUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PromptableUNetConfig()
        self.image_encoder = _ImageEncoder(config)
        self.mask_decoder = _MaskDecoder(config)

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Voxels of the input along R, A, S."""
        return self.config.patch_size, self.config.patch_size, self.config.patch_size

    @property
    def low_res_shape(self) -> tuple[int, int, int]:
        """Voxels of the low-res logits along R, A, S."""
        edge = self.config.patch_size // 2
        return edge, edge, edge

    def encode(self, patch: Tensor, between_layers: Callable[[], None] | None = None) -> Tensor:
        """Compute the image embedding.

        Args:
            patch: (B, 1, S, S, S) intensities; any edge S that the levels divide evenly.
            between_layers: called before every level; what it raises stops the computation.

        Returns:
            (B, L): the levels of the feature pyramid, flattened and joined, so that the embedding is cached and
            travels like any other tensor.
        """
        levels: list[Tensor] = self.image_encoder(patch, between_layers)
        return torch.cat([level.flatten(1) for level in levels], dim=1)

    def decode(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, low_res: Tensor | None, *, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict low-res logits for clicks on an encoded patch.

        Args:
            embedding: What `encode` returned, batch B or 1.
            coords: (B, N, 3) voxel indices of the patch: all clicks of the object.
            labels: (B, N) 1 positive, 0 negative, -1 not a point.
            low_res: (B, 1, S/2, S/2, S/2) previous low-res logits; None or zeros before the first click.
            boxes: must be None: it knows none.

        Returns:
            Logits (B, 1, S/2, S/2, S/2), above 0 inside, and NaN scores (B, 1): it does not estimate its quality.
        """
        if boxes is not None:
            raise ModelError("This model does not know boxes. Use clicks.")
        levels = self._levels(embedding)
        logits = self.mask_decoder(levels, coords.float(), labels, low_res)
        return logits, logits.new_full((len(coords), 1), torch.nan)

    def _levels(self, embedding: Tensor) -> list[Tensor]:
        """Undo the flattening: the finest level's edge follows from the length."""
        channels = [2 + self.config.widths[0], *self.config.widths[1:]]
        of_unit = sum(c / 8**level for level, c in enumerate(channels))
        edge = round((embedding.shape[1] / of_unit) ** (1 / 3))
        parts = torch.split(embedding, [c * (edge >> level) ** 3 for level, c in enumerate(channels)], dim=1)
        return [
            part.view(len(embedding), c, *3 * [edge >> level])
            for level, (c, part) in enumerate(zip(channels, parts, strict=True))
        ]


class _ImageEncoder(nn.Module):
    """Feature pyramid: down with residual blocks, up again with sums."""

    def __init__(self, config: PromptableUNetConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv3d(2, widths[0], 2, stride=2)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(*[_Residual(w) for _ in range(d)]) for w, d in zip(widths, config.depths, strict=True)
        )
        self.up = nn.ModuleList(Pointwise(b, a) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(_Residual(w, convolutions=1) for w in widths[:-1])

    def forward(self, patch: Tensor, between_layers: Callable[[], None] | None) -> list[Tensor]:
        """Return the levels, finest first; two channels of intensities precede the finest level's features."""
        intensities = _two_views(patch)
        x = self.stem(_channels_last(intensities))
        levels = []
        for level, blocks in enumerate(self.blocks):
            if between_layers is not None:
                between_layers()
            if level:
                x = self.down[level - 1](x)
            x = blocks(x)
            levels.append(x)
        for level in reversed(range(len(self.up))):
            if between_layers is not None:
                between_layers()
            coarse = functional.interpolate(self.up[level](levels[level + 1]), scale_factor=2, mode="nearest")
            levels[level] = self.merge[level](levels[level] + coarse)
        levels[0] = torch.cat([functional.avg_pool3d(intensities, 2), levels[0]], dim=1)
        return levels


class _MaskDecoder(nn.Module):
    """A U-Net over the pyramid's levels, with the prompts as maps."""

    def __init__(self, config: PromptableUNetConfig) -> None:
        super().__init__()
        widths, inner = config.widths, config.decoder_widths
        self.sharpness = nn.Parameter(torch.tensor([[4.0, 1.0], [4.0, 1.0]]))  # (level 0..1, intensity and features)
        prompts = 2 * (1 + len(REACHES)) + 2
        self.entry = nn.ModuleList()
        for level, (w, n) in enumerate(zip(widths, inner, strict=True)):
            given = (2 + w + prompts + 6 if level == 0 else w + 2 if level == 1 else w) + (
                inner[level - 1] if level else 0
            )
            self.entry.append(Pointwise(given, n))
        self.blocks = nn.ModuleList(_Residual(n) if level else nn.Identity() for level, n in enumerate(inner))
        self.down = nn.ModuleList(nn.Conv3d(n, n, 2, stride=2) for n in inner[:-1])
        self.up = nn.ModuleList(Pointwise(b, a) for a, b in pairwise(inner))
        self.merge = nn.ModuleList(_Residual(n, convolutions=1) for n in inner[:-1])
        self.logits = Pointwise(inner[0], 1)

    @property
    def entries(self) -> list[Pointwise]:
        """What joins the features of each level with the prompts and with the level before."""
        return [module for module in self.entry if isinstance(module, Pointwise)]

    def forward(self, levels: Sequence[Tensor], coords: Tensor, labels: Tensor, low_res: Tensor | None) -> Tensor:
        edge = levels[0].shape[-1]
        batch = len(coords)
        positions = (coords - 0.5) / 2  # voxel 2k and 2k + 1 of the patch lie in voxel k of the finest level
        previous = levels[0].new_zeros(batch, 1, edge, edge, edge) if low_res is None else low_res
        skips: list[Tensor] = []
        x = levels[0].new_zeros(0)
        for level, (features, entry) in enumerate(zip(levels, self.entries, strict=True)):
            given = [features]
            if level == 0:
                bounded, ranks, learned = torch.split(features, [1, 1, features.shape[1] - 2], dim=1)
                alike = [
                    likeness(bounded, positions, labels, self.sharpness[0, 0]),
                    likeness(ranks, positions, labels, 4 * self.sharpness[0, 0]),
                    likeness(learned, positions, labels, self.sharpness[0, 1]),
                ]
                fed_back = [(previous / 4).tanh(), previous.sigmoid()]
                given.append(torch.cat([*nearness(positions, labels, edge), *fed_back, *alike], dim=1))
            else:
                if level == 1:
                    given.append(likeness(features, (positions - 0.5) / 2, labels, self.sharpness[1, 1]))
                given.append(self.down[level - 1](x))
            x = self.blocks[level](entry.of_parts(given))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            coarse = functional.interpolate(self.up[level](x), scale_factor=2, mode="trilinear")
            x = self.merge[level](skips[level] + coarse)
        result: Tensor = self.logits(x)
        return result.contiguous()


class Pointwise(nn.Conv3d):
    """A convolution of one voxel, as a matrix product: several times quicker than torch's own on a CPU."""

    bias: Tensor

    def __init__(self, given: int, made: int) -> None:
        super().__init__(given, made, 1)

    def forward(self, x: Tensor) -> Tensor:
        result = functional.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias)
        return result.movedim(-1, 1)

    def of_parts(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what `forward` makes of (B, c, i, j, k) parts side by side, without a tensor that holds them all.

        A part may have a batch of 1 that stands for all.
        """
        result = self.bias
        begin = 0
        for part in parts:
            end = begin + part.shape[1]
            product = part.flatten(2).transpose(1, 2) @ self.weight[:, begin:end].flatten(1).T
            result = result.to(product.dtype) + product
            begin = end
        return result.view(len(result), *parts[0].shape[2:], -1).movedim(-1, 1)


class _Residual(nn.Module):
    """Normalisation, activation and convolution, once or twice, beside an identity."""

    def __init__(self, width: int, convolutions: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [
                nn.GroupNorm(max(1, width // 8), width),
                nn.LeakyReLU(0.1),
                _Convolution(width),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class _Convolution(nn.Conv3d):
    """A convolution of 3 x 3 x 3 voxels, by oneDNN also where torch's rule takes loops of its own, half as fast.

    That is so for one patch of 8 x 8 x 8 voxels with 128 channels, but not for two of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_inference_mode_enabled() and _suits_onednn(x)):
            return super().forward(x)
        each = (1, 1, 1)
        result: Tensor = torch.mkldnn_convolution(x, self.weight, self.bias, each, each, each, 1)
        return result


def _suits_onednn(x: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _two_views(patch: Tensor) -> Tensor:
    """(B, 1, S, S, S) -> (B, 2, S, S, S): intensities between robust bounds, and their ranks in the patch.

    Ranks are the same for CT and MR, whatever the unit, and spread the soft tissues apart.
    """
    thinned = patch[:, 0, ::4, ::4, ::4].flatten(1).float()
    low, *inner, high = torch.quantile(thinned, torch.linspace(0.005, 0.995, 33, device=patch.device), dim=1)
    span = (high - low).clamp(min=1e-6)[:, None]
    bounded = ((patch.flatten(1).float() - low[:, None]) / span).clamp(0, 1)
    knots = (torch.stack(inner, dim=1) - low[:, None]) / span
    bins = (torch.arange(_BINS, device=patch.device) + 0.5) / _BINS
    ranks_of_bins = (knots[:, :, None] < bins).to(bounded.dtype).mean(dim=1)  # searchsorted, which ONNX lacks
    smooth = functional.avg_pool1d(ranks_of_bins[:, None], 9, 1, 4, count_include_pad=False)[:, 0]
    ranks = smooth.gather(1, (bounded * (_BINS - 1)).long())
    return torch.stack([bounded, ranks], dim=1).view(len(patch), 2, *patch.shape[2:]) * 4 - 2


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)
