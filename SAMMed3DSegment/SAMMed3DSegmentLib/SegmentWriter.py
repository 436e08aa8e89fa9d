"""Masks written into segments: what changed and no more, with the user's masking and overwrite mode.

The way of the Segment Editor, with three differences: a segment's voxels are written as they lie, whatever grid their
labelmap is on, so nothing else in it moves; taking voxels away never gives them to the mask segment; and what was
overwritten is remembered (`Neighbours`), so that it goes back to the neighbours when this segment lets go of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import slicer

from sammed3d import Volume, VolumeError
from sammed3d.core.geometry import voxel_offset
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.history import PackedMask
from SAMMed3DSegmentLib import LabelmapSource, MaskGrids
from SAMMed3DSegmentLib.Neighbours import Neighbours, PlacedMask, Taken, Trace, between, tracesKept
from SAMMed3DSegmentLib.SegmentReader import digestOf, heldMask, labelmapOfSegment
from SAMMed3DSegmentLib.SegmentVoxels import allOrNothing
from SAMMed3DSegmentLib.VolumeBridge import placementOf, segmentableFromNode

SEGMENT_EDITOR_TAG, OWN_TAG = "SegmentEditor", "SAMMed3DSegment"
"""Singleton tags of the editor nodes of the Segment Editor module and of this one."""
OVERWRITE_ATTRIBUTE = "SAMMed3DSegment.Overwrite"
"""Attribute of this module's editor node: the overwrite mode that the user chose."""
EDITOR_ROLE = "SAMMed3DSegment.Editor"
"""Reference of this module's editor node: the one of a Segment Editor in which this module's effect is on."""

LARGEST = 2**28
"""Voxels that a mask may have on a segment's own grid where that is another than the mask's: 256 MiB, several times."""


NOTHING = PackedMask.of(None)


@dataclass(frozen=True, eq=False)
class Holdings:
    """What a segment holds, as it lies.

    Attributes:
        matrix: index-to-RAS matrix of its labelmap's grid, before the segmentation's parent transform.
        voxels: the segment's, on that grid.
        digest: digest of both, see `SegmentReader.digestOf`.
        taken: what it took from others.
        trace: the write that made it.
        placement: where the volume lay that it was made of, see `VolumeBridge.placementOf`.
        beyond: those of its voxels that lay outside of that volume, of which no mask says anything: they stay.
    """

    matrix: np.ndarray
    voxels: PackedMask
    digest: str
    taken: Taken = field(default_factory=dict)
    trace: Trace = field(default_factory=Trace)
    placement: str = ""
    beyond: PackedMask = NOTHING

    @classmethod
    def of(
        cls,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    ) -> Holdings:
        """Read what a segment holds; with a volume, also where that lies, and what lies beyond it."""
        matrix, held = heldMask(segmentationNode, segmentId)
        known = cls(matrix, PackedMask.of(held), digestOf(matrix, held))
        if volumeNode is None:
            return known
        transform = MaskGrids.transformBetween(segmentationNode, volumeNode)
        grid, shape = MaskGrids.matrixOfVolume(volumeNode), volumeNode.GetImageData().GetDimensions()
        beyond = PackedMask.of(MaskGrids.outside(held, matrix, grid, shape, transform))
        return replace(known, placement=placementOf(volumeNode, segmentationNode), beyond=beyond)

    def on(self, matrix: np.ndarray) -> BoxedMask | None:
        """Return the voxels on another grid."""
        return MaskGrids.onGrid(self.voxels.mask(), self.matrix, matrix)

    def beyondOn(self, matrix: np.ndarray) -> BoxedMask | None:
        """Return those beyond the volume on another grid."""
        return MaskGrids.onGrid(self.beyond.mask(), self.matrix, matrix)


@dataclass(frozen=True)
class Frame:
    """A frame of a sequence, whose segmentation is not in the scene.

    Attributes:
        shownBy: the node of the scene that shows it: its transform, display and masking hold.
        image: makes the frame's image, in place of the one that the volume node shows now.
    """

    shownBy: slicer.vtkMRMLSegmentationNode
    image: Callable[[], Volume]


