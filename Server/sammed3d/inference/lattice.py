"""The lattice of a volume: its voxels resampled to the model's spacing along canonical RAS axes.

The lattice is never filled as a whole. Windows are cut from it, and every window sees the very voxels that resampling
the whole volume would give, so patches of one volume fit together without seams.

Source: torchio 0.18-0.20 `Resample`, `ToCanonical` and `CropOrPad` as used by SAM-Med3D (`infer_utils.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Float64, Grid, Index3, Point3, canonical_axes
from sammed3d.core.interpolation import AxisWeights, Chained, Steps3, Weights3, resizing_line

Scalar = TypeVar("Scalar", bound=np.generic)


class Lattice:
    """The resampled, canonically oriented lattice of a grid.

    Attributes:
        source: the grid of the volume.
        grid: the lattice itself as a grid: RAS axes, world RAS mm.

    The first sample along each axis of the file starts at the corner of the first voxel, and the number of samples is
    rounded up. Axes are permuted and flipped afterwards. An axis with one voxel keeps one sample. A volume thinner than
    half a sample is seen by the only one there is; the published code finds nothing in it.
    """

    def __init__(self, source: Grid, spacing: Point3) -> None:
        self.source = source
        self._axes = canonical_axes(source.index_to_world)
        size = np.array(source.shape)[list(self._axes.source)]
        source_spacing = np.array(source.spacing)[list(self._axes.source)]
        self._step: Float64 = np.array(spacing) / source_spacing  # source voxels per lattice sample
        counts = np.where(size == 1, 1, np.ceil(size / self._step - 1e-6)).astype(int)
        self.grid = Grid(
            (int(counts[0]), int(counts[1]), int(counts[2])), source.index_to_world @ self._to_source(counts)
        )

    @property
    def shape(self) -> Index3:
        """Number of lattice samples along R, A and S."""
        return self.grid.shape

    def nearest(self, world: Sequence[float]) -> Index3:
        """Return the lattice sample nearest to a world point.

        Halfway between two samples, as voxel centres of a 3 mm volume are on a 1.5 mm lattice, the lower one is taken,
        with a tolerance that keeps the choice the same however the volume is stored.
        """
        index = np.ceil(self.grid.to_index(world) - 0.5 - 1e-6).astype(int)
        i, j, k = np.clip(index, 0, np.array(self.shape) - 1).tolist()
        return i, j, k

    def window_at(self, world: Sequence[float], shape: Index3) -> Box:
        """Return the window for a first click: centred on it, moved so that it covers as much of the volume as it can.

        Where the volume is smaller than the window it is centred in it, as CropOrPad does.
        """
        click = self.nearest(world)
        begin = [
            _clamp(c - n // 2, 0, size - n) if size >= n else -math.ceil((n - size) / 2)
            for c, n, size in zip(click, shape, self.shape, strict=True)
        ]
        return _box(begin, shape)

    def window_around(self, box: Box, shape: Index3) -> Box:
        """Return the window centred on a lattice box exactly like CropOrPad; it may reach beyond the volume."""
        begin = []
        for low, high, n in zip(box.begin, box.end, shape, strict=True):
            centre = (low + high) / 2
            begin.append(math.floor(centre) - n // 2 if n % 2 == 0 else math.ceil(centre) - (n + 1) // 2)
        return _box(begin, shape)

    def box_of(self, mask: npt.NDArray[np.generic]) -> Box | None:
        """Return the lattice box of a mask (I, J, K) of the volume, sampled to the nearest voxel; None if empty."""
        offsets, nearest = self._nearest(mask)
        found = Box.around(nearest)
        return None if found is None else found.shifted(offsets)

    def sample_nearest(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Sample a label map (I, J, K) of the volume at the whole lattice: (R, A, S), the nearest voxel's label."""
        offsets, nearest = self._nearest(labels)
        result = np.zeros(self.shape, labels.dtype)
        result[tuple(slice(o, o + n) for o, n in zip(offsets, nearest.shape, strict=True))] = nearest
        return result

    def spread_nearest(
        self, window: Box, labels: npt.NDArray[np.generic], target: Box | None = None
    ) -> npt.NDArray[np.generic]:
        """Give each voxel (I, J, K) of the volume, or of a box of it, the label of the nearest sample of a window.

        Voxels outside of the window get 0.
        """
        target = target or Box((0, 0, 0), self.source.shape)
        indices: list[npt.NDArray[np.int_]] = [np.empty(0, int)] * 3
        for axis, source_axis in enumerate(self._axes.source):
            voxels = np.arange(target.begin[source_axis], target.end[source_axis])
            samples = (voxels + 0.5) / self._step[axis] - 0.5
            if self._axes.flipped[axis]:
                samples = self.shape[axis] - 1 - samples
            indices[axis] = np.floor(samples + 0.5).astype(int) - window.begin[axis]
        inside = [(i >= 0) & (i < n) for i, n in zip(indices, window.shape, strict=True)]
        picked = labels[np.ix_(*(np.where(ok, i, 0) for i, ok in zip(indices, inside, strict=True)))]
        picked[~(inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])] = 0
        return picked.transpose(tuple(int(a) for a in np.argsort(self._axes.source)))

    def borders_inside(self, window: Box) -> tuple[tuple[bool, bool], ...]:
        """For each axis, tell whether the window's lower and upper face lie inside the volume (and not at its end)."""
        return tuple((b > 0, e < n) for b, e, n in zip(window.begin, window.end, self.shape, strict=True))

    def in_volume(self, window: Box) -> Box:
        """Return the part of a window that lies in the volume, with two samples round it where there are as many.

        The window must reach into the volume.
        """
        near = window.intersection(Box((0, 0, 0), self.shape))
        if near is None:
            raise ValueError("a window outside the volume")
        return near.grown(2).intersection(window) or near

    def sampling(self, window: Box) -> Weights3:
        """Return the weights, one for each volume axis (I, J, K), that sample the volume in a window.

        The result still has its axes in file order, but each in canonical direction: see `to_canonical`.
        """
        weights: dict[int, AxisWeights] = {}
        for axis, source_axis in enumerate(self._axes.source):
            positions = self._source_positions(axis, window.begin[axis], window.end[axis])
            weights[source_axis] = AxisWeights.at(positions, self.source.shape[source_axis], zero_outside=True)
        return weights[0], weights[1], weights[2]

    def resampling(self, window: Box, shape: Index3) -> Steps3:
        """Return the weights that sample the volume in a window and resize that to (R, A, S); see `sampling`."""
        sampling = self.sampling(window)
        weights: dict[int, AxisWeights | Chained] = {}
        for source_axis, size, wanted in zip(self._axes.source, window.shape, shape, strict=True):
            line = sampling[source_axis]
            weights[source_axis] = line if size == wanted else line.then(resizing_line(size, wanted))
        return weights[0], weights[1], weights[2]

    def painting(self, window: Box, target: Box) -> Weights3:
        """Return the weights, one for each volume axis, that sample a window of the lattice at the voxels of `target`.

        They apply to a field with its axes in file order and canonical direction: see `to_file_order`.
        """
        weights: dict[int, AxisWeights] = {}
        for axis, source_axis in enumerate(self._axes.source):
            voxels = np.arange(target.begin[source_axis], target.end[source_axis])
            samples = (voxels + 0.5) / self._step[axis] - 0.5
            if self._axes.flipped[axis]:
                samples = self.shape[axis] - 1 - samples
            weights[source_axis] = AxisWeights.at(samples - window.begin[axis], window.shape[axis])
        return weights[0], weights[1], weights[2]

    def covered(self, window: Box) -> Box | None:
        """Return the box of the volume's voxels whose centres lie in a window; touching windows share none."""
        begin, end = [0, 0, 0], [0, 0, 0]
        for axis, source_axis in enumerate(self._axes.source):
            low, high = window.begin[axis], window.end[axis]
            if self._axes.flipped[axis]:
                low, high = self.shape[axis] - high, self.shape[axis] - low
            size, step = self.source.shape[source_axis], self._step[axis]
            begin[source_axis] = _clamp(math.ceil(low * step - 0.5 - 1e-9), 0, size)
            end[source_axis] = _clamp(math.ceil(high * step - 0.5 - 1e-9), 0, size)
        if any(b >= e for b, e in zip(begin, end, strict=True)):
            return None
        return Box((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]))

    def to_canonical(self, field: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """View a sampled field (file axis order) in R, A, S order."""
        return field.transpose(self._axes.source)

    def to_file_order(self, field: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """View a field in R, A, S order with its axes in file order."""
        return field.transpose(tuple(int(a) for a in np.argsort(self._axes.source)))

    def _nearest(self, array: npt.NDArray[np.generic]) -> tuple[list[int], npt.NDArray[np.generic]]:
        """Take the nearest voxel of each lattice sample that has one: the first such sample, and the voxels."""
        nearest = [np.floor(self._source_positions(a, 0, self.shape[a]) + 0.5).astype(int) for a in range(3)]
        canonical = array.transpose(self._axes.source)
        inside = [(n >= 0) & (n < size) for n, size in zip(nearest, canonical.shape, strict=True)]
        offsets = [int(np.argmax(i)) for i in inside]
        return offsets, canonical[np.ix_(*(n[i] for n, i in zip(nearest, inside, strict=True)))]

    def _source_positions(self, axis: int, begin: int, end: int) -> Float64:
        """Continuous source indices of lattice samples begin..end-1 along one axis; -inf outside the lattice."""
        sample = np.arange(begin, end)
        count = self.shape[axis]
        in_file_direction = count - 1 - sample if self._axes.flipped[axis] else sample
        positions = (in_file_direction + 0.5) * self._step[axis] - 0.5
        if count == 1:  # thinner than half a sample, the volume would have none that sees it
            positions = np.minimum(positions, self.source.shape[self._axes.source[axis]] - 1)
        return np.where((sample >= 0) & (sample < count), positions, -np.inf)

    def _to_source(self, counts: npt.NDArray[np.int_]) -> Float64:
        """(4, 4) matrix from lattice index to source voxel index."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for axis, source_axis in enumerate(self._axes.source):
            step, flipped = self._step[axis], self._axes.flipped[axis]
            matrix[source_axis, axis] = -step if flipped else step
            matrix[source_axis, 3] = ((counts[axis] - 0.5) if flipped else 0.5) * step - 0.5
        return matrix


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _box(begin: Sequence[int], shape: Index3) -> Box:
    return Box(
        (begin[0], begin[1], begin[2]),
        (begin[0] + shape[0], begin[1] + shape[1], begin[2] + shape[2]),
    )
