"""Masks between the grids of volumes and of segments, through any transforms; the only owner of that.

A grid is known by its index-to-RAS matrix (4, 4), in the RAS frame of its node before any parent transform. Masks are
`BoxedMask`s of it, whose indices may be negative: a segment is not bound to the grid of its segmentation.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from sammed3d import Box
from sammed3d.core.geometry import voxel_offset
from sammed3d.core.mask import BoxedMask, changed_box

SAMPLES = 9
"""Points along each axis of a box at which a transform is looked at, to find the box that it maps to."""

ONE = np.uint8(1)
ROUNDING = 1e-3
"""Voxels by which one may lie outside of an image and count as inside."""


def matrixOfVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the index-to-RAS matrix (4, 4) of a volume node's grid."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return arrayFromMatrix(matrix)


def matrixOfImage(image: slicer.vtkOrientedImageData) -> np.ndarray:
    """Return the index-to-RAS matrix (4, 4) of an oriented image's grid."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return arrayFromMatrix(matrix)


def transformBetween(fromNode, toNode) -> vtk.vtkGeneralTransform | None:
    """Return what brings points from one node's RAS frame into another's; None where both are under the same parent."""
    return transformBetweenParents(fromNode.GetParentTransformNode(), toNode.GetParentTransformNode())


def transformBetweenParents(fromParent, toParent) -> vtk.vtkGeneralTransform | None:
    """Return what brings points from under one transform node under another (None: the world); None for the same."""
    if fromParent is toParent:
        return None
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(fromParent, toParent, transform)
    return transform


def onGrid(
    mask: BoxedMask | None,
    source: np.ndarray,
    target: np.ndarray,
    transform: vtk.vtkGeneralTransform | None = None,
    within: Box | None = None,
) -> BoxedMask | None:
    """Return a mask of one grid on another: exact where both share their voxels, else each voxel takes the nearest.

    Args:
        mask: voxels of the first grid.
        source: index-to-RAS matrix (4, 4) of the first grid.
        target: that of the other.
        transform: from the frame of the first to that of the other; None where it is the same.
        within: a box of the target grid, outside of which nothing is asked for: all of it might not fit into memory.
    """
    if mask is None:
        return None
    offset = voxel_offset(source, target) if transform is None else None
    if offset is not None:
        return BoxedMask(mask.box.shifted(offset), mask.voxels)
    box = _boxOnGrid(mask.box, source, target, transform)
    asked = box if within is None else box.intersection(within)
    if asked is None:
        return None
    wider = mask.box.grown(1)  # else a border of half a voxel would count as inside
    reference = imageOf(asked, None, target)
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        imageOf(wider, mask.cut(wider), source), reference, resampled, False, False, transform
    )
    box, voxels = arrayOfImage(resampled)
    return BoxedMask(box, np.asfortranarray(voxels, dtype=np.uint8)).cropped()


def isOnGrid(mask: BoxedMask | None, source: np.ndarray, resampled: BoxedMask | None, target: np.ndarray) -> bool:
    """Tell whether a mask of one grid is what another one becomes there, whoever resampled it.

    Where several voxels are equally near, as in a grid of voxels twice as large, each of them is right.
    """
    shifts = itertools.product((-ROUNDING, ROUNDING), repeat=3)
    ways = [onGrid(mask, source @ _shift(shift), target) for shift in shifts]
    certain, possible = functools.reduce(common, ways), functools.reduce(together, ways)
    return difference(certain, resampled)[1] is None and difference(resampled, possible)[1] is None


def sizeOnGrid(
    mask: BoxedMask | None, source: np.ndarray, target: np.ndarray, transform: vtk.vtkGeneralTransform | None = None
) -> int:
    """Return how many voxels `onGrid` would make of a mask, at most; 0 where both grids share their voxels."""
    if mask is None or (transform is None and voxel_offset(source, target) is not None):
        return 0
    return math.prod(_boxOnGrid(mask.box, source, target, transform).shape)


def outside(
    mask: BoxedMask | None,
    source: np.ndarray,
    target: np.ndarray,
    shape: tuple[int, int, int],
    transform: vtk.vtkGeneralTransform | None = None,
) -> BoxedMask | None:
    """Return the voxels of a mask of one grid that lie outside the image of another; on the first grid.

    Args:
        mask: voxels of the first grid.
        source: index-to-RAS matrix (4, 4) of the first grid.
        target: that of the other.
        shape: of the other's image (I, J, K).
        transform: from the frame of the first to that of the other; None where it is the same.
    """
    if mask is None:
        return None
    around = _boxOnGrid(mask.box, source, target, transform)
    if Box((0, 0, 0), shape).intersection(around) == around:
        return None
    inverse, found = np.linalg.inv(target), np.zeros_like(mask.voxels)
    low, high = np.array((-0.5, -0.5, -0.5)) - ROUNDING, np.array(shape) - 0.5 + ROUNDING
    for k in range(mask.voxels.shape[2]):
        i, j = np.nonzero(mask.voxels[:, :, k])
        places = np.column_stack((i, j, np.full_like(i, k))) + mask.box.begin
        places = places @ source[:3, :3].T + source[:3, 3]
        if transform is not None:
            places = transformed(places, transform)
        indices = places @ inverse[:3, :3].T + inverse[:3, 3]
        beside = np.any((indices < low) | (indices > high), axis=1)
        found[i[beside], j[beside], k] = 1
    return BoxedMask(mask.box, found).cropped()