def write(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    mask: BoxedMask | None,
    before: Holdings,
    grid: np.ndarray | None = None,
    frame: Frame | None = None,
) -> Holdings:
    """Make a segment a mask of a volume, as far as masking allows; returns what was written into it by then.

    Args:
        segmentationNode: the segmentation.
        segmentId: the segment's id in it.
        volumeNode: the mask's volume.
        mask: on the volume's grid.
        before: what was written last; what somebody changed since then stays as they left it, and so does what lies
            beyond the volume.
        grid: the mask's index-to-RAS matrix, where the volume may have got another one since.
        frame: where the segmentation is not in the scene but shown by another node, as a frame of a sequence is.

    Raises:
        VolumeError: the segment's voxels are too fine for the mask, or Slicer does not let voxels be changed: then this
            segment and its neighbours are as before.
    """
    if frame is None:
        LabelmapSource.setReference(segmentationNode, volumeNode)
    check(segmentationNode, segmentId, volumeNode, mask, grid, frame)
    shown = segmentationNode if frame is None else frame.shownBy
    image = None if frame is None else frame.image
    matrix = _gridFor(segmentationNode, segmentId, volumeNode)
    transform = MaskGrids.transformBetween(volumeNode, shown)
    source = MaskGrids.matrixOfVolume(volumeNode) if grid is None else grid
    wanted = MaskGrids.together(MaskGrids.onGrid(mask, source, matrix, transform), before.beyondOn(matrix))
    added, removed = MaskGrids.difference(before.on(matrix), wanted)
    added, removed = _editable(shown, segmentationNode, segmentId, (volumeNode, image), matrix, (added, removed))
    with allOrNothing(segmentationNode) as changes:
        neighbours = Neighbours(segmentationNode, segmentId, changes)
        overwritten = {other for other in neighbours.ids if _overwrites(shown, other)}
        changes.set(segmentId, matrix, removed, False)
        placed = PlacedMask.of(matrix, removed), PlacedMask.of(matrix, added)
        taken, trace = neighbours.write(before.taken, *placed, overwritten, before.trace)
        changes.set(segmentId, matrix, added, True)
    held = _holdings(segmentationNode, segmentId, matrix, added, removed, before, taken, trace)
    return replace(held, beyond=PackedMask.of(before.beyondOn(matrix)))


def check(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    mask: BoxedMask | None,
    grid: np.ndarray | None = None,
    frame: Frame | None = None,
) -> None:
    """Refuse a mask that `write` cannot write; arguments as there.

    Raises:
        VolumeError: see `write`.
    """
    LabelmapSource.check(segmentationNode)
    matrix = _gridFor(segmentationNode, segmentId, volumeNode)
    transform = MaskGrids.transformBetween(volumeNode, segmentationNode if frame is None else frame.shownBy)
    source = MaskGrids.matrixOfVolume(volumeNode) if grid is None else grid
    size = MaskGrids.sizeOnGrid(mask, source, matrix, transform)
    if size > LARGEST:
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        finest = np.linalg.norm(matrix[:3, :3], axis=0).min()
        raise VolumeError(
            f"{name}: its voxels of {finest:.2g} mm are too fine, {size / 1e9:.1f} billion would be needed. Click in a "
            "new segment, or make this one as coarse as the volume: Segment Editor, Specify geometry."
        )


def restore(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, wanted: Holdings, before: Holdings
) -> Holdings:
    """Make a segment hold again what it held once, whatever masking there is now.

    Its neighbours get back what the writes in between took from them, and lose what these gave to them.

    Raises:
        VolumeError: Slicer does not let voxels be changed; all segments are as before.
    """
    matrix = wanted.matrix if wanted.voxels.box is not None else before.matrix
    labelmap = labelmapOfSegment(segmentationNode, segmentId)
    if labelmap is not None and heldMask(segmentationNode, segmentId)[1] is not None:
        matrix = MaskGrids.matrixOfImage(labelmap)  # which may have got another geometry since then, and keeps it
    added, removed = MaskGrids.difference(before.on(matrix), wanted.on(matrix))
    back, forward = between(before.trace, wanted.trace)
    with tracesKept((*back, *forward)), allOrNothing(segmentationNode) as changes:
        neighbours = Neighbours(segmentationNode, segmentId, changes)
        changes.set(segmentId, matrix, removed, False)
        for trace in back:
            neighbours.goBack(trace)
        for trace in forward:
            neighbours.goForward(trace)
        changes.set(segmentId, matrix, added, True)
    held = _holdings(segmentationNode, segmentId, matrix, added, removed, before, wanted.taken, wanted.trace)
    return replace(held, beyond=PackedMask.of(wanted.beyondOn(matrix)))


