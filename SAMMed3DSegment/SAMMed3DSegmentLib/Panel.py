"""The module's panel: what the user sees and presses. It decides nothing; the segmenter does."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk
from slicer.i18n import tr as _

import qt
from sammed3d import SAMMed3DError
from sammed3d.zoo.store import ModelStore
from SAMMed3DSegmentLib import PointList, SampleVolumes, Surface
from SAMMed3DSegmentLib.BoxRoi import newestRoi
from SAMMed3DSegmentLib.ExportPanel import ExportPanel
from SAMMed3DSegmentLib.ModelPanel import ModelPanel
from SAMMed3DSegmentLib.PlaceMode import PlaceMode
from SAMMed3DSegmentLib.Predictors import Predictors
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentWriter import overwriteMode, setOverwriteMode
from SAMMed3DSegmentLib.ServerPanel import ServerPanel
from SAMMed3DSegmentLib.Settings import Settings
from SAMMed3DSegmentLib.Shortcuts import Shortcuts
from SAMMed3DSegmentLib.ThreadTime import ThreadTime

SURFACE_PAUSE = 800
"""Milliseconds without clicks before 3-D surfaces are made anew."""
OVERWRITE_MODES = ("OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments")


class Panel:
    """Connects the widgets with the segmenter and the parameter node.

    Args:
        widget: the root widget, a qMRMLWidget.
        ui: its children by name.
        segmenter: does the work.
        settings, store: see there.
        predictors: know the device, and test a server.
        parameterNode: returns the scene's parameter node, made if need be.
    """

    def __init__(
        self,
        widget,
        ui,
        segmenter: Segmenter,
        settings: Settings,
        store: ModelStore,
        predictors: Predictors,
        parameterNode: Callable[[], object],
    ) -> None:
        self.ui, self.segmenter = ui, segmenter
        self._parameterNode = parameterNode
        self._updating = self._rebuilding = False
        self._segmentationTag: tuple[slicer.vtkMRMLSegmentationNode, int] | None = None
        self.threadTime = ThreadTime()
        self.placeMode = PlaceMode(self.update)
        self.models = ModelPanel(ui, store, settings, predictors, self.threadTime, self._onModel)
        self.server = ServerPanel(ui, settings, predictors, self.threadTime, self._onPlace)
        self.exports = ExportPanel(ui, segmenter, settings, self.threadTime, lambda: self.segmentId)
        self.shortcuts = Shortcuts(
            {
                "P": ui.positiveButton.click,
                "N": ui.negativeButton.click,
                "U": ui.undoButton.click,
                "Shift+U": ui.redoButton.click,
                "E": ui.nextSegmentButton.click,
            },
            widget,
        )
        self._surfaces = qt.QTimer()
        self._surfaces.setInterval(SURFACE_PAUSE)
        self._surfaces.setSingleShot(True)
        self._surfaces.connect("timeout()", self._onSurfaces)
        segmenter.onChanged = self._onSegmenterChanged
        self._connect()
        self.readScene()

    @property
    def segmentId(self) -> str:
        """Id of the selected segment; "" if none is."""
        node = self._parameterNode()
        if node.segmentation is None or node.segmentation.GetSegmentation().GetSegment(node.segmentId) is None:
            return ""
        return node.segmentId

    # The scene

    def readScene(self) -> None:
        """Show what the scene holds; after it was opened, imported or closed."""
        self._rebuilding = False
        node = self._parameterNode()
        self._updating = True
        self._say("")
        self.ui.volumeSelector.setCurrentNode(node.volume)
        self.ui.segmentationSelector.setCurrentNode(node.segmentation)
        self._updating = False
        self.models.choose(node.model)
        self._onInput()

    def sceneChanges(self) -> None:
        """A scene is being imported: the selectors are rebuilt and show None meanwhile, which nobody chose."""
        self._rebuilding = True

    def sceneCloses(self) -> None:
        """Let go of everything in the scene."""
        self.sceneChanges()
        self.placeMode.stop()
        self._observeSegmentation(None)
        self._surfaces.stop()
        self.segmenter.forgetScene()
        self.ui.segmentsTable.setSegmentationNode(None)

    def enter(self) -> None:
        """The module is shown."""
        self.shortcuts.setEnabled(True)
        self.server.showSettings()
        self.readScene()

    def exit(self) -> None:
        """Another module is shown: keys and clicks are its own."""
        self.shortcuts.setEnabled(False)
        self.placeMode.stop()
        self.update()

    def close(self) -> None:
        """The module goes away."""
        self.placeMode.close()
        self._observeSegmentation(None)
        self._surfaces.stop()
        self.threadTime.close()
        for part in (self.models, self.server, self.exports, self.shortcuts):
            part.close()
        self.segmenter.onChanged = lambda: None
        self._disconnect()

    # What the buttons do

    def place(self, positive: bool) -> None:
        """Switch placing of positive or negative points on; makes segmentation and segment where there is none."""
        self.segmenter.positive = positive
        self._say(self.server.objection)
        if self.server.objection:
            self.placeMode.stop()
            self.update()
            return
        try:
            self._ensureSegment()
            self.placeMode.start(self._pointsToPlaceIn)
        except SAMMed3DError as error:
            self._say(str(error))
        self.update()

    def addSegment(self) -> str:
        """Add an empty segment and select it; returns its id."""
        self._ensureSegmentation()
        segmentId = self._parameterNode().segmentation.GetSegmentation().AddEmptySegment()
        self.selectSegment(segmentId)
        return segmentId

    def nextSegment(self) -> None:
        """Add a segment, and go on placing positive points in it if points were being placed."""
        placing = self.placeMode.active
        if self._parameterNode().volume is None:
            return
        self.addSegment()
        if placing:
            self.place(positive=True)

    def removeSegment(self) -> None:
        """Ask, then remove the selected segment with its points."""
        segmentId = self.segmentId
        segmentation = self._parameterNode().segmentation.GetSegmentation()
        question = _("Remove the segment {name} with its clicks? This cannot be undone.")
        if not slicer.util.confirmYesNoDisplay(question.format(name=segmentation.GetSegment(segmentId).GetName())):
            return
        self.placeMode.stop()
        self.segmenter.forgetSegment(segmentId)
        segmentation.RemoveSegment(segmentId)
        count = segmentation.GetNumberOfSegments()
        self.selectSegment(segmentation.GetNthSegmentID(count - 1) if count else "")

    def selectSegment(self, segmentId: str) -> None:
        """Make a segment the selected one; points go to it from now on."""
        self._parameterNode().segmentId = segmentId
        self._updating = True
        self.ui.segmentsTable.setSelectedSegmentIDs([segmentId] if segmentId else [])
        self._updating = False
        if self.placeMode.active:
            if segmentId:
                self.placeMode.start(self._pointsToPlaceIn)
            else:
                self.placeMode.stop()
        self.update()

    def reset(self) -> None:
        """Ask, then empty the selected segment."""
        if slicer.util.confirmYesNoDisplay(_("Empty this segment and drop its clicks? You can undo this.")):
            self.segmenter.reset(self.segmentId)

    def useBox(self) -> None:
        """Take the newest ROI of the scene as a box round the selected segment's object."""
        roiNode = newestRoi()
        if roiNode is None:
            self._say(_("Draw a ROI round the object first (Markups toolbar), then press Box again."))
            return
        try:
            self.segmenter.setBox(self.segmentId, roiNode)
        except SAMMed3DError as error:
            self._say(str(error))

    def cancel(self) -> None:
        """Stop the running prediction."""
        self.segmenter.cancel()

    # What the user sees

    def update(self) -> None:
        """Bring every widget in step."""
        ui, node, segmentId = self.ui, self._parameterNode(), self.segmentId
        hasVolume = node.volume is not None
        ui.tryButton.setVisible(not hasVolume)
        for name in ("addSegmentButton", "nextSegmentButton", "positiveButton", "negativeButton"):
            getattr(ui, name).enabled = hasVolume
        for name in ("removeSegmentButton", "resetButton", "pointsButton"):
            getattr(ui, name).enabled = bool(segmentId)
        ui.show3DButton.enabled = node.segmentation is not None
        ui.show3DButton.checked = node.segmentation is not None and Surface.isShown(node.segmentation)
        ready = hasVolume and bool(segmentId)
        ui.undoButton.enabled = ready and self.segmenter.canUndo(segmentId)
        ui.redoButton.enabled = ready and self.segmenter.canRedo(segmentId)
        ui.boxButton.enabled = ready
        placing = self.placeMode.active
        ui.positiveButton.checked = placing and self.segmenter.positive
        ui.negativeButton.checked = placing and not self.segmenter.positive
        busy = self.segmenter.busy
        ui.progressBar.setVisible(busy)
        ui.cancelButton.setVisible(busy)
        ui.hintLabel.setText(self._hint(placing))
        self.exports.update()

    def _hint(self, placing: bool) -> str:
        """Say what comes next."""
        if self._parameterNode().volume is None:
            return _("1. Load a CT or MR and choose it, or try the sample.")
        if not placing:
            return _("2. Press Positive, then click in the middle of a structure.")
        points = PointList.pointListOf(self._parameterNode().segmentation, self.segmentId)
        if points is None or points.GetNumberOfDefinedControlPoints() == 0:
            return _("2. Click in the middle of the structure, in any view.")
        return _(
            "3. Something wrong? Click there: Positive adds, Negative takes away. Next (E) starts another structure."
        )

    def _onSegmenterChanged(self) -> None:
        if self.segmenter.working:
            self.threadTime.follow(self._isWorking, self._onPoll, self.segmenter.wait)
        if self.segmenter.message:
            self._say(self.segmenter.message)
        elif not self.segmenter.busy and self.segmenter.seconds:
            self._say(self._timings())
        self._showStage()
        if self.segmenter.surfacesWait:
            self._surfaces.start()
        self.update()

    def _isWorking(self) -> bool:
        return self.segmenter.working

    def _onPoll(self) -> None:
        self.segmenter.poll()
        self._showStage()
        if not self.segmenter.working:
            self.models.update()  # the device is known once a model was loaded
            self.update()

    def _showStage(self) -> None:
        stages = {
            "load": _("Loading the model..."),
            "cut": _("Cutting the image..."),
            "encode": _("Reading the image (once for each place)..."),
            "decode": _("Segmenting..."),
            "paint": _("Making the mask..."),
        }
        if self.segmenter.busy:
            self._say(stages.get(self.segmenter.stage, _("Working...")))

    def _timings(self) -> str:
        names = {"load": _("model"), "cut": _("cut"), "encode": _("encode"), "decode": _("decode")}
        names |= {"paint": _("paint"), "write": _("write")}
        seconds = self.segmenter.seconds
        parts = [f"{names.get(key, key)} {1000 * value:.0f}" for key, value in seconds.items()]
        return _("Done in {total:.0f} ms ({parts})").format(total=1000 * sum(seconds.values()), parts=", ".join(parts))

    def _onSurfaces(self) -> None:
        if self.segmenter.busy:
            self._surfaces.start()
        else:
            self.segmenter.refreshSurfaces()

    def _say(self, text: str) -> None:
        self.ui.statusLabel.setText(text)

    # Wiring

    def _connect(self) -> None:
        """Connect the widgets; `_disconnect` undoes it, for a module that is reloaded keeps its old widgets."""
        ui = self.ui
        self._connections = [
            (ui.volumeSelector, "currentNodeChanged(vtkMRMLNode*)", self._onInputChosen),
            (ui.segmentationSelector, "currentNodeChanged(vtkMRMLNode*)", self._onInputChosen),
            (ui.segmentsTable, "selectionChanged(QItemSelection,QItemSelection)", self._onTable),
            (ui.tryButton, "clicked(bool)", self._onTry),
            (ui.addSegmentButton, "clicked(bool)", self.addSegment),
            (ui.nextSegmentButton, "clicked(bool)", self.nextSegment),
            (ui.removeSegmentButton, "clicked(bool)", self.removeSegment),
            (ui.show3DButton, "clicked(bool)", self._onShow3D),
            (ui.positiveButton, "clicked(bool)", lambda on: self._onPolarity(True, on)),
            (ui.negativeButton, "clicked(bool)", lambda on: self._onPolarity(False, on)),
            (ui.undoButton, "clicked(bool)", lambda: self.segmenter.undo(self.segmentId)),
            (ui.redoButton, "clicked(bool)", lambda: self.segmenter.redo(self.segmentId)),
            (ui.resetButton, "clicked(bool)", self.reset),
            (ui.boxButton, "clicked(bool)", self.useBox),
            (ui.pointsButton, "toggled(bool)", self._onShowPoints),
            (ui.cancelButton, "clicked(bool)", self.cancel),
            (ui.overwriteSelector, "currentIndexChanged(int)", self._onOverwrite),
            (ui.allSegmentsCheckBox, "toggled(bool)", self.exports.update),
        ]
        for sender, signal, function in self._connections:
            sender.connect(signal, function)

    def _disconnect(self) -> None:
        for sender, signal, function in self._connections:
            sender.disconnect(signal, function)
        self._connections = []

    def _onInputChosen(self, *_arguments) -> None:
        if self._updating or self._rebuilding:
            return
        node = self._parameterNode()
        node.volume = self.ui.volumeSelector.currentNode()
        node.segmentation = self.ui.segmentationSelector.currentNode()
        self._onInput()

    def _onInput(self) -> None:
        node = self._parameterNode()
        if node.segmentation is not None and node.segmentation.GetDisplayNode() is None:
            node.segmentation.CreateDefaultDisplayNodes()  # one of the selector's "Create new" has none
        self.segmenter.setInput(node.volume, node.segmentation)
        self._observeSegmentation(node.segmentation)
        self._updating = True
        self.ui.segmentsTable.setSegmentationNode(node.segmentation)
        self._updating = False
        if node.segmentation is not None and not self.segmentId:
            segmentation = node.segmentation.GetSegmentation()
            node.segmentId = segmentation.GetNthSegmentID(0) if segmentation.GetNumberOfSegments() else ""
        self.placeMode.stop()
        mode = OVERWRITE_MODES.index(_modeName(overwriteMode()))
        self.ui.overwriteSelector.setCurrentIndex(mode)
        self.selectSegment(self.segmentId)

    def _onTable(self, *_arguments) -> None:
        selected = list(self.ui.segmentsTable.selectedSegmentIDs())
        if not self._updating and selected and selected[0] != self.segmentId:
            self.selectSegment(selected[0])

    def _onTry(self) -> None:
        self.ui.volumeSelector.setCurrentNode(SampleVolumes.load())

    def _onPolarity(self, positive: bool, on: bool) -> None:
        if on:
            self.place(positive)
        else:
            self.placeMode.stop()
            self.update()

    def _onShow3D(self, shown: bool) -> None:
        Surface.show(self._parameterNode().segmentation, shown)

    def _onShowPoints(self, shown: bool) -> None:
        for points in PointList.pointLists():
            points.SetDisplayVisibility(shown)

    def _pointsToPlaceIn(self) -> PointList.PointListNode:
        points = self.segmenter.pointsFor(self.segmentId)
        points.SetDisplayVisibility(self.ui.pointsButton.checked)  # a new list is shown no more than the others
        return points

    def _onOverwrite(self, index: int) -> None:
        mode = getattr(slicer.vtkMRMLSegmentEditorNode, OVERWRITE_MODES[index])
        if overwriteMode() != mode:
            setOverwriteMode(mode)

    def _onModel(self, name: str) -> None:
        if self._parameterNode().model != name:
            self._parameterNode().model = name
        self.segmenter.model = name

    def _onPlace(self) -> None:
        if self.server.objection:  # also where consent was taken back in the middle
            self.placeMode.stop()
            self.segmenter.forgetPredictors()
        self.models.update()
        self.update()

    def _ensureSegmentation(self) -> None:
        node = self._parameterNode()
        if node.segmentation is None:
            name = _("{volume} segmentation").format(volume=node.volume.GetName())
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            segmentation.CreateDefaultDisplayNodes()
            # In this order: the geometry is that of the volume in the segmentation's own frame.
            segmentation.SetAndObserveTransformNodeID(node.volume.GetTransformNodeID())
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node.volume)
            node.segmentation = segmentation
            self._updating = True
            self.ui.segmentationSelector.setCurrentNode(segmentation)
            self._updating = False
            self._onInput()

    def _ensureSegment(self) -> None:
        self._ensureSegmentation()
        if not self.segmentId:
            self.addSegment()

    def _observeSegmentation(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        if self._segmentationTag is not None:
            observed, tag = self._segmentationTag
            observed.RemoveObserver(tag)
            self._segmentationTag = None
        if node is not None:
            event = slicer.vtkSegmentation.SegmentRemoved
            self._segmentationTag = node, node.AddObserver(event, self._onSegmentRemoved)

    def _onSegmentRemoved(self, _caller: vtk.vtkObject, _event: str) -> None:
        if not self.segmentId:
            self.selectSegment("")


def _modeName(mode: int) -> str:
    return next(name for name in OVERWRITE_MODES if getattr(slicer.vtkMRMLSegmentEditorNode, name) == mode)
