"""Separable linear interpolation: one small matrix for each axis, the same for every direction of travel.

Volume to patch, low-res logits to patch and patch back to volume are all linear interpolation on axis-aligned
lattices, so each is three matrix products. Only the samples that are used are touched, and a result is made slab by
slab, so the cost follows the output, not the size of the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]
Weights3 = tuple["AxisWeights", "AxisWeights", "AxisWeights"]
SLAB = 32
"""Slices interpolated at a time."""
EDGE_TOLERANCE = 1e-6
"""In samples; keeps the inside test independent of rounding in the geometry."""


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Linear interpolation along one axis.

    Attributes:
        begin: first source sample that is used.
        matrix: (targets, sources used) float32; row t holds the weights of target t.
        picked: indices of the sources used, relative to `begin`; None where all from `begin` on are used.
    """

    begin: int
    matrix: Float32
    picked: npt.NDArray[np.intp] | None = None

    @classmethod
    def at(cls, positions: Float64, size: int, *, zero_outside: bool = False) -> AxisWeights:
        """Make the weights that sample a line of `size` samples at continuous `positions`.

        Beyond the outermost sample centres the edge sample is repeated. With `zero_outside`, targets half a sample or
        more beyond them get 0: ITK's `IsInsideBuffer` rule.
        """
        clipped = np.clip(positions, 0, size - 1)
        low = np.minimum(np.floor(clipped).astype(np.intp), max(size - 2, 0))
        fraction = clipped - low
        high = np.minimum(low + 1, size - 1)
        outside = np.zeros(len(positions), dtype=bool)
        if zero_outside:
            outside = (positions < -0.5 - EDGE_TOLERANCE) | (positions >= size - 0.5 - EDGE_TOLERANCE)
        hit = np.zeros(size, dtype=bool)
        hit[low[~outside]] = hit[high[~outside]] = True
        used = np.flatnonzero(hit) if hit.any() else np.zeros(1, np.intp)
        sparse = 2 * len(used) < used[-1] - used[0] + 1  # else skipping samples costs more than it saves
        if not sparse:
            used = np.arange(used[0], used[-1] + 1)
        matrix = np.zeros((len(positions), len(used)), np.float32)
        rows = np.flatnonzero(~outside)
        matrix[rows, np.searchsorted(used, low[rows])] += (1 - fraction[rows]).astype(np.float32)
        matrix[rows, np.searchsorted(used, high[rows])] += fraction[rows].astype(np.float32)
        begin = int(used[0])
        return cls(begin, matrix, used - begin if sparse else None)

    @property
    def end(self) -> int:
        """One past the last source sample that is used."""
        return self.begin + (self.matrix.shape[1] if self.picked is None else int(self.picked[-1]) + 1)

    def after(self, offset: int) -> AxisWeights:
        """Return the weights for a source whose first `offset` samples were cut away."""
        return replace(self, begin=self.begin - offset)

    def take(self, array: Array, axis: int) -> Array:
        """Return only the samples along `axis` that have a weight."""
        if self.picked is not None:
            return np.take(array, self.begin + self.picked, axis=axis)
        cut = [slice(None)] * array.ndim
        cut[axis] = slice(self.begin, self.begin + self.matrix.shape[1])
        return array[tuple(cut)]


def as_float32(voxels: Array) -> Float32:
    """Convert to float32, the precision in which the published code interpolates."""
    return voxels.astype(np.float32)


def interpolate(array: Array, weights: Weights3, convert: Callable[[Array], Float32] = as_float32) -> Float32:
    """Interpolate an (I, J, K) array to a new lattice; returns (targets I, J, K) float32.

    `convert` is applied to the samples that are used before they are interpolated (for example to clamp them).
    """
    shape = tuple(len(w.matrix) for w in weights)
    result = np.empty(shape, np.float32, order="F")
    for begin, slab in interpolate_slabs(array, weights, convert):
        result[:, :, begin : begin + slab.shape[2]] = slab
    return result


def interpolate_slabs(
    array: Array, weights: Weights3, convert: Callable[[Array], Float32] = as_float32
) -> Iterator[tuple[int, Float32]]:
    """Interpolate slab by slab along the last axis: yields (first target k, slab (targets I, J, a few K))."""
    wi, wj, wk = weights
    used = wi.take(wj.take(wk.take(array.T, 0), 1), 2)  # (K, J, I), the memory order of files
    shrinks = len(wi.matrix) * len(wj.matrix) <= used.shape[1] * used.shape[2]
    if shrinks:  # in-plane first, then along K: least work when going down in resolution
        planes = np.concatenate([_in_plane(convert(used[k : k + SLAB]), wi, wj) for k in range(0, len(used), SLAB)])
    else:
        planes = convert(used)
    for begin in range(0, len(wk.matrix), SLAB):
        rows = wk.matrix[begin : begin + SLAB]
        active = np.flatnonzero(rows.any(axis=0))
        source = slice(active[0], active[-1] + 1) if active.size else slice(0, 1)
        block = np.tensordot(rows[:, source], planes[source], axes=1)
        yield begin, (block if shrinks else _in_plane(block, wi, wj)).T


def _in_plane(planes: Float32, wi: AxisWeights, wj: AxisWeights) -> Float32:
    """Interpolate (K, J, I) planes along J and I: (K, targets J, targets I)."""
    result: Float32 = np.matmul(np.matmul(wj.matrix, planes), wi.matrix.T)
    return result


def resize(array: Array, shape: tuple[int, int, int], part: tuple[slice, slice, slice] | None = None) -> Float32:
    """Resize like `torch.nn.functional.interpolate(mode="trilinear", align_corners=False)`; `part` of it, or all."""
    i, j, k = (
        AxisWeights.at((np.arange(target)[cut] + 0.5) * (source / target) - 0.5, source)
        for source, target, cut in zip(array.shape, shape, part or (slice(None),) * 3, strict=True)
    )
    return interpolate(array, (i, j, k))


def mean_pool(field: Float32, shape: tuple[int, int, int]) -> Float32:
    """Return the means of equal blocks of a 3-D field; `shape` is the number of blocks along each axis."""
    a, b, c = (n // m for n, m in zip(field.shape, shape, strict=True))
    blocks = np.ascontiguousarray(field).reshape(shape[0], a, shape[1], b, shape[2], c)
    result: Float32 = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return result
