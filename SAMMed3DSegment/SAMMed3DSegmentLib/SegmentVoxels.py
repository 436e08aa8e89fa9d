"""Voxels of segments filled or cleared, all others left as they are; the only place that changes a labelmap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import slicer

from sammed3d import VolumeError
from sammed3d.core.geometry import voxel_offset
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import LabelmapSource, MaskGrids, Surface
from SAMMed3DSegmentLib.SegmentReader import heldMask, labelmapOfSegment


class Changes:
    """What was filled and cleared in the segments of a segmentation, so that it can be taken back; see `allOrNothing`.

    Args:
        segmentationNode: the segmentation.
    """

    def __init__(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        self._node = segmentationNode
        self._done: list[tuple[str, np.ndarray, BoxedMask, bool]] = []

    def set(self, segmentId: str, matrix: np.ndarray, voxels: BoxedMask | None, filled: bool) -> None:
        """Fill or clear voxels of a segment, as `setVoxels`, and remember those that were not so before."""
        if voxels is None:
            return
        held = _heldIn(self._node, segmentId, matrix, voxels)
        changed = MaskGrids.without(voxels, held) if filled else MaskGrids.common(voxels, held)
        if changed is not None:
            self._done.append((segmentId, matrix, changed, filled))  # before: Slicer may stop in the middle
        setVoxels(self._node, segmentId, matrix, voxels, filled)

    def takeBack(self) -> list[str]:
        """Make all segments what they were; returns the names of those that are not, since Slicer refused that, too."""
        left = set()
        while self._done:
            segmentId, matrix, voxels, filled = self._done.pop()
            with suppress(VolumeError, MemoryError):
                setVoxels(self._node, segmentId, matrix, voxels, not filled)
            held = _heldIn(self._node, segmentId, matrix, voxels)
            if (MaskGrids.common if filled else MaskGrids.without)(voxels, held) is not None:
                left.add(self._node.GetSegmentation().GetSegment(segmentId).GetName())
        return sorted(left)


@contextmanager
def allOrNothing(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Iterator[Changes]:
    """Change segments of a segmentation together: where one change fails, those before it are taken back.

    Raises:
        VolumeError: Slicer does not let a segment be changed, or there is not enough memory; says what holds now.
    """
    changes = Changes(segmentationNode)
    try:
        yield changes
    except BaseException as error:
        refused = changes.takeBack()
        if not refused and not isinstance(error, (VolumeError, MemoryError)):
            raise  # no fault of the segmentation's
        raise VolumeError(_whatHolds(segmentationNode.GetName(), error, refused)) from error


def setVoxels(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    matrix: np.ndarray,
    voxels: BoxedMask | None,
    filled: bool,
) -> None:
    """Fill or clear voxels of a segment; its 3-D surface is stale then, see `Surface.refresh`.

    Args:
        segmentationNode: the segmentation.
        segmentId: the segment's id in it.
        matrix: index-to-RAS matrix (4, 4) of the voxels' grid, before the segmentation's parent transform.
        voxels: which; None for none.
        filled: whether they are the segment's afterwards.

    Raises:
        VolumeError: Slicer does not let them be changed.
    """
    if voxels is None:
        return
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    mode = logic.MODE_MERGE_MASK if filled else logic.MODE_MERGE_MIN
    values = voxels.voxels if filled else np.where(voxels.voxels, 0, 255).astype(np.uint8)
    image = MaskGrids.imageOf(voxels.box, values, matrix)
    with Surface.heldBack(segmentationNode, segmentId):
        done = logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId, mode, image.GetExtent(), False, ())
    if not done:
        LabelmapSource.check(segmentationNode)
        raise VolumeError(
            f"{segmentationNode.GetName()}: a segment could not be changed. See the application's error log, or choose "
            "another segmentation."
        )


def _heldIn(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, matrix: np.ndarray, voxels: BoxedMask
) -> BoxedMask | None:
    """Return what a segment holds where a mask of a grid reaches, on that grid."""
    labelmap = labelmapOfSegment(segmentationNode, segmentId)
    if labelmap is None:
        return None
    offset = voxel_offset(matrix, MaskGrids.matrixOfImage(labelmap))
    near = None if offset is None else voxels.box.shifted(offset)
    there, held = heldMask(segmentationNode, segmentId, near)
    return MaskGrids.onGrid(held, there, matrix, within=voxels.box)


def _whatHolds(name: str, error: BaseException, refused: list[str]) -> str:
    """Say why nothing was written into a segmentation of a name, and what it holds now."""
    why = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        why = f"{name}: there is not enough memory to write what was segmented. Close other volumes."
    if not refused:
        return f"{why} All segments are as they were."
    return f"{why} These are not as they were: {', '.join(refused)}. Open the scene again as you saved it last."
