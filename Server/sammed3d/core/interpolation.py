"""Separable linear interpolation: two samples and their weights for each target along each axis.

Volume to patch, low-res logits to patch and patch back to volume are all linear interpolation on axis-aligned
lattices, so each is three passes, one along each axis. Only the samples that are used are touched, and a result is made
slab by slab, so the cost follows the output, not the size of the volume.

The passes are plain arithmetic, not products with sparse matrices: those would start the threads of NumPy's linear
algebra, which wait for one another where a processor has other work too (a patch took 2.5 s instead of 0.04).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Index3

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]
Indices = npt.NDArray[np.intp]
Marked = npt.NDArray[np.bool_]
Weights3 = tuple["AxisWeights", "AxisWeights", "AxisWeights"]
Steps3 = tuple["AxisWeights | Chained", "AxisWeights | Chained", "AxisWeights | Chained"]
SLAB = 32
"""Slices interpolated at a time."""
FEW = 8
"""Samples of a line that `contiguous` writes at a time: the lines of a cube then stay in the processor's cache."""
EDGE_TOLERANCE = 1e-6
"""In samples; keeps the inside test independent of rounding in the geometry."""


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Linear interpolation along one axis.

    Attributes:
        begin: first source sample that is used.
        end: one past the last source sample that is used.
        picked: indices of the samples used, relative to `begin`; None where all from `begin` to `end` are used.
        low, high: (targets,) for each target its two samples, as indices of the samples used.
        of_low, of_high: (targets,) their weights, float32; both 0 for a target outside.
    """

    begin: int
    end: int
    picked: Indices | None
    low: Indices
    high: Indices
    of_low: Float32
    of_high: Float32

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
        inside = np.where(outside, np.float32(0), np.float32(1))
        begin, end = int(used[0]), int(used[-1]) + 1
        low, high = (np.searchsorted(used, np.clip(samples, begin, end - 1)) for samples in (low, high))
        of_low, of_high = (1 - fraction).astype(np.float32) * inside, fraction.astype(np.float32) * inside
        return cls(begin, end, used - begin if sparse else None, low, high, of_low, of_high)

    @property
    def targets(self) -> int:
        """How many targets there are."""
        return len(self.low)

    @property
    def sources(self) -> tuple[Indices, Indices]:
        """For each target its two samples, as indices of the whole line."""
        low, high = (each if self.picked is None else self.picked[each] for each in (self.low, self.high))
        return self.begin + low, self.begin + high

    def after(self, offset: int) -> AxisWeights:
        """Return the weights for a source whose first `offset` samples were cut away."""
        return replace(self, begin=self.begin - offset, end=self.end - offset)

    def part(self, begin: int, end: int) -> AxisWeights:
        """Return the weights of some targets, for the samples that these use of those that all use."""
        low, high = self.low[begin:end], self.high[begin:end]
        first, last = int(min(low.min(), high.min())), int(max(low.max(), high.max()))
        return AxisWeights(
            first, last + 1, None, low - first, high - first, self.of_low[begin:end], self.of_high[begin:end]
        )

    def then(self, second: AxisWeights) -> Chained:
        """Return what interpolates the targets once more."""
        used = np.arange(second.begin, second.end) if second.picked is None else second.begin + second.picked
        lines = {name: getattr(self, name)[used] for name in ("low", "high", "of_low", "of_high")}
        return Chained(replace(self, **lines), replace(second, begin=0, end=len(used), picked=None))

    def take(self, array: Array, axis: int) -> Array:
        """Return only the samples along `axis` that have a weight."""
        if self.picked is not None:
            return np.take(array, self.begin + self.picked, axis=axis)
        cut = [slice(None)] * array.ndim
        cut[axis] = slice(self.begin, self.end)
        return array[tuple(cut)]

    def mix(self, used: Float32, axis: int) -> Float32:
        """Interpolate the samples that `take` returns along `axis`."""
        shape = [1] * used.ndim
        shape[axis] = -1
        result: Float32 = np.take(used, self.low, axis)
        result *= self.of_low.reshape(shape)
        other = np.take(used, self.high, axis)
        other *= self.of_high.reshape(shape)
        result += other
        return result


@dataclass(frozen=True, eq=False)
class Chained:
    """One interpolation along an axis after another: the first one's targets are the samples that the second uses.

    Nothing is made of what lies between but that, and along one axis at a time: where the second makes fewer samples,
    the other axes have less work.
    """

    first: AxisWeights
    second: AxisWeights

    @property
    def targets(self) -> int:
        """How many targets there are."""
        return self.second.targets

    def part(self, begin: int, end: int) -> Chained:
        """Return the weights of some targets; see `AxisWeights.part`."""
        second = self.second.part(begin, end)
        first = self.first.part(second.begin, second.end)
        return Chained(first, second.after(second.begin))

    def take(self, array: Array, axis: int) -> Array:
        """Return only the samples along `axis` that have a weight."""
        return self.first.take(array, axis)

    def mix(self, used: Float32, axis: int) -> Float32:
        """Interpolate the samples that `take` returns along `axis`, twice."""
        return self.second.mix(self.first.mix(used, axis), axis)


def as_float32(voxels: Array) -> Float32:
    """Convert to float32, the precision in which the published code interpolates."""
    return voxels.astype(np.float32)


def interpolate(array: Array, weights: Steps3, convert: Callable[[Array], Float32] = as_float32) -> Float32:
    """Interpolate an (I, J, K) array to a new lattice; returns (targets I, J, K) float32.

    `convert` is applied to the samples that are used before they are interpolated (for example to clamp them).
    """
    shape = tuple(w.targets for w in weights)
    result = np.empty(shape, np.float32, order="F")
    for begin, slab in interpolate_slabs(array, weights, convert):
        result[:, :, begin : begin + slab.shape[2]] = slab
    return result


def interpolate_slabs(
    array: Array, weights: Steps3, convert: Callable[[Array], Float32] = as_float32
) -> Iterator[tuple[int, Float32]]:
    """Interpolate slab by slab along the last axis: yields (first target k, slab (targets I, J, a few K))."""
    wi, wj, wk = weights
    used = wi.take(wj.take(wk.take(array.T, 0), 1), 2)  # (K, J, I), the memory order of files
    shrinks = wi.targets * wj.targets <= used.shape[1] * used.shape[2]
    for begin in range(0, wk.targets, SLAB):
        some = wk.part(begin, begin + SLAB)
        planes = np.ascontiguousarray(convert(some.take(used, 0)))
        # In-plane first, then along K, where that is less work: when going down in resolution
        slab = some.mix(wi.mix(wj.mix(planes, 1), 2), 0) if shrinks else wi.mix(wj.mix(some.mix(planes, 0), 1), 2)
        yield begin, slab.T


def resize(array: Array, shape: Index3, part: tuple[slice, slice, slice] | None = None) -> Float32:
    """Resize like `torch.nn.functional.interpolate(mode="trilinear", align_corners=False)`; `part` of it, or all."""
    return interpolate(array, resizing(array.shape, shape, part))


def resizing(source: Sequence[int], shape: Index3, part: tuple[slice, slice, slice] | None = None) -> Weights3:
    """Return the weights with which `resize` makes `part` of an array of `shape` from one of the shape `source`."""
    cuts = part or (slice(None),) * 3
    i, j, k = (resizing_line(n, target, cut) for n, target, cut in zip(source, shape, cuts, strict=True))
    return i, j, k


def resizing_line(source: int, size: int, part: slice = slice(None)) -> AxisWeights:
    """Return the weights with which `resize` makes `part` of a line of `size` samples from one of `source` samples."""
    return AxisWeights.at((np.arange(size, dtype=np.float64)[part] + 0.5) * (source / size) - 0.5, source)


def sources_of(targets: Marked, weights: Weights3, shape: Sequence[int]) -> Marked:
    """Mark the samples of an array of `shape` that some targets of an interpolation are made of."""
    found, fortran = targets, targets.flags.fnc
    for axis in (2, 1, 0) if fortran else (0, 1, 2):  # planes that lie together first, then there are fewer
        line, of_axis = weights[axis], (*found.shape[:axis], shape[axis], *found.shape[axis + 1 :])
        samples = np.zeros(of_axis, np.bool_, order="F" if fortran else "C")
        to, given = np.moveaxis(samples, axis, 0), np.moveaxis(found, axis, 0)
        for n, (low, high) in enumerate(zip(*(each.tolist() for each in line.sources), strict=True)):
            to[low] |= given[n]
            to[high] |= given[n]
        found = samples
    return found


def contiguous(field: Float32) -> Float32:
    """Return a field in C order, as `np.ascontiguousarray`.

    That takes five times as long where edges are powers of two: lines of the field, in another order, then displace
    each other from the processor's cache.
    """
    if field.flags.c_contiguous:
        return field
    result = np.empty(field.shape, field.dtype)
    for begin in range(0, field.shape[-1], FEW):
        result[..., begin : begin + FEW] = field[..., begin : begin + FEW]
    return result


def mean_pool(field: Float32, shape: Index3) -> Float32:
    """Return the means of equal blocks of a 3-D field; `shape` is the number of blocks along each axis."""
    result = field
    for axis, (size, blocks) in enumerate(zip(field.shape, shape, strict=True)):
        lines, each = np.moveaxis(result, axis, 0), size // blocks
        result = np.moveaxis(reduce(np.add, (lines[n::each] for n in range(each))), 0, axis)
    means: Float32 = result / np.float32(field.size / result.size)
    return means
