"""What the Segment Editor's effect "SAM-Med3D" does: the module's panel works for the Segment Editor while it is on."""

from __future__ import annotations

import re
from collections.abc import Callable

import slicer
import vtk
from slicer.i18n import tr as _

import qt
from SAMMed3DSegmentLib.Panel import Panel
from SAMMed3DSegmentLib.SegmentWriter import followEditor


class EditorEffect:
    """Let the panel place clicks in the segment that is selected in a Segment Editor.

    Volume, segment, masking, overlaps and undo are the editor's; clicks, model and server are the module's. What is
    chosen there is chosen in the panel too, so whoever opens the module goes on where the editor was left.

    Args:
        panel: the module's.
        editorNode: the Segment Editor's parameters.
        saveStateForUndo: makes the Segment Editor remember what it can go back to.
        onChanged: called when there may be something new to show.

    Attributes:
        closed: whether it has ended: by `close`, for another Segment Editor, or with the panel.
    """

    def __init__(
        self,
        panel: Panel,
        editorNode: slicer.vtkMRMLSegmentEditorNode,
        saveStateForUndo: Callable[[], None],
        onChanged: Callable[[], None],
    ) -> None:
        self._panel, self._editor, self._onChanged = panel, editorNode, onChanged
        self._following = self.closed = False
        self._observations: list[tuple[vtk.vtkObject, int]] = []
        self._edits = qt.QTimer()  # after the change of a segment, not in the middle of it
        self._edits.setSingleShot(True)
        self._edits.setInterval(0)
        self._edits.connect("timeout()", self._onEdited)
        if panel.borrower is not None:  # another Segment Editor's
            panel.borrower.close()
        panel.borrower = self
        self.follow()
        self._observe(editorNode, vtk.vtkCommand.ModifiedEvent, self.follow)
        segmentation = editorNode.GetSegmentationNode()
        if segmentation is not None:
            # Undo of the editor says this and nothing else.
            self._observe(segmentation, slicer.vtkSegmentation.SegmentModified, self._edits.start)
        panel.segmenter.beforeWriting = saveStateForUndo
        panel.shortcuts.setEnabled(True)
        panel.outside.start()
        panel.onUpdated, panel.status.onSaid = self._onPanel, lambda _text: onChanged()

    @property
    def placing(self) -> bool | None:
        """Which kind of click is placed next, True for positive; None where none is."""
        return self._panel.segmenter.positive if self._panel.placeMode.active else None

    @property
    def busy(self) -> bool:
        """Whether predictions are under way that can be cancelled here."""
        return self._panel.segmenter.busy and not self.closed

    @property
    def text(self) -> str:
        """What the user should know: how things stand, or what comes next."""
        if self.closed:
            return _("It went on in another Segment Editor, or the module was reloaded. Press Positive to go on here.")
        volume = self._editor.GetSourceVolumeNode()
        if volume is not None and self._panel.segmenter.volumeNode is not volume:
            return _("{name} cannot be segmented here. Choose a CT or MR as source volume.").format(
                name=volume.GetName()
            )
        return self._panel.status.text or re.sub(r"^\d\. ", "", self._panel.ui.hintLabel.text)

    @property
    def possible(self) -> bool:
        """Whether clicks can be placed."""
        segmenter = self._panel.segmenter
        return segmenter.volumeNode is not None and segmenter.volumeNode is self._editor.GetSourceVolumeNode()

    @property
    def canFollow(self) -> bool:
        """Whether there is an object to follow beyond what was looked at."""
        return self.possible and bool(self._panel.ui.followButton.enabled)

    @property
    def canAsk(self) -> bool:
        """Whether the model can be asked where it is unsure."""
        return self.possible and bool(self._panel.ui.nextPlaceButton.enabled)

    @property
    def showsUncertainty(self) -> bool:
        """Whether it is shown how unsure the model is."""
        return bool(self._panel.ui.uncertaintyCheckBox.checked)

    def place(self, positive: bool | None) -> None:
        """Switch placing on; None switches it off, and drawing too."""
        if positive is None:
            self._panel.clicks.stop()
            self._panel.drawing.stop()
        else:
            self._panel.clicks.place(positive)

    def followObject(self) -> None:
        """Follow the selected segment's object beyond what was looked at."""
        self._panel.following.follow()

    def whereNext(self) -> None:
        """Ask where to click next; keys answer."""
        self._panel.nextPlace.ask()

    def showUncertainty(self, shown: bool) -> None:
        """Show how unsure the model is, over the image, or not."""
        self._panel.ui.uncertaintyCheckBox.setChecked(shown)

    def cancel(self) -> None:
        """Stop all predictions."""
        self._panel.segmenter.cancel()

    def follow(self, *_arguments) -> None:
        """Choose in the panel what is chosen in the editor."""
        if self._following:
            return
        self._following = True
        try:
            volume, segmentation = self._editor.GetSourceVolumeNode(), self._editor.GetSegmentationNode()
            ui, segmenter = self._panel.ui, self._panel.segmenter
            if (segmenter.volumeNode, segmenter.segmentationNode) != (volume, segmentation):
                ui.volumeSelector.setCurrentNode(volume)
                ui.segmentationSelector.setCurrentNode(segmentation)
            segmentId = self._editor.GetSelectedSegmentID() or ""
            if segmentation is not None and segmentId != self._panel.segmentId:
                self._panel.segments.select(segmentId)
            followEditor(self._editor)
        finally:
            self._following = False
        self._onChanged()

    def close(self) -> None:
        """The effect is switched off."""
        if self.closed:
            return
        self.closed = True
        self._edits.stop()
        self._edits.disconnect("timeout()", self._onEdited)  # a timer keeps whom it calls
        for caller, tag in self._observations:
            caller.RemoveObserver(tag)
        self._observations = []
        panel = self._panel
        panel.borrower = None
        panel.onUpdated, panel.status.onSaid = lambda: None, lambda _text: None
        if not panel.segmenter.busy:  # else what was clicked here is written yet, and the editor's undo takes it back
            panel.segmenter.beforeWriting = lambda: None
        panel.shortcuts.setEnabled(False)
        panel.outside.stop()
        panel.clicks.stop()
        panel.drawing.stop()  # the left button is the next effect's
        panel.nextPlace.forget()  # its keys are off by now
        followEditor(None)
        self._onChanged()

    def _onPanel(self) -> None:
        """The panel changed: a key may have added a segment there."""
        segmentation = self._editor.GetSegmentationNode()
        selected = self._panel.segmentId
        if not self._following and selected and self._panel.segmenter.segmentationNode is segmentation:
            self._following = True
            self._editor.SetSelectedSegmentID(selected)
            followEditor(self._editor)
            self._following = False
        self._onChanged()

    def _onEdited(self) -> None:
        """Undo of the editor takes a click back with its voxels."""
        if self._panel.segmentId:
            self._panel.segmenter.catchUp(self._panel.segmentId)
            self._panel.update()

    def _observe(self, caller: vtk.vtkObject, event: int, function: Callable[[], None]) -> None:
        self._observations.append((caller, caller.AddObserver(event, lambda *_: function())))