def ownEditorNode() -> slicer.vtkMRMLSegmentEditorNode:
    """Return this module's settings for writing; made when first asked for."""
    node = slicer.mrmlScene.GetSingletonNode(OWN_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(OWN_TAG)
        node.SetHideFromEditors(True)
        node = slicer.mrmlScene.AddNode(node)
    return node


def followEditor(editorNode: slicer.vtkMRMLSegmentEditorNode | None) -> None:
    """Let masking and overlaps be what a Segment Editor says; None: overlaps what the user chose in this module."""
    ownEditorNode().SetNodeReferenceID(EDITOR_ROLE, None if editorNode is None else editorNode.GetID())


def overwriteMode() -> int:
    """Return what happens to other segments where they overlap: none is overwritten unless the user chose so."""
    followed = ownEditorNode().GetNodeReference(EDITOR_ROLE)
    if followed is not None:
        return followed.GetOverwriteMode()
    editor, chosen = slicer.vtkMRMLSegmentEditorNode, ownEditorNode().GetAttribute(OVERWRITE_ATTRIBUTE)
    modes = (editor.OverwriteNone, editor.OverwriteVisibleSegments, editor.OverwriteAllSegments)
    return next((mode for mode in modes if str(mode) == chosen), editor.OverwriteNone)


def setOverwriteMode(mode: int) -> None:
    """Choose what happens to other segments where they overlap; kept in the scene."""
    ownEditorNode().SetAttribute(OVERWRITE_ATTRIBUTE, str(mode))


def _holdings(node, segmentId: str, matrix, added, removed, before: Holdings, taken: Taken, trace: Trace) -> Holdings:
    """Return what a segment holds after a write, and see to it that it counts as begun."""
    logic, segment = slicer.vtkSlicerSegmentationsModuleLogic, node.GetSegmentation().GetSegment(segmentId)
    if logic.GetSegmentStatus(segment) == logic.NotStarted:
        logic.SetSegmentStatus(segment, logic.InProgress)
    held = MaskGrids.together(MaskGrids.without(before.on(matrix), removed), added)
    return Holdings(matrix, PackedMask.of(held), digestOf(matrix, held), taken, trace)


def _overwrites(node, other: str) -> bool:
    mode, editor = overwriteMode(), slicer.vtkMRMLSegmentEditorNode
    if mode == editor.OverwriteAllSegments:
        return True
    display = node.GetDisplayNode()
    shown = display is None or display.GetSegmentVisibility(other)
    return mode == editor.OverwriteVisibleSegments and bool(shown)


def _gridFor(segmentationNode, segmentId: str, volumeNode) -> np.ndarray:
    """Return the grid on which a segment is written: that of its labelmap, so that nothing else in it moves.

    A segment that is still empty, in a labelmap whose voxels are not the segmentation's, gets a labelmap of its own.
    """
    reference = _referenceMatrix(segmentationNode)
    if reference is None:
        reference = MaskGrids.matrixOfVolume(volumeNode)
    labelmap = labelmapOfSegment(segmentationNode, segmentId)
    if labelmap is None:
        return reference
    matrix = MaskGrids.matrixOfImage(labelmap)
    if voxel_offset(matrix, reference) is not None or heldMask(segmentationNode, segmentId)[1] is not None:
        return matrix
    segmentationNode.GetSegmentation().SeparateSegmentLabelmap(segmentId)
    return reference


def _referenceMatrix(segmentationNode) -> np.ndarray | None:
    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    text = segmentationNode.GetSegmentation().GetConversionParameter(name)
    image = slicer.vtkOrientedImageData()
    if not text or not converter.DeserializeImageGeometry(text, image, False):
        return None
    return MaskGrids.matrixOfImage(image)


def _editable(shown, segmentationNode, segmentId: str, volume, matrix, changes):
    """Leave out what the Segment Editor's masking keeps from being changed."""
    added, removed = changes
    editor = ownEditorNode().GetNodeReference(EDITOR_ROLE)
    if editor is None:
        editor = slicer.mrmlScene.GetSingletonNode(SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if editor is None or editor.GetSegmentationNode() is not shown:
        return added, removed
    everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    if added is not None and editor.GetMaskMode() != everywhere:
        mask, area = slicer.vtkOrientedImageData(), MaskGrids.imageOf(added.box, None, matrix)
        maskId = editor.GetMaskSegmentID() or ""
        if segmentationNode.GenerateEditMask(mask, editor.GetMaskMode(), area, segmentId, maskId):
            added = BoxedMask(added.box, added.voxels * (MaskGrids.arrayOfImage(mask)[1] == 0)).cropped()
    if editor.GetSourceVolumeIntensityMask():
        low, high = editor.GetSourceVolumeIntensityMaskRange()
        added, removed = (_inRange(m, shown, volume, matrix, low, high) for m in (added, removed))
    return added, removed


def _inRange(mask: BoxedMask | None, shown, volume, matrix, low: float, high: float):
    """Return the voxels of a mask where the volume's intensity is in a range."""
    if mask is None:
        return None
    volumeNode, image = volume
    back = MaskGrids.transformBetween(shown, volumeNode)
    volume = segmentableFromNode(volumeNode) if image is None else image()
    filled = np.argwhere(mask.voxels) + mask.box.begin
    ras = filled @ matrix[:3, :3].T + matrix[:3, 3]
    if back is not None:
        ras = MaskGrids.transformed(ras, back)
    indices = np.rint(volume.grid.to_index(ras)).astype(int)
    inside = np.all((indices >= 0) & (indices < volume.array.shape), axis=1)
    values = volume.array[tuple(indices[inside].T)]
    inside[inside] = (values >= low) & (values <= high)
    kept = np.zeros_like(mask.voxels)
    kept[tuple((filled[inside] - mask.box.begin).T)] = 1
    return BoxedMask(mask.box, kept).cropped()
