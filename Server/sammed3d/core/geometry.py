"""Grids: where voxels lie in the world. The only module that does affine mathematics.

World means patient RAS coordinates in mm (x to the Right, y to the Anterior, z to the Superior) everywhere in this
package. Array axes are (I, J, K), the order of the file; ITK's LPS frame and NumPy's reversed (K, J, I) arrays exist
only where files of others are read and written.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sammed3d.errors import VolumeError

Float64 = npt.NDArray[np.float64]
Index3 = tuple[int, int, int]
Point3 = tuple[float, float, float]

LPS_TO_RAS: Float64 = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Multiplies a homogeneous LPS coordinate (ITK, DICOM) to give RAS; its own inverse."""


LEAST_EDGE, LARGEST_EDGE, FARTHEST = 1e-7, 1e6, 1e9
"""mm: what an image's voxels and place can be; beyond that, a header is damaged and computing with it overflows."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxel centres in the world.

    Attributes:
        shape: number of voxels (I, J, K), each at least 1.
        index_to_world: (4, 4) float64, voxel index (i, j, k, 1) -> world RAS mm. Integer indices are voxel centres.

    Raises:
        VolumeError: the matrix is singular, non-finite or of the wrong shape, or an axis has no voxels.

    Example:
        >>> grid = Grid((10, 20, 30), np.diag([1.0, 1.0, 2.5, 1.0]))
        >>> grid.to_world([0, 0, 2]).tolist()
        [0.0, 0.0, 5.0]
    """

    shape: Index3
    index_to_world: Float64

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.index_to_world, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise VolumeError(f"A grid needs three axes with at least one voxel each, not {shape}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], [0, 0, 0, 1]):
            raise VolumeError("The index-to-world matrix must be a finite 4x4 matrix with last row 0 0 0 1.")
        edges = np.abs(affine[:3, :3]).max(axis=0)
        if not LEAST_EDGE <= edges.min() <= edges.max() <= LARGEST_EDGE or np.abs(affine[:3, 3]).max() > FARTHEST:
            raise VolumeError(
                "The index-to-world matrix is singular or not in mm: its voxels are too small or too large."
            )
        scale = np.prod(np.linalg.norm(affine[:3, :3], axis=0))
        if scale == 0 or abs(np.linalg.det(affine[:3, :3])) < 1e-6 * scale:
            raise VolumeError("The index-to-world matrix is singular: two image axes point the same way.")
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "index_to_world", affine)
        inverse = np.linalg.inv(affine)
        inverse.flags.writeable = False
        object.__setattr__(self, "_world_to_index", inverse)

    @property
    def world_to_index(self) -> Float64:
        """(4, 4) float64, world RAS mm -> continuous voxel index."""
        inverse: Float64 = self._world_to_index  # type: ignore[attr-defined]
        return inverse

    @property
    def spacing(self) -> Point3:
        """Distance in mm between neighbouring voxel centres along I, J and K."""
        a, b, c = np.linalg.norm(self.index_to_world[:3, :3], axis=0).tolist()
        return a, b, c

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.index_to_world[:3, :3])))

    def to_world(self, index: npt.ArrayLike) -> Float64:
        """Voxel indices (..., 3), fractions allowed -> world RAS mm (..., 3)."""
        return _transform(self.index_to_world, index)

    def to_index(self, world: npt.ArrayLike) -> Float64:
        """World RAS mm (..., 3) -> continuous voxel indices (..., 3)."""
        return _transform(self.world_to_index, world)

    def contains(self, world: npt.ArrayLike) -> bool:
        """Tell whether a world point lies in some voxel (up to half a voxel beyond the outermost centres)."""
        index = self.to_index(world)
        tolerance = 1e-6
        return bool(np.all(index >= -0.5 - tolerance) and np.all(index <= np.array(self.shape) - 0.5 + tolerance))

    def matches(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Tell whether both grids have the same shape and every voxel centre agrees within `tolerance` mm."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners() - other.corners()).max() <= tolerance)

    def corners(self) -> Float64:
        """World RAS mm of the centres of the eight corner voxels: (8, 3)."""
        return self.to_world(np.array(list(itertools.product(*((0, n - 1) for n in self.shape)))))

    def window(self, begin: Sequence[int], shape: Index3) -> Grid:
        """Return the grid of a box of this lattice that starts at index `begin` (which may be negative)."""
        affine = self.index_to_world.copy()
        affine[:3, 3] = self.to_world(begin)
        return Grid(shape, affine)


def voxel_offset(source: Float64, target: Float64) -> Index3 | None:
    """Return the index in one grid of the first voxel of another, if both share their voxels; else None.

    Args:
        source: index-to-world matrix (4, 4) of the grid whose first voxel is looked for.
        target: that of the other grid.

    Grids share their voxels where spacing and axes agree and the origins differ by whole voxels, all within a
    hundredth of a voxel over a thousand of them.
    """
    relative = np.linalg.solve(target, source)
    whole = np.rint(relative[:3, 3])
    if np.abs(relative[:3, :3] - np.eye(3)).max() > 1e-5 or np.abs(relative[:3, 3] - whole).max() > 1e-2:
        return None
    i, j, k = (int(v) for v in whole)
    return i, j, k


def _transform(matrix: Float64, points: npt.ArrayLike) -> Float64:
    result: Float64 = np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return result


@dataclass(frozen=True)
class AxisMap:
    """How the axes of one array become the axes of another by permutation and flips alone.

    Attributes:
        source: Source axis of each target axis.
        flipped: Whether each target axis runs against its source axis.
    """

    source: Index3
    flipped: tuple[bool, bool, bool]

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """View a source-ordered array in target order (no copy)."""
        return array.transpose(self.source)[tuple(slice(None, None, -1 if f else 1) for f in self.flipped)]

    def undo(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """View a target-ordered array in source order (no copy)."""
        back = tuple(int(a) for a in np.argsort(self.source))
        return array[tuple(slice(None, None, -1 if f else 1) for f in self.flipped)].transpose(back)


def canonical_axes(index_to_world: Float64) -> AxisMap:
    """Return the permutation and flips that bring array axes closest to R, A, S.

    The nearest rotation of the matrix (its polar factor) decides, the clearest axis first, so that the answer is
    the one of nibabel's `as_closest_canonical` and torchio's `ToCanonical` also for oblique and sheared grids.
    """
    columns = index_to_world[:3, :3] / np.linalg.norm(index_to_world[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(columns)
    rotation = u @ vt
    source, flipped = [0, 0, 0], [False, False, False]
    free = [0, 1, 2]
    for image_axis in np.argsort(-(rotation**2).max(axis=0), kind="stable"):
        world_axis = max(free, key=lambda axis: abs(rotation[axis, image_axis]))
        free.remove(world_axis)
        source[world_axis] = int(image_axis)
        flipped[world_axis] = bool(rotation[world_axis, image_axis] < 0)
    return AxisMap((source[0], source[1], source[2]), (flipped[0], flipped[1], flipped[2]))


SIDES = ("RL", "AP", "SI")
"""Letters of the two directions of each axis of RAS."""
TURNED = float(np.sin(np.radians(15)))
"""Share of an axis in a direction from which on it is named."""


def sides_towards(direction: npt.ArrayLike) -> str:
    """Return the side of the patient that a direction (3, RAS) points to, in letters as on films.

    Of an oblique direction all sides that it points to, the nearest first.
    """
    along = np.asarray(direction, float)
    along = along / np.linalg.norm(along)
    order = sorted(range(3), key=lambda axis: -abs(along[axis]))
    return "".join(SIDES[axis][int(along[axis] < 0)] for axis in order if abs(along[axis]) > TURNED)


@dataclass(frozen=True)
class Box:
    """A half-open box of voxel indices: `begin` is inside, `end` is not.

    Attributes:
        begin: first index (I, J, K).
        end: one past the last index (I, J, K).
    """

    begin: Index3
    end: Index3

    @property
    def shape(self) -> Index3:
        """Number of voxels along I, J and K."""
        return tuple(e - b for b, e in zip(self.begin, self.end, strict=True))  # type: ignore[return-value]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of an array of the whole grid."""
        return tuple(slice(b, e) for b, e in zip(self.begin, self.end, strict=True))  # type: ignore[return-value]

    def within(self, outer: Box) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of an array that covers `outer` only."""
        return tuple(  # type: ignore[return-value]
            slice(b - o, e - o) for b, e, o in zip(self.begin, self.end, outer.begin, strict=True)
        )

    def union(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(_each(min, self.begin, other.begin), _each(max, self.end, other.end))

    def shifted(self, offset: Sequence[int]) -> Box:
        """Return the box moved by `offset` voxels."""
        return Box(_each(operator.add, self.begin, offset), _each(operator.add, self.end, offset))

    def grown(self, voxels: int) -> Box:
        """Return the box with `voxels` more on every side."""
        return Box(_each(operator.sub, self.begin, (voxels,) * 3), _each(operator.add, self.end, (voxels,) * 3))

    def intersection(self, other: Box) -> Box | None:
        """Return the common part, or None where there is none."""
        begin, end = _each(max, self.begin, other.begin), _each(min, self.end, other.end)
        return Box(begin, end) if all(b < e for b, e in zip(begin, end, strict=True)) else None

    @staticmethod
    def around(mask: npt.NDArray[np.generic]) -> Box | None:
        """Return the bounding box of the non-zero voxels of an (I, J, K) array, or None where all are zero."""
        plane = np.any(mask, axis=2)
        if not plane.any():
            return None
        i0, i1 = _extent(np.any(plane, axis=1))
        j0, j1 = _extent(np.any(plane, axis=0))
        k0, k1 = _extent(np.any(mask[i0:i1, j0:j1], axis=(0, 1)))
        return Box((i0, j0, k0), (i1, j1, k1))


def _extent(line: npt.NDArray[np.bool_]) -> tuple[int, int]:
    hits = np.flatnonzero(line)
    return int(hits[0]), int(hits[-1]) + 1


def _each(pick: Callable[[int, int], int], a: Sequence[int], b: Sequence[int]) -> Index3:
    return pick(a[0], b[0]), pick(a[1], b[1]), pick(a[2], b[2])