def transformed(places: np.ndarray, transform: vtk.vtkGeneralTransform) -> np.ndarray:
    """Return where a transform brings places (N, 3)."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    source.SetDataTypeToDouble()
    target.SetDataTypeToDouble()
    source.SetData(numpy_to_vtk(np.ascontiguousarray(places), deep=True))
    transform.TransformPoints(source, target)
    return vtk_to_numpy(target.GetData())


def imageOf(box: Box, voxels: np.ndarray | None, matrix: np.ndarray) -> slicer.vtkOrientedImageData:
    """Return voxels (I, J, K) in a box of a grid as an oriented image; without voxels, the grid of the box alone."""
    image = slicer.vtkOrientedImageData()
    (i0, j0, k0), (i1, j1, k1) = box.begin, box.end
    image.SetExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
    if voxels is not None:
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars()).reshape(box.shape[::-1])[:] = voxels.T
    toWorld = vtk.vtkMatrix4x4()
    toWorld.DeepCopy(np.asarray(matrix).ravel().tolist())
    image.SetGeometryFromImageToWorldMatrix(toWorld)
    return image


def arrayOfImage(image: slicer.vtkOrientedImageData) -> tuple[Box, np.ndarray]:
    """View an oriented image that is not empty as its box of the grid and its voxels (I, J, K)."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    box = Box((i0, j0, k0), (i1 + 1, j1 + 1, k1 + 1))
    return box, vtk_to_numpy(image.GetPointData().GetScalars()).reshape(box.shape[::-1]).T


def difference(before: BoxedMask | None, after: BoxedMask | None) -> tuple[BoxedMask | None, BoxedMask | None]:
    """Return the voxels that `after` has and `before` has not, and the other way round."""
    box = changed_box(before, after)
    if box is None:
        return None, None
    old, new = (np.zeros(box.shape, np.uint8) if mask is None else mask.cut(box) for mask in (before, after))
    return BoxedMask(box, new & ~old & ONE).cropped(), BoxedMask(box, old & ~new & ONE).cropped()


def common(a: BoxedMask | None, b: BoxedMask | None) -> BoxedMask | None:
    """Return the voxels that both masks have."""
    box = None if a is None or b is None else a.box.intersection(b.box)
    return None if box is None else BoxedMask(box, a.cut(box) & b.cut(box)).cropped()


def without(a: BoxedMask | None, b: BoxedMask | None) -> BoxedMask | None:
    """Return the voxels of `a` that `b` has not."""
    return a if a is None or b is None else BoxedMask(a.box, a.voxels & ~b.cut(a.box) & ONE).cropped()


def together(a: BoxedMask | None, b: BoxedMask | None) -> BoxedMask | None:
    """Return the voxels of both masks."""
    if a is None or b is None:
        return a or b
    box = a.box.union(b.box)
    return BoxedMask(box, a.cut(box) | b.cut(box))


def arrayFromMatrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """Return a vtkMatrix4x4 as a (4, 4) float64 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _shift(voxels: tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix


def _boxOnGrid(box: Box, source: np.ndarray, target: np.ndarray, transform: vtk.vtkGeneralTransform | None) -> Box:
    """Return a box of the target grid that holds a box of the source grid."""
    lines = [np.linspace(b - 0.5, e - 0.5, SAMPLES) for b, e in zip(box.begin, box.end, strict=True)]
    points = np.array(list(itertools.product(*lines))) @ source[:3, :3].T + source[:3, 3]
    if transform is not None:
        points = np.array([transform.TransformPoint(point) for point in points])
    inverse = np.linalg.inv(target)
    indices = points @ inverse[:3, :3].T + inverse[:3, 3]
    low, high = indices.min(axis=0), indices.max(axis=0)
    # A warp may bulge between the points that were looked at; a straight map needs no more than rounding.
    margin = 1 if transform is None else 1 + np.ceil((high - low) / SAMPLES)
    begin, end = np.floor(low - margin).astype(int), np.ceil(high + margin).astype(int) + 1
    return Box(tuple(begin.tolist()), tuple(end.tolist()))
