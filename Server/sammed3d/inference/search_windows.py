"""Windows that cover what is searched without clicks, and where points lie in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32
from sammed3d.files.volume import Volume
from sammed3d.inference.compositing import MARGIN
from sammed3d.inference.lattice import Lattice


def windows(lattice: Lattice, shape: Index3, points: list[Index3]) -> Iterator[tuple[Box, list[Index3]]]:
    """Cover the lattice with overlapping windows; yields those that have points, each point in its best window."""
    starts = [_starts(size, n) for size, n in zip(lattice.shape, shape, strict=True)]
    inside: dict[Index3, list[Index3]] = {}
    for point in points:
        a, b, c = (
            begins[int(np.argmin(np.abs(p - n / 2 - np.array(begins))))]
            for p, n, begins in zip(point, shape, starts, strict=True)
        )
        inside.setdefault((a, b, c), []).append(point)
    for begin in sorted(inside):
        yield Box((0, 0, 0), shape).shifted(begin), inside[begin]


def _starts(size: int, window: int) -> list[int]:
    """Return where windows begin along an axis: they overlap by the part in which layers fade."""
    if size <= window:
        return [-math.ceil((window - size) / 2)]
    count = math.ceil((size - window) / max(1, window - 2 * MARGIN)) + 1
    return [round(n * (size - window) / (count - 1)) for n in range(count)]


def are_inside(
    lattice: Lattice,
    volume: Volume,
    region: npt.NDArray[np.generic] | None,
    points: Sequence[Index3] | npt.NDArray[np.int_],
) -> npt.NDArray[np.bool_]:
    """Tell which lattice samples lie in the volume, and in the region if there is one."""
    places = np.array(points).reshape(-1, 3)
    within: npt.NDArray[np.bool_] = np.logical_and.reduce((places >= 0) & (places < lattice.shape), axis=1)
    if region is None:
        return within
    index = np.rint(volume.grid.to_index(lattice.grid.to_world(places))).astype(int)
    i, j, k = np.clip(index, 0, np.array(volume.grid.shape) - 1).T
    wanted: npt.NDArray[np.bool_] = within & (region[i, j, k] != 0)
    return wanted


def sample_of(voxel: Index3, window: Box) -> Index3:
    """Return the lattice sample of a window's voxel."""
    i, j, k = (v + begin for v, begin in zip(voxel, window.begin, strict=True))
    return i, j, k


def voxel_of(point: Index3, window: Box) -> Index3:
    """Return the window's voxel of a lattice sample."""
    i, j, k = (p - begin for p, begin in zip(point, window.begin, strict=True))
    return i, j, k


def deepest(low_res: Float32, window: Box) -> Index3:
    """Return the lattice sample where logits are highest."""
    place = np.unravel_index(int(np.argmax(low_res)), low_res.shape)
    i, j, k = (
        int((v + 0.5) * n / m) + b for v, n, m, b in zip(place, window.shape, low_res.shape, window.begin, strict=True)
    )
    return i, j, k


def low_res_voxel(point: Index3, window: Box, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the low-res voxel of a lattice sample."""
    voxel = voxel_of(point, window)
    return tuple(int(v * m / n) for v, n, m in zip(voxel, window.shape, shape, strict=True))
