"""Changes of an object written into a segment, the way the Segment Editor does it."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from sammed3d import Box, Update
from SAMMed3DSegmentLib import Surface

SEGMENT_EDITOR_TAG, OWN_TAG = "SegmentEditor", "SAMMed3DSegment"
"""Singleton tags of the editor nodes of the Segment Editor module and of this one."""
OVERWRITE_ATTRIBUTE = "SAMMed3DSegment.Overwrite"
"""Attribute of this module's editor node: the overwrite mode that the user chose."""


class SegmentWriter:
    """Write updates through `vtkSlicerSegmentEditorLogic`, so that masking and overwrite mode hold and undo works.

    Args:
        segmentationNode: where the segments are.
        volumeNode: the volume that is segmented; its grid is that of the updates.
        editorNode: settings to use. Without one, those of this module: no other segment is overwritten unless the
            user says so, and editable area and intensity range are the Segment Editor's, where it was used on the
            same segmentation.

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
        self._followsSegmentEditor = editorNode is None
        self.editorNode = editorNode or ownEditorNode()
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSegmentEditorNode(self.editorNode)
        self._logic.SetSegmentationNode(segmentationNode)
        self._logic.SetSourceVolumeNode(volumeNode)

    def write(self, segmentId: str, update: Update) -> None:
        """Add and remove the voxels that an update changed, and no others; an undo state is saved first."""
        if update.box is None:
            return
        if self._followsSegmentEditor:
            self._takeMaskingOver()
            # Each time anew: closing a scene resets the node to Slicer's default, which overwrites all other segments.
            self.editorNode.SetOverwriteMode(overwriteMode())
        self.editorNode.SetAndObserveSegmentationNode(self._segmentationNode)
        self.editorNode.SetAndObserveSourceVolumeNode(self._volumeNode)
        self.editorNode.SetSelectedSegmentID(segmentId)
        self._logic.SaveStateForUndo()
        self._logic.UpdateMaskLabelmap()
        mode = slicer.vtkSlicerSegmentEditorLogic
        with Surface.heldBack(self._segmentationNode, segmentId):
            # Not ModificationModeSet: it would clear the segment outside the box.
            self._modify(segmentId, update.box, update.voxels & ~update.previous, mode.ModificationModeAdd)
            self._modify(segmentId, update.box, update.previous & ~update.voxels, mode.ModificationModeRemove)

    def undo(self) -> None:
        """Take the newest write back."""
        self._logic.Undo()

    def redo(self) -> None:
        """Do again what was undone."""
        self._logic.Redo()

    def _takeMaskingOver(self) -> None:
        theirs = slicer.mrmlScene.GetSingletonNode(SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if theirs is None or theirs is self.editorNode or theirs.GetSegmentationNode() is not self._segmentationNode:
            return
        self.editorNode.SetMaskMode(theirs.GetMaskMode())
        self.editorNode.SetMaskSegmentID(theirs.GetMaskSegmentID())
        self.editorNode.SetSourceVolumeIntensityMask(theirs.GetSourceVolumeIntensityMask())
        self.editorNode.SetSourceVolumeIntensityMaskRange(theirs.GetSourceVolumeIntensityMaskRange())

    def _modify(self, segmentId: str, box: Box, voxels: np.ndarray, mode: int) -> None:
        if voxels.any():
            labelmap = self._labelmap(box, voxels)
            extent = labelmap.GetExtent()
            self._logic.ModifySegmentByLabelmap(self._segmentationNode, segmentId, labelmap, mode, extent, True, False)

    def _labelmap(self, box: Box, mask: np.ndarray) -> slicer.vtkOrientedImageData:
        """Return a mask in a box of the volume as an oriented image on the segmentation's own grid."""
        labelmap = labelmapOf(box, mask, self._volumeNode)
        self._logic.UpdateReferenceGeometryImage()
        grid = self._logic.GetReferenceGeometryImage()
        resample = slicer.vtkOrientedImageDataResample
        volumeParent = self._volumeNode.GetParentTransformNode()
        segmentationParent = self._segmentationNode.GetParentTransformNode()
        if volumeParent is segmentationParent and (
            grid is None or grid.IsEmpty() or resample.DoGeometriesMatchIgnoreOrigin(labelmap, grid)
        ):
            return labelmap
        transform = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volumeParent, segmentationParent, transform)
        onGrid = slicer.vtkOrientedImageData()
        resample.ResampleOrientedImageToReferenceOrientedImage(labelmap, grid, onGrid, False, False, transform)
        return onGrid


def ownEditorNode() -> slicer.vtkMRMLSegmentEditorNode:
    """Return this module's settings for writing; made when first asked for."""
    node = slicer.mrmlScene.GetSingletonNode(OWN_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(OWN_TAG)
        node.SetHideFromEditors(True)
        node = slicer.mrmlScene.AddNode(node)
    return node


def overwriteMode() -> int:
    """Return what happens to other segments where they overlap: none is overwritten unless the user chose so."""
    chosen = ownEditorNode().GetAttribute(OVERWRITE_ATTRIBUTE)
    return slicer.vtkMRMLSegmentEditorNode.OverwriteNone if chosen is None else int(chosen)


def setOverwriteMode(mode: int) -> None:
    """Choose what happens to other segments where they overlap; kept in the scene."""
    ownEditorNode().SetAttribute(OVERWRITE_ATTRIBUTE, str(mode))


def labelmapOf(box: Box, mask: np.ndarray, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkOrientedImageData:
    """Return a mask in a box of a volume as an oriented image in the volume node's own RAS frame."""
    labelmap = slicer.vtkOrientedImageData()
    (i0, j0, k0), (i1, j1, k1) = box.begin, box.end
    labelmap.SetExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
    labelmap.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(box.shape[::-1])[:] = mask.T
    ijkToRAS = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRAS)
    labelmap.SetGeometryFromImageToWorldMatrix(ijkToRAS)
    return labelmap
