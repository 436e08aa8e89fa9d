"""Layers: the patches of one object painted over one another, and the mask that results.

Each patch in which the user clicked leaves a layer: the low-res logits of its last click. Layers are composited in
order, like paint with soft edges. A layer is opaque in its inner part and fades out linearly over the last `MARGIN`
samples before each of its faces, so neither a seam nor a straight cut appears where it meets what was there before.
Outside its window a layer changes nothing. The first layer of a new object has nothing to blend with and is opaque
throughout; a face at the end of the volume does not fade either.

With opacity a, layer logits n and accumulated (premultiplied) logits and cover L, A:
L <- a n + (1 - a) L and A <- a + (1 - a) A. The logits of a voxel are L + (1 - A) b, where b is +-`MASK_LOGIT` from the
mask that the object started from, taken at the volume's own resolution. The mask is where they are above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32, Marked, interpolate, interpolate_slabs, mean_pool, resize
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt
from sammed3d.inference.answers import Bounds, Fading, KeptAnswer
from sammed3d.inference.lattice import Lattice

MARGIN = 16
"""Lattice samples (24 mm at 1.5 mm) at each face of a window where a layer fades, and where a click opens a new one."""
MASK_LOGIT = 6.9
"""Logit that stands for a voxel of an existing mask: probability 0.999."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The network's answer in one window.

    Attributes:
        window: Lattice box of the patch.
        low_res: Low-res logits after the patch's last click, float32, axes R, A, S.
        fading: How the layer fades towards its faces, in samples; None for one that is opaque throughout.
        bounds: What is known of the logits that `low_res` does not have; None where it has all.
        kept: Names the answer to the predictor that gave it, which may have it still; None where it does not keep any.
    """

    window: Box
    low_res: Float32
    fading: Fading | None
    bounds: Bounds | None = None
    kept: KeptAnswer | None = None


def mask_prompt(
    lattice: Lattice, window: Box, low_res_shape: Index3, layers: Sequence[Layer], base: BoxedMask | None
) -> Float32:
    """Return the object as it stands, seen through a window: low-res logits for the network's mask prompt."""
    return _prompt(window, low_res_shape, layers, 0.0 if base is None else occupancy(lattice, window, base))


def prompt_of_layers(window: Box, low_res_shape: Index3, layers: Sequence[Layer]) -> Float32:
    """Return the mask prompt of an object that started from nothing, wherever its lattice is."""
    return _prompt(window, low_res_shape, layers, 0.0)


def _prompt(window: Box, low_res_shape: Index3, layers: Sequence[Layer], occupied: Float32 | float) -> Float32:
    seen, cover = _composite(window, layers)
    if cover.min() < 1:
        seen += (1 - cover) * np.float32(MASK_LOGIT) * (2 * occupied - 1)
    return mean_pool(seen, low_res_shape)


def shows(lattice: Lattice, window: Box, mask: BoxedMask) -> bool:
    """Whether a window shows anything of the box of a mask."""
    i, j, k = lattice.sampling(window)
    return mask.box.intersection(Box((i.begin, j.begin, k.begin), (i.end, j.end, k.end))) is not None


def hint_prompt(lattice: Lattice, window: Box, low_res_shape: Index3, box: BoxPrompt) -> Float32:
    """Return what a box says of a new object, as logits for the mask prompt: the ellipsoid that touches its faces.

    Outside of it nothing is known: 0.
    """
    corners = box.corners
    middle, half = corners.mean(axis=0), np.maximum(np.ptp(corners, axis=0) / 2, 1e-3)
    r, a, s = (np.arange(n) for n in window.shape)
    distance = np.zeros(window.shape, np.float32)
    to_world = lattice.grid.window(window.begin, window.shape).index_to_world[:3]
    for (x, y, z, origin), centre, reach in zip(to_world.tolist(), middle, half, strict=True):
        along = (x * r)[:, None, None] + (y * a)[None, :, None] + (z * s)[None, None, :]
        distance += (((along + (origin - centre)) / reach) ** 2).astype(np.float32)
    return mean_pool(np.where(distance <= 1, np.float32(MASK_LOGIT), np.float32(0)), low_res_shape)


def paint(
    lattice: Lattice, layers: Sequence[Layer], base: BoxedMask | None, before: BoxedMask | None
) -> BoxedMask | None:
    """Return the mask after the last of `layers`.

    Args:
        lattice: The volume's lattice.
        layers: All layers of the object, in order.
        base: The mask that the object started from; None if it started from nothing.
        before: The mask that results without the last layer; it stays as it is outside the last layer's window.
    """
    region = lattice.covered(layers[-1].window)
    if region is None:
        return before
    return replaced(before, region, painted(lattice, layers, base).mask)


@dataclass(frozen=True, eq=False)
class Painted:
    """What layers make under the last of them.

    Attributes:
        part: Samples of the lattice round what may be inside; None where nothing may.
        possible: Marks those of them, axes R, A, S, near which voxels may be inside.
        target: The voxels of the volume near those.
        mask: The mask there.
    """

    part: Box | None
    possible: Marked
    target: Box | None
    mask: BoxedMask | None


