"""The list of segments: which one is selected, more of them, fewer, their 3-D surfaces and their overlaps."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk
from slicer.i18n import tr as _

from sammed3d.core.mask import millilitres
from SAMMed3DSegmentLib import LabelmapSource, PointList, Surface
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.SegmentFacts import SegmentVolumes, addNext, middleOf
from SAMMed3DSegmentLib.SegmentReader import heldMask
from SAMMed3DSegmentLib.SegmentWriter import SEGMENT_EDITOR_TAG, overwriteMode, setOverwriteMode
from SAMMed3DSegmentLib.Views import jumpTo

OVERWRITE_MODES = ("OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments")


class SegmentsPanel:
    """Choose, add and remove segments.

    Args:
        ui: the widgets.
        parameterNode: returns the scene's parameter node, made if need be.
        underWay: returns the ids of segments whose predictions are under way.
        onSelected: called when another segment, or none, was selected.
    """

    def __init__(
        self,
        ui,
        parameterNode: Callable[[], object],
        underWay: Callable[[], list[str]],
        onSelected: Callable[[], None],
    ) -> None:
        self.ui, self._underWay = ui, underWay
        self._parameterNode, self._onSelected = parameterNode, onSelected
        self._updating = False
        self._volumes = SegmentVolumes()
        self._observations: list[tuple[slicer.vtkMRMLSegmentationNode, int]] = []
        self._connections = Connections(
            (ui.segmentsTable, "selectionChanged(QItemSelection,QItemSelection)", self._onTable),
            (ui.show3DButton, "clicked(bool)", self._onShow3D),
            (ui.overwriteSelector, "currentIndexChanged(int)", self._onOverwrite),
            (ui.editorButton, "clicked(bool)", self.openSegmentEditor),
        )

    @property
    def selected(self) -> str:
        """Id of the selected segment; "" if none is."""
        node = self._parameterNode()
        if node.segmentation is None or node.segmentation.GetSegmentation().GetSegment(node.segmentId) is None:
            return ""
        return node.segmentId

    @property
    def isFresh(self) -> bool:
        """Whether the selected segment holds nothing and has no clicks."""
        node, segmentId = self._parameterNode().segmentation, self.selected
        if not segmentId or not LabelmapSource.isLabelmap(node) or heldMask(node, segmentId)[1] is not None:
            return False
        points = PointList.pointListOf(node, segmentId)
        return points is None or not PointList.placed(points)

    def show(self, segmentationNode: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show the segments of a segmentation; the first one is selected where none is."""
        if segmentationNode is not None and segmentationNode.GetDisplayNode() is None:
            segmentationNode.CreateDefaultDisplayNodes()  # one of the selector's "Create new" has none
        self._observe(segmentationNode)
        self._updating = True
        self.ui.segmentsTable.setSegmentationNode(segmentationNode)
        self._updating = False
        if segmentationNode is not None and not self.selected:
            segmentation = segmentationNode.GetSegmentation()
            count = segmentation.GetNumberOfSegments()
            self._parameterNode().segmentId = segmentation.GetNthSegmentID(0) if count else ""
        self.ui.overwriteSelector.setCurrentIndex(OVERWRITE_MODES.index(_modeName(overwriteMode())))

    def update(self) -> None:
        """Offer only what can be done."""
        node, ui = self._parameterNode(), self.ui
        for name in ("addSegmentButton", "nextSegmentButton"):
            getattr(ui, name).enabled = node.volume is not None
        ui.removeSegmentButton.enabled = bool(self.selected)
        ui.editorButton.enabled = node.segmentation is not None and node.volume is not None
        ui.segmentLabel.setText(self._about())
        ui.show3DButton.enabled = node.segmentation is not None
        ui.show3DButton.checked = node.segmentation is not None and Surface.isShown(node.segmentation)

    def select(self, segmentId: str) -> None:
        """Make a segment the selected one; points go to it from now on."""
        self._parameterNode().segmentId = segmentId
        self._updating = True
        self.ui.segmentsTable.setSelectedSegmentIDs([segmentId] if segmentId else [])
        self._updating = False
        self._onSelected()

    def add(self) -> str:
        """Add an empty segment and select it; returns its id. One after a named one is of the same kind."""
        segmentId = addNext(self._parameterNode().segmentation.GetSegmentation(), self.selected)
        self.select(segmentId)
        return segmentId

    def remove(self) -> None:
        """Remove the selected segment with its points, and select the last one that is left."""
        segmentId = self.selected
        segmentation = self._parameterNode().segmentation.GetSegmentation()
        segmentation.RemoveSegment(segmentId)
        count = segmentation.GetNumberOfSegments()
        self.select(segmentation.GetNthSegmentID(count - 1) if count else "")

    def openSegmentEditor(self) -> None:
        """Open the Segment Editor with this volume and segment; its effect SAM-Med3D goes on clicking there."""
        node = self._parameterNode()
        editor = slicer.mrmlScene.GetSingletonNode(SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if editor is None:
            editor = slicer.vtkMRMLSegmentEditorNode()
            editor.SetSingletonTag(SEGMENT_EDITOR_TAG)
            editor = slicer.mrmlScene.AddNode(editor)
        editor.SetAndObserveSegmentationNode(node.segmentation)
        editor.SetAndObserveSourceVolumeNode(node.volume)
        editor.SetSelectedSegmentID(self.selected)
        slicer.util.selectModule("SegmentEditor")

    def jump(self) -> None:
        """Centre the slice views on the selected segment, or on its newest click where it is empty."""
        node, segmentId = self._parameterNode().segmentation, self.selected
        place = middleOf(node, segmentId) if segmentId else None
        points = PointList.pointListOf(node, segmentId) if segmentId else None
        if place is None and points is not None and PointList.placed(points):
            place = PointList.placed(points)[-1]
        if place is not None:
            jumpTo(place)

    def sceneCloses(self) -> None:
        """Let go of the scene."""
        self._observe(None)
        self._volumes.forget()
        self.ui.segmentsTable.setSegmentationNode(None)

    def close(self) -> None:
        """The module goes away."""
        self._observe(None)
        self._connections.close()

    def _observe(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        self._observations = []
        if node is not None:
            for event, function in (
                (slicer.vtkSegmentation.SegmentRemoved, self._onSegmentRemoved),
                (slicer.vtkSegmentation.SegmentModified, self._onSegmentModified),
            ):
                self._observations.append((node, node.AddObserver(event, function)))

    def _onSegmentModified(self, _caller: vtk.vtkObject, _event: str) -> None:
        self.ui.segmentLabel.setText(self._about())  # it may have another name

    def _onSegmentRemoved(self, _caller: vtk.vtkObject, _event: str) -> None:
        if not self.selected:
            self.select("")

    def _onTable(self, *_arguments) -> None:
        chosen = list(self.ui.segmentsTable.selectedSegmentIDs())
        if not self._updating and chosen and chosen[0] != self.selected:
            self.select(chosen[0])
            self.jump()

    def _about(self) -> str:
        """Say how large the selected segment is, and whose predictions are under way."""
        node, segmentId, lines = self._parameterNode().segmentation, self.selected, []
        if segmentId:
            volume = self._volumes.of(node, segmentId)
            size = _("volume not known under its transform") if volume is None else millilitres(volume)
            lines.append(f"{node.GetSegmentation().GetSegment(segmentId).GetName()}: {size}")
        if node is not None and self._underWay():
            segments = [node.GetSegmentation().GetSegment(each) for each in self._underWay()]
            names = ", ".join(segment.GetName() for segment in segments if segment is not None)
            lines.append(_("Being segmented: {names}").format(names=names))
        return "\n".join(lines)

    def _onShow3D(self, shown: bool) -> None:
        Surface.show(self._parameterNode().segmentation, shown)

    def _onOverwrite(self, index: int) -> None:
        mode = getattr(slicer.vtkMRMLSegmentEditorNode, OVERWRITE_MODES[index])
        if overwriteMode() != mode:
            setOverwriteMode(mode)


def _modeName(mode: int) -> str:
    return next(name for name in OVERWRITE_MODES if getattr(slicer.vtkMRMLSegmentEditorNode, name) == mode)
