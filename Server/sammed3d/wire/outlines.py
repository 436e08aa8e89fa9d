"""Outlines: of low-res logits what a mask depends on, which is a tenth of them or less.

A voxel is inside where the interpolated logits are above 0. Where all logits round a place are above 0, or none is, any
numbers of these signs say the same, so their signs suffice. The others stay as they are, to the last bit: those that
interpolation mixes near the border of the object. A mask that is painted from an outline on its own is therefore
equal, bit for bit, to that from the whole logits, whatever the grid of the volume.

Interpolation goes two steps: from the logits to the samples of the patch, and from there to the voxels of the volume.
The eight samples at the corners of a cell determine every voxel in it. So a cell whose corners have one sign needs that
sign, and any other the logits that its corners are made of.

An outline says nothing of how sure the network is, and is no mask prompt.

Where the mask is painted over what was there before, both are mixed towards the faces of the patch. There their signs
decide where they agree, so an outline for that keeps the logits where they do not, and says between which numbers those
lie that it leaves out (`Bounds`): whoever paints it can tell whether anything between them would make another mask.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32, Marked, interpolate, resizing, sources_of
from sammed3d.inference.answers import Bounds, Fading
from sammed3d.wire.arrays import WireError, pack_planes, unpack_planes

FORMAT, BLENDED = 1, 2
"""Versions of the packing: of an outline, and of one that says in which bounds the rest lies."""
NEAR = 1
"""Low-res voxels round a difference of signs of which the logits are kept where answers are mixed."""
ROUNDING = 1e-5
"""Share of the largest logit below which a sample's sign may depend on who computes it (float32 rounds to 1e-7)."""
_HEAD = struct.Struct("<4sBxxxIII")
_BOUNDS = struct.Struct("<4f")
_MAGIC = b"SM3O"


def border(low_res: Float32, samples: Index3) -> Marked:
    """Mark the logits that an outline has to keep, same shape.

    Args:
        low_res: finite logits of a patch.
        samples: voxels of the patch, along the same axes.
    """
    kept = np.zeros(low_res.shape, np.bool_)
    near = Box.around(low_res > 0)
    if near is None:
        return kept
    ratios = [n / m for n, m in zip(low_res.shape, samples, strict=True)]
    near = near.grown(2 + math.ceil(max(ratios))).intersection(Box((0, 0, 0), _index(low_res.shape)))
    assert near is not None  # noqa: S101 - it lies in the array
    i, j, k = (
        slice(math.floor(begin / ratio), math.ceil(end / ratio))
        for begin, end, ratio in zip(near.begin, near.end, ratios, strict=True)
    )
    weights = resizing(low_res.shape, samples, (i, j, k))
    bound = np.float32(ROUNDING * float(np.abs(low_res).max()))
    field = interpolate(low_res, weights)
    above, below = field > bound, field < -bound
    kept |= sources_of(~(_in_cells_of(above) | _in_cells_of(below)), weights, kept.shape)
    while True:
        field = interpolate(signs_of(low_res, kept), weights)
        wrong = (above & ~(field > bound)) | (below & ~(field < -bound))
        if not wrong.any():
            return kept
        kept |= sources_of(wrong, weights, kept.shape)


def signs_of(low_res: Float32, kept: Marked) -> Float32:
    """Return logits of which only those that are marked are kept; the others become 1 inside and -1 outside."""
    signs = np.where(low_res > 0, np.float32(1), np.float32(-1))
    np.copyto(signs, low_res, where=kept)
    return signs


def blended(low_res: Float32, samples: Index3, seen: Float32, fading: Fading) -> Marked:
    """Mark the logits that an outline has to keep to be laid over what a mask prompt shows, same shape.

    Args:
        low_res: finite logits of a patch.
        samples: voxels of the patch, along the same axes.
        seen: the mask prompt: the object as it stood, low-res logits.
        fading: where the two are mixed.
    """
    kept = border(low_res, samples)
    differ = kept | ((low_res > 0) != (seen > 0))
    for _ in range(NEAR):
        differ = _spread(differ)
    mixed = np.zeros(low_res.shape, np.bool_)
    for axis, ((lower, upper), count, most) in enumerate(zip(fading.faces, low_res.shape, samples, strict=True)):
        line, depth = np.moveaxis(mixed, axis, 0), math.ceil(fading.margin * count / most) + 1
        line[:depth] |= lower
        line[-depth:] |= upper
    result: Marked = kept | (differ & mixed)
    return result