def painted(lattice: Lattice, layers: Sequence[Layer], base: BoxedMask | None) -> Painted:
    """Composite layers under the last of them, resample the logits to the volume's voxels, keep where they are above 0.

    Arguments as those of `paint`.
    """
    window = lattice.in_volume(layers[-1].window)
    near = _reach(layers) if base is None else window
    part = near and near.intersection(window)
    if part is None:
        return Painted(None, np.empty((0, 0, 0), np.bool_), None, None)
    logits, cover = _composite(part, layers)
    if base is None:  # then b is the same everywhere, and can be blended in on the lattice
        logits = logits - (1 - cover) * np.float32(MASK_LOGIT)
        cover = np.ones_like(cover)
    possible = (logits > 0) | (cover < 1)
    around = Box.around(possible)
    near = around and around.shifted(part.begin).grown(1).intersection(part)
    target = near and lattice.covered(near)
    mask = _threshold(lattice, part, target, logits, cover, base) if target else None
    return Painted(part, possible, target, mask)


def _reach(layers: Sequence[Layer]) -> Box | None:
    """Return a box of the lattice that holds all samples where composited logits may be above 0, and two more around.

    Interpolated logits are above 0 beside low-res ones above 0 alone, and so is what they are blended to.
    """
    boxes = []
    for layer in layers:
        inside = Box.around(layer.low_res > 0)
        if inside is None:
            continue
        inside = inside.grown(1)
        cells = np.divide(layer.window.shape, layer.low_res.shape)
        begin = np.floor(np.multiply(inside.begin, cells)).astype(int).tolist()
        end = np.ceil(np.multiply(inside.end, cells)).astype(int).tolist()
        boxes.append(Box(tuple(begin), tuple(end)).grown(2).shifted(layer.window.begin))
    return reduce(Box.union, boxes) if boxes else None


def _composite(window: Box, layers: Sequence[Layer]) -> tuple[Float32, Float32]:
    """Premultiplied logits and cover of all layers in a window, axes R, A, S."""
    logits = np.zeros(window.shape, np.float32)
    cover = np.zeros(window.shape, np.float32)
    for layer in layers:
        common = window.intersection(layer.window)
        if common is None:
            continue
        there, here = common.within(layer.window), common.within(window)
        answer = resize(layer.low_res, layer.window.shape, there)
        if layer.fading is None:
            logits[here], cover[here] = answer, 1
        else:
            opacity = opacity_of(layer)[there]
            below = 1 - opacity
            logits[here] = opacity * answer + below * logits[here]
            cover[here] = opacity + below * cover[here]
    return logits, cover


def opacity_of(layer: Layer) -> Float32:
    """How much a layer hides of what lies under it, 0..1, for each sample of its window."""
    fading = layer.fading or Fading.nowhere()
    ramps = []
    for count, (lower, upper) in zip(layer.window.shape, fading.faces, strict=True):
        ramp = np.ones(count, np.float32)
        fade = (np.arange(min(fading.margin, count), dtype=np.float32) + 0.5) / fading.margin
        if lower:
            ramp[: len(fade)] = fade
        if upper:
            ramp[::-1][: len(fade)] = np.minimum(ramp[::-1][: len(fade)], fade)
        ramps.append(ramp)
    result: Float32 = np.minimum(np.minimum(ramps[0][:, None, None], ramps[1][None, :, None]), ramps[2][None, None, :])
    return result


def _threshold(
    lattice: Lattice, window: Box, target: Box, logits: Float32, cover: Float32, base: BoxedMask | None
) -> BoxedMask | None:
    """Resample composited logits and cover of a window to voxels of the volume and keep where they are above 0."""
    weights = lattice.painting(window, target)
    mask = np.empty(target.shape, np.uint8, order="F")
    slabs = interpolate_slabs(lattice.to_file_order(logits), weights)
    if base is None or cover.min() == 1:
        for k, slab in slabs:
            mask[:, :, k : k + slab.shape[2]] = slab > 0
    else:
        start = np.where(base.cut(target), np.float32(MASK_LOGIT), np.float32(-MASK_LOGIT))
        covers = interpolate_slabs(lattice.to_file_order(cover), weights)
        for (k, slab), (_, covered) in zip(slabs, covers, strict=True):
            here = np.s_[:, :, k : k + slab.shape[2]]
            mask[here] = slab + (1 - covered) * start[here] > 0
    return BoxedMask(target, mask).cropped()


def occupancy(lattice: Lattice, window: Box, mask: BoxedMask) -> Float32:
    """Sample a mask of the volume on the lattice: 0..1, axes R, A, S."""
    i, j, k = lattice.sampling(window)
    used = Box((i.begin, j.begin, k.begin), (i.end, j.end, k.end))
    weights = (i.after(used.begin[0]), j.after(used.begin[1]), k.after(used.begin[2]))
    return lattice.to_canonical(interpolate(mask.cut(used), weights))


def replaced(before: BoxedMask | None, region: Box, painted: BoxedMask | None) -> BoxedMask | None:
    """Return `before` with everything in `region` replaced by `painted` (which lies in it)."""
    if before is None:
        return painted
    box = before.box if painted is None else before.box.union(painted.box)
    voxels = before.cut(box)
    stale = region.intersection(box)
    if stale is not None:
        voxels[stale.within(box)] = 0
    if painted is not None:
        voxels[painted.box.within(box)] = painted.voxels
    return BoxedMask(box, voxels).cropped()
