"""The module's panel: what the user sees and presses. It decides nothing; the segmenter does."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from sammed3d import SAMMed3DError, VolumeError
from sammed3d.zoo.store import ModelStore
from SAMMed3DSegmentLib import LabelmapSource, SampleVolumes, Views
from SAMMed3DSegmentLib.ClicksPanel import ClicksPanel
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.DrawPanel import DrawPanel
from SAMMed3DSegmentLib.ExportPanel import ExportPanel
from SAMMed3DSegmentLib.FindPanel import FindPanel
from SAMMed3DSegmentLib.FollowPanel import FollowPanel
from SAMMed3DSegmentLib.KeepPanel import KeepPanel
from SAMMed3DSegmentLib.ModelPanel import ModelPanel
from SAMMed3DSegmentLib.NextPlacePanel import NextPlacePanel
from SAMMed3DSegmentLib.OutsideChanges import OutsideChanges
from SAMMed3DSegmentLib.PanelKeys import actionsOf
from SAMMed3DSegmentLib.Parameters import Choices
from SAMMed3DSegmentLib.PlaceMode import PlaceMode
from SAMMed3DSegmentLib.Predictors import Predictors
from SAMMed3DSegmentLib.PropagatePanel import PropagatePanel
from SAMMed3DSegmentLib.ReadyModel import ReadyModel
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentFacts import newSegmentation
from SAMMed3DSegmentLib.SegmentsPanel import SegmentsPanel
from SAMMed3DSegmentLib.SegmentWriter import followEditor
from SAMMed3DSegmentLib.ServerPanel import ServerPanel
from SAMMed3DSegmentLib.Settings import Settings
from SAMMed3DSegmentLib.Shortcuts import Shortcuts
from SAMMed3DSegmentLib.StatusPanel import StatusPanel
from SAMMed3DSegmentLib.ThreadTime import ThreadTime


class Panel:
    """Connects the widgets with the segmenter and the parameter node.

    Args:
        widget: the root widget, a qMRMLWidget.
        ui: its children by name.
        segmenter: does the work.
        settings: what the application keeps.
        store: the models on this computer.
        predictors: know the device, and test a server.
        parameterNode: returns the scene's parameter node, made if need be.

    Attributes:
        onUpdated: called when there may be something new to show; for who shows it elsewhere too.
        borrower: the effect of a Segment Editor for which the panel works now; None for none.
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
        self._kept: Choices | None = None  # while a scene is being added to the one that is open
        self.onUpdated: Callable[[], None] = lambda: None
        self.borrower = None
        self.threadTime = ThreadTime()
        self.ready = ReadyModel(segmenter, self.threadTime)
        self.segments = SegmentsPanel(ui, parameterNode, lambda: segmenter.underWay, self._onSegment)
        self.status = StatusPanel(ui, segmenter, self.threadTime, self.update, self._onIdle)
        self.models = ModelPanel(ui, store, settings, predictors, self.threadTime, self._onModel)
        self.server = ServerPanel(ui, settings, predictors, self.threadTime, self._onPlace)
        self.clicks = ClicksPanel(
            ui,
            segmenter,
            lambda: self.segmentId,
            self._ensureSegment,
            self._objection,
            self.status.say,
            self.update,
        )
        self.drawing = DrawPanel(
            ui,
            segmenter,
            self.clicks,
            lambda: self.segmentId,
            self._ensureSegment,
            self._objection,
            self.status.say,
            self.update,
        )
        self.following = FollowPanel(ui, segmenter, settings, lambda: self.segmentId, self._objection, self.status.say)
        self.nextPlace = NextPlacePanel(ui, segmenter, lambda: self.segmentId, self._objection, self.status.say)
        self.find = FindPanel(
            ui,
            segmenter,
            self.threadTime,
            self._objection,
            self._ensureSegmentation,
            self.segments.select,
        )
        self.series = PropagatePanel(
            ui,
            segmenter,
            self.threadTime,
            lambda: self.segmentId,
            self._objection,
            self.update,
            self.status.say,
        )
        self.clicks.wider = self.series
        self.exports = ExportPanel(ui, segmenter, settings, self.threadTime, lambda: self.segmentId)
        self.keeps = KeepPanel(ui, segmenter, settings, self.threadTime, self.exports.segmentIds)
        self.shortcuts = Shortcuts(actionsOf(self), widget)
        self.outside = OutsideChanges(segmenter, lambda: None if self._rebuilding else self.update())
        self.models.onObjection = self.update
        self._connect()
        self.readScene()

    @property
    def placeMode(self) -> PlaceMode:
        """Whether the next click in a view places a point."""
        return self.clicks.placeMode

    @property
    def segmentId(self) -> str:
        """Id of the selected segment; "" if none is."""
        return self.segments.selected

    # The scene

    def readScene(self) -> None:
        """Show what the scene holds; after it was opened or closed, or another one was added to it."""
        self._rebuilding = False
        node = self._parameterNode()
        if self._kept is not None:
            self._kept.restore(node)
            self._kept = None
        followEditor(None)
        self._updating = True
        self.status.say("")
        self.ui.volumeSelector.setCurrentNode(node.volume)
        self.ui.segmentationSelector.setCurrentNode(node.segmentation)
        self._updating = False
        self.models.choose(node.model)
        self.clicks.readScene()
        self._onInput()
        if self.borrower is not None:  # what that Segment Editor works on may be another by now
            self.borrower.follow()

    def sceneChanges(self) -> None:
        """A scene is being added: selectors show None meanwhile, and then its choices, of which nobody chose any."""
        self._rebuilding = True
        self._kept = Choices.of(self._parameterNode())

    def sceneCloses(self) -> None:
        """Let go of everything in the scene."""
        self._rebuilding, self._kept = True, None
        self.placeMode.stop()
        self.drawing.mode.stop()
        self.status.sceneCloses()
        self.find.forget()
        self.series.forget()
        self.nextPlace.forget()
        self.segmenter.forgetScene()
        self.segments.sceneCloses()

    def enter(self) -> None:
        """The module is shown."""
        self.shortcuts.setEnabled(True)
        self.outside.start()
        self.server.showSettings()
        self.following.showSettings()
        self.models.refresh()
        self.readScene()

    def exit(self) -> None:
        """Another module is shown: keys and clicks are its own."""
        self.shortcuts.setEnabled(False)
        self.outside.stop()
        self.drawing.mode.stop()
        self.clicks.stop()
        self.nextPlace.forget()

    def close(self) -> None:
        """The module goes away."""
        if self.borrower is not None:
            self.borrower.close()
        self.threadTime.close()
        for part in (
            self.clicks,
            self.drawing,
            self.following,
            self.nextPlace,
            self.segments,
            self.status,
            self.models,
            self.server,
            self.find,
            self.series,
            self.exports,
            self.keeps,
            self.shortcuts,
            self.outside,
        ):
            part.close()
        self._connections.close()

    # What the buttons do

    def addSegment(self) -> str:
        """Add an empty segment and select it; returns its id, or "" where the segmentation takes none, and says why."""
        try:
            self._ensureSegmentation()
        except SAMMed3DError as error:
            self.status.say(str(error))
            return ""
        return self.segments.add()

    def nextSegment(self) -> None:
        """Add a segment, and go on placing positive points in it if points were being placed."""
        placing = self.placeMode.active
        if self._parameterNode().volume is None:
            return
        if self.segments.isFresh:  # one empty segment is enough
            self.status.say(_("This segment is still empty: click in the structure."))
        elif not self.addSegment():
            return
        if placing:
            self.clicks.place(positive=True)

    def removeSegment(self) -> None:
        """Ask, then remove the selected segment with its points."""
        node, segmentId = self._parameterNode().segmentation, self.segmentId
        name = node.GetSegmentation().GetSegment(segmentId).GetName()
        question = _("Remove the segment {name} with its clicks? This cannot be undone.")
        if not slicer.util.confirmYesNoDisplay(question.format(name=name)):
            return
        if (self.segmenter.segmentationNode, self.segmentId) != (node, segmentId):  # scripts run in between
            self.status.say(_("Nothing was removed: {name} is not selected any more.").format(name=name))
            return
        self.placeMode.stop()
        self.segments.remove()

    # What the user sees

    def update(self) -> None:
        """Bring every widget in step."""
        self.ui.tryButton.setVisible(self._parameterNode().volume is None)
        for part in (self.segments, self.clicks, self.drawing, self.following, self.nextPlace, self.status):
            part.update()
        for part in (self.find, self.series, self.exports, self.keeps, self.outside):
            part.update()
        if self.placeMode.active or self.drawing.mode.kind is not None:
            self.ready.begin(self.segmenter.model)
        self.onUpdated()

    # Wiring

    def _connect(self) -> None:
        ui = self.ui
        self._connections = Connections(
            (ui.volumeSelector, "currentNodeChanged(vtkMRMLNode*)", self._onInputChosen),
            (ui.segmentationSelector, "currentNodeChanged(vtkMRMLNode*)", self._onInputChosen),
            (ui.tryButton, "clicked(bool)", self._onTry),
            (ui.addSegmentButton, "clicked(bool)", self.addSegment),
            (ui.nextSegmentButton, "clicked(bool)", self.nextSegment),
            (ui.removeSegmentButton, "clicked(bool)", self.removeSegment),
            (ui.allSegmentsCheckBox, "toggled(bool)", self.exports.update),
            (ui.allSegmentsCheckBox, "toggled(bool)", self.keeps.update),
        )

    def _onInputChosen(self, *_arguments) -> None:
        if self._updating or self._rebuilding:
            return
        node, segmenter = self._parameterNode(), self.segmenter
        volume, segmentation = self.ui.volumeSelector.currentNode(), self.ui.segmentationSelector.currentNode()
        before = node.volume, node.segmentation, segmenter.volumeNode, segmenter.segmentationNode
        if before == (volume, segmentation) * 2:  # it got another name, or another row in the list
            return
        if volume is not None and volume is not node.volume and self.borrower is None:  # a Segment Editor shows its own
            Views.show(volume)
        node.volume, node.segmentation = volume, segmentation
        self._onInput()

    def _onInput(self) -> None:
        node = self._parameterNode()
        self.segmenter.setInput(node.volume, node.segmentation)
        self.segments.show(node.segmentation)
        self.placeMode.stop()
        self.segments.select(self.segmentId)

    def _onSegment(self) -> None:
        self.clicks.follow()
        self.update()

    def _onIdle(self) -> None:
        self.models.update()  # the device is known once a model was loaded
        if self.borrower is None:  # what was clicked for a Segment Editor is written
            self.segmenter.beforeWriting = lambda: None
        self.update()

    def _onTry(self) -> None:
        self.ui.volumeSelector.setCurrentNode(SampleVolumes.load())

    def _onModel(self, name: str) -> None:
        if self._parameterNode().model != name:
            self._parameterNode().model = name
        self.segmenter.model = name

    def _onPlace(self) -> None:
        if self.server.objection:  # also where consent was taken back in the middle
            self.placeMode.stop()
            self.find.forget()
            self.series.forget()
            self.segmenter.forgetPredictors()
        self.models.refresh()
        self.update()

    def _objection(self) -> str:
        return self.server.objection or self.models.objection

    def _ensureSegmentation(self) -> slicer.vtkMRMLSegmentationNode:
        """Return the segmentation, to write into: made if need be, and made voxels if the user agrees.

        Raises:
            VolumeError: there is no volume, or it is not kept as voxels, and is not to be converted or cannot be.
        """
        node = self._parameterNode()
        if node.volume is None:  # a key was pressed, which no button's state keeps from working
            raise VolumeError(_("Load a CT or MR and choose it first."))
        if node.segmentation is None:
            name = _("{volume} segmentation").format(volume=node.volume.GetName())
            node.segmentation = newSegmentation(node.volume, name)
            self._updating = True
            self.ui.segmentationSelector.setCurrentNode(node.segmentation)
            self._updating = False
            self._onInput()
        _makeLabelmap(node.segmentation, node.volume)
        return node.segmentation

    def _ensureSegment(self) -> None:
        self._ensureSegmentation()
        if not self.segmentId:
            self.segments.add()


def _makeLabelmap(segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Convert a segmentation that is not kept as voxels, if the user agrees; an empty one without a question.

    Raises:
        VolumeError: the user does not agree, or its segments cannot be converted.
    """
    if LabelmapSource.isLabelmap(segmentationNode):
        return
    segmentation = segmentationNode.GetSegmentation()
    question = _(
        "{name} is kept as {kind}, which clicks cannot change. Keep it as voxels from now on? Its segments become as "
        "coarse as the volume. This cannot be undone."
    ).format(name=segmentationNode.GetName(), kind=segmentation.GetSourceRepresentationName().lower())
    name = segmentationNode.GetName()
    if segmentation.GetNumberOfSegments() and not slicer.util.confirmOkCancelDisplay(question):
        LabelmapSource.check(segmentationNode)
    if not all(slicer.mrmlScene.IsNodePresent(node) for node in (segmentationNode, volumeNode)):
        raise VolumeError(_("{name}, or its volume, was removed while the question was open.").format(name=name))
    LabelmapSource.convert(segmentationNode, volumeNode)