def pack(low_res: Float32, samples: Index3, seen: Float32 | None = None, fading: Fading | None = None) -> bytes:
    """Pack the outline of logits; arguments as those of `border`, or of `blended`. With `fading`, says the bounds."""
    if fading is None:
        return _packed(low_res, border(low_res, samples), FORMAT, b"")
    kept = border(low_res, samples) if seen is None else blended(low_res, samples, seen, fading)
    rest = low_res[~kept]
    inside, outside = rest[rest > 0], rest[rest <= 0]
    ends = [float(end) for part, none in ((inside, 1), (outside, -1)) for end in _ends(part, none)]
    return _packed(low_res, kept, BLENDED, _BOUNDS.pack(*ends))


def _ends(values: Float32, otherwise: int) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (otherwise, otherwise)


def _packed(low_res: Float32, kept: Marked, version: int, bounds: bytes) -> bytes:
    values = np.ascontiguousarray(low_res[kept], "<f4")
    parts = (np.packbits(low_res > 0), np.packbits(kept), values.view("<u4"))
    head = _HEAD.pack(_MAGIC, version, *low_res.shape) + bounds
    return head + b"".join(pack_planes(part) for part in parts)


def unpack(data: bytes | memoryview, shape: Index3) -> tuple[Float32, Bounds | None]:
    """Unpack an outline of a known shape.

    Returns:
        Logits, see `signs_of`, and the bounds of those that are not exact where the outline says them.

    Raises:
        WireError: anything else than such an outline, or one that holds NaN or infinity.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size:
        raise WireError("The outline is cut off in its head.")
    magic, version, *found = _HEAD.unpack_from(view)
    if magic != _MAGIC or version not in (FORMAT, BLENDED) or tuple(found) != tuple(shape):
        raise WireError("This is no outline of this format and shape.")
    count, offset = math.prod(shape), _HEAD.size
    ends = (1.0, 1.0, -1.0, -1.0)
    if version == BLENDED:
        ends, offset = _bounds(view, offset), offset + _BOUNDS.size
    bits, offset = unpack_planes(view, offset, -(-count // 8), 1)
    inside = np.unpackbits(bits, count=count).astype(np.bool_)
    bits, offset = unpack_planes(view, offset, -(-count // 8), 1)
    kept = np.unpackbits(bits, count=count).astype(np.bool_)
    numbers, offset = unpack_planes(view, offset, int(kept.sum()), 4)
    values = numbers.view("<f4").astype(np.float32)
    if offset != len(view):
        raise WireError("Bytes follow the outline.")
    if not np.isfinite(values).all() or not np.array_equal(values > 0, inside[kept]):
        raise WireError("The outline's values are not those of its signs.")
    result = np.where(inside, np.float32(1), np.float32(-1))
    result[kept] = values
    bounds = Bounds(kept.reshape(shape), ends[:2], ends[2:]) if version == BLENDED else None
    return result.reshape(shape), bounds


def _bounds(view: memoryview, offset: int) -> tuple[float, float, float, float]:
    if len(view) < offset + _BOUNDS.size:
        raise WireError("The outline is cut off in its head.")
    a, b, c, d = _BOUNDS.unpack_from(view, offset)
    if not (0 < a <= b < math.inf and -math.inf < c <= d <= 0):
        raise WireError("The outline's bounds are none.")
    return a, b, c, d


def _in_cells_of(marked: Marked) -> Marked:
    """Mark the samples all of whose cells have nothing but marked corners."""
    result = marked.copy()
    for axis in range(3):
        line = np.moveaxis(result, axis, 0)  # a view
        cells = line[:-1] & line[1:]
        line[:-1] &= cells
        line[1:] &= cells
    return result


def _spread(marked: Marked) -> Marked:
    """Mark the neighbours too, along all axes and across."""
    result = marked.copy()
    for axis in range(3):
        line = np.moveaxis(result, axis, 0)
        before = line.copy()
        line[1:] |= before[:-1]
        line[:-1] |= before[1:]
    return result


def _index(shape: tuple[int, ...]) -> Index3:
    a, b, c = shape
    return a, b, c
