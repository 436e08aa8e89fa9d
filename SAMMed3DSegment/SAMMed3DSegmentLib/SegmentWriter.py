"""Changes of an object written into a segment, the way the Segment Editor does it."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from sammed3d import Box, Update


class SegmentWriter:
    """Write updates through `vtkSlicerSegmentEditorLogic`, so that masking and overwrite mode hold and undo works.

    Args:
        segmentationNode: where the segments are.
        volumeNode: the volume that is segmented; its grid is that of the updates.
        editorNode: the Segment Editor's settings to honour. Without one, an own node is used that overwrites no other
            segment.

    Example:
        >>> writer = SegmentWriter(segmentationNode, volumeNode)
        >>> writer.write(segmentId, session.click((12.0, -30.5, 88.0)))
        >>> writer.undo()
    """

    def __init__(
        self,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        editorNode: slicer.vtkMRMLSegmentEditorNode | None = None,
    ) -> None:
        self._volumeNode = volumeNode
        self._segmentationNode = segmentationNode
        if editorNode is None:
            editorNode = slicer.vtkMRMLSegmentEditorNode()
            editorNode.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
            editorNode.SetHideFromEditors(True)
            editorNode.SetSaveWithScene(False)
            slicer.mrmlScene.AddNode(editorNode)
        self.editorNode = editorNode
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSegmentEditorNode(editorNode)
        self._logic.SetSegmentationNode(segmentationNode)
        self._logic.SetSourceVolumeNode(volumeNode)

    def write(self, segmentId: str, update: Update) -> None:
        """Add and remove the voxels that an update changed, and no others; an undo state is saved first."""
        if update.box is None:
            return
        self._logic.SaveStateForUndo()
        self.editorNode.SetSelectedSegmentID(segmentId)
        self._logic.UpdateMaskLabelmap()
        mode = slicer.vtkSlicerSegmentEditorLogic
        # Not ModificationModeSet: it would clear the segment outside the box.
        self._modify(segmentId, update.box, update.voxels & ~update.previous, mode.ModificationModeAdd)
        self._modify(segmentId, update.box, update.previous & ~update.voxels, mode.ModificationModeRemove)

    def undo(self) -> None:
        """Take the newest write back."""
        self._logic.Undo()

    def redo(self) -> None:
        """Do again what was undone."""
        self._logic.Redo()

    def _modify(self, segmentId: str, box: Box, voxels: np.ndarray, mode: int) -> None:
        if voxels.any():
            labelmap = self._labelmap(box, voxels)
            extent = labelmap.GetExtent()
            self._logic.ModifySegmentByLabelmap(self._segmentationNode, segmentId, labelmap, mode, extent, True, False)

    def _labelmap(self, box: Box, mask: np.ndarray) -> slicer.vtkOrientedImageData:
        """Return a mask in a box of the volume as an oriented image in the segmentation node's own RAS frame."""
        labelmap = slicer.vtkOrientedImageData()
        (i0, j0, k0), (i1, j1, k1) = box.begin, box.end
        labelmap.SetExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
        labelmap.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(box.shape[::-1])[:] = mask.T
        ijkToRAS = vtk.vtkMatrix4x4()
        self._volumeNode.GetIJKToRASMatrix(ijkToRAS)
        labelmap.SetGeometryFromImageToWorldMatrix(ijkToRAS)
        volumeParent = self._volumeNode.GetParentTransformNode()
        segmentationParent = self._segmentationNode.GetParentTransformNode()
        if volumeParent is not segmentationParent:
            transform = vtk.vtkGeneralTransform()
            slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volumeParent, segmentationParent, transform)
            slicer.vtkOrientedImageDataResample.TransformOrientedImage(labelmap, transform)
        return labelmap
