"""The mask decoder of SAM, in two and three dimensions: image embedding and prompts become low-res mask logits.

Source: `segment_anything/modeling/mask_decoder.py` and SAM-Med3D's `mask_decoder3D.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.nets.common import ChannelNorm, MLPBlock, Upsample


class MaskDecoder(nn.Module):
    """Predict masks from an image embedding and encoded prompts.

    Args:
        channels: Width of tokens and embedding (C).
        factors: Upscaling of each of the two steps, along each of the two or three axes.
        multimask_outputs: masks for ambiguous prompts, beside the single mask 0.
        depth: layers of the two-way transformer.
        heads: attention heads.
        mlp_hidden: width of the transformer's MLPs.
    """

    def __init__(
        self,
        channels: int,
        factors: Sequence[int],
        multimask_outputs: int = 3,
        depth: int = 2,
        heads: int = 8,
        mlp_hidden: int = 2048,
    ) -> None:
        super().__init__()
        masks = multimask_outputs + 1
        self.transformer = TwoWayTransformer(channels, depth, heads, mlp_hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(masks, channels)
        self.output_upscaling = nn.Sequential(
            Upsample(channels, channels // 4, factors),
            ChannelNorm(channels // 4),
            nn.GELU(),
            Upsample(channels // 4, channels // 8, factors),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP([channels, channels, channels, channels // 8]) for _ in range(masks)
        )
        self.iou_prediction_head = MLP([channels, 256, 256, masks])

    def forward(
        self, embedding: Tensor, position: Tensor, sparse: Tensor, dense: Tensor, *, multimask: bool | None
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            embedding: (B, C, g, g[, g]), or batch 1 for several prompts on one image.
            position: dense position encoding (1, C, g, g[, g]).
            sparse: prompt tokens (B, P, C).
            dense: encoded mask prompt (B, C, g, g[, g]).
            multimask: True for masks 1..3, False for mask 0, None for all of them.

        Returns:
            Low-res logits (B, masks, 4g, 4g[, 4g]) and scores (B, masks).
        """
        source = embedding + dense
        batch, channels, *grid = source.shape
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(batch, -1, -1), sparse], dim=1)
        queries, keys = self.transformer(tokens, source.flatten(2).transpose(1, 2), position.flatten(2).transpose(1, 2))
        upscaled = self.output_upscaling(keys.transpose(1, 2).view(batch, channels, *grid))
        count = len(self.mask_tokens.weight)
        wanted = range(count) if multimask is None else range(1, count) if multimask else range(1)
        hyper = torch.stack([self.output_hypernetworks_mlps[m](queries[:, 1 + m]) for m in wanted], dim=1)
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        scores: Tensor = self.iou_prediction_head(queries[:, 0])
        return logits, scores[:, wanted.start : wanted.stop]


class TwoWayTransformer(nn.Module):
    """Tokens attend to the image and the image to the tokens, in turns."""

    def __init__(self, channels: int, depth: int, heads: int, mlp_hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, heads, mlp_hidden, first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = CrossAttention(channels, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C), image (B, V, C) and its position encoding (1, V, C) -> updated tokens and image."""
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, position)
        attended = self.final_attn_token_to_image(queries + tokens, keys + position, keys)
        return self.norm_final_attn(queries + attended), keys


class TwoWayBlock(nn.Module):
    """One turn: self-attention of tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, channels: int, heads: int, mlp_hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(channels, heads, downsample=1)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = CrossAttention(channels, heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLPBlock(channels, mlp_hidden, nn.ReLU())
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = CrossAttention(channels, heads, downsample=2)

    def forward(self, queries: Tensor, keys: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:  # without position and without residual, as published
            queries = self.self_attn(queries, queries, queries)
        else:
            placed = queries + token_pe
            queries = queries + self.self_attn(placed, placed, queries)
        queries = self.norm1(queries)
        queries = self.norm2(queries + self.cross_attn_token_to_image(queries + token_pe, keys + image_pe, keys))
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self.cross_attn_image_to_token(keys + image_pe, queries + token_pe, queries))
        return queries, keys


class CrossAttention(nn.Module):
    """Multi-head attention whose inner width is the channels divided by `downsample`."""

    def __init__(self, channels: int, heads: int, downsample: int) -> None:
        super().__init__()
        self.heads = heads
        inner = channels // downsample
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, Tq, C), (B, Tk, C), (B, Tk, C) -> (B, Tq, C)."""
        q, k, v = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        attended = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return result


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        result: Tensor = self.layers[-1](x)
        return result
