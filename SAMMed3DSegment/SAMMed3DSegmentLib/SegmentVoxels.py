"""Voxels of one segment filled or cleared, all others left as they are; the only place that changes a labelmap."""

from __future__ import annotations

import numpy as np
import slicer

from sammed3d import VolumeError
from sammed3d.core.mask import BoxedMask
from SAMMed3DSegmentLib import LabelmapSource, MaskGrids, Surface


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
