"""The section "Through the series": a segment carried through the frames of a sequence, and which to look at."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk
from slicer.i18n import tr as _

import qt
from sammed3d import SAMMed3DError
from SAMMed3DSegmentLib import FramePrompts
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from SAMMed3DSegmentLib.FramesTable import FramesTable
from SAMMed3DSegmentLib.Propagation import Propagation, inWords
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentReader import labelmapOfSegment
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime

ALL, ONWARD, BACK, RANGE = range(4)
GOODBYE = 2.0
"""Seconds that the work under way is given to end when the module is closed."""


class PropagatePanel:
    """Carry the selected segment through the frames, show what came of it, and take it back.

    Args:
        ui: the widgets.
        segmenter: knows the volume and the prompts, and lends its model.
        threadTime: for the work under way.
        selected: returns the id of the selected segment; "" for none.
        objection: returns why nothing can be predicted now; "" if all is well.
        onChanged: called when there is something new to show.
        status: shows a text in the panel's status line.

    Attributes:
        propagation: what was carried.
        task: the work under way; None while there is none.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        threadTime: ThreadTime,
        selected: Callable[[], str],
        objection: Callable[[], str],
        onChanged: Callable[[], None],
        status: Callable[[str], None],
    ) -> None:
        self.ui, self._segmenter, self._threadTime, self._status = ui, segmenter, threadTime, status
        self._selected, self._objection, self._onChanged = selected, objection, onChanged
        self.propagation = Propagation(segmenter)
        self.task: Task[None] | None = None
        self._total, self._trouble = 0, ""
        self._observed: tuple[slicer.vtkMRMLSequenceBrowserNode, int] | None = None
        self._seen: tuple[object, int, tuple] | None = None
        self._noted: object = None
        self._later = qt.QTimer()  # after the browser has changed the frame, not in the middle of it
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self._onFrame)
        self._table = FramesTable(ui.framesTable, self._onRow)
        self._connections = Connections(
            (ui.framesSelector, "currentIndexChanged(int)", self.update),
            (ui.propagateButton, "clicked(bool)", self.propagate),
            (ui.stopPropagateButton, "clicked(bool)", self.stop),
            (ui.undoPropagateButton, "clicked(bool)", self.undo),
            (ui.redoPropagateButton, "clicked(bool)", self.redo),
            (ui.propagateSection, "contentsCollapsed(bool)", self.update),  # opening shows all that is in a section
        )

    @property
    def busy(self) -> bool:
        """Whether an object is being carried."""
        return self.task is not None

    def propagate(self) -> None:
        """Carry the selected segment from the frame that is shown to those chosen, in the background."""
        objection, segmentId = self._objection(), self._selected()
        if objection or not segmentId:
            self._say(objection)
            return
        try:
            chosen = self._chosen()
            model = self._segmenter.modelChoice(self._segmenter.model)
            task = self.propagation.start(model, segmentId, chosen)
        except SAMMed3DError as error:
            self._say(str(error))
            return
        self.task, self._total, self._trouble = task, len(chosen), ""
        self._say(_("Carrying it through {count} frames...").format(count=len(chosen)))
        # Followed to its end, also where nobody waits for it any more: what it holds is let go of on this thread.
        self._threadTime.follow(lambda: task.busy, lambda: self._poll(task), task.wait)
        self.fill()
        self._onChanged()

    def stop(self) -> None:
        """Stop; the frames that are done stay."""
        if self.task is not None:
            self.task.cancel()

    def canUndo(self, segmentId: str) -> bool:
        """Tell whether the newest step of a segment is one that can be taken back here."""
        return not self.busy and self.propagation.canUndo and self.propagation.isNewest(segmentId)

    def canRedo(self, segmentId: str) -> bool:
        """Tell whether such a step can be done again."""
        return not self.busy and self.propagation.canRedo and self.propagation.isNewest(segmentId)

    def undo(self) -> None:
        """Let the frames hold again what they held before."""
        self._step(self.propagation.undo, _("Taken back in all frames."))

    def redo(self) -> None:
        """Do again what was taken back."""
        self._step(self.propagation.redo, _("Done again in all frames."))

    def forget(self) -> None:
        """Stop, and forget what was carried: the scene closes, or the server may not be used any more."""
        self.stop()
        self.task = None
        self.propagation.forget()
        self._seen = self._noted = None
        self._observe(None)
        self._say("")
        self.fill()

    def fill(self) -> None:
        """List the frames that are done."""
        self._table.fill(self.propagation.found, self._shown())
        self.update()

    def update(self, *_arguments) -> None:
        """Offer only what can be done, and keep what all frames have in common."""
        self._endIfGone()
        ui, frames = self.ui, FrameSequence.of(self._segmenter.volumeNode)
        ui.propagateSection.setVisible(frames is not None)
        self._observe(None if frames is None else frames.browser)
        if frames is None:
            return
        self._agree(frames)
        if ui.toFrameSpinBox.maximum != frames.count:  # another series
            for box in (ui.fromFrameSpinBox, ui.toFrameSpinBox):
                box.setMaximum(frames.count)
            ui.fromFrameSpinBox.setValue(1)
            ui.toFrameSpinBox.setValue(frames.count)
        inRange = ui.framesSelector.currentIndex == RANGE
        ui.frameRangeTitle.setVisible(inRange)
        for box in (ui.fromFrameSpinBox, ui.toFrameSpinBox):
            box.setVisible(inRange)
        ui.frameRangeToLabel.setVisible(inRange)
        segmentId, node = self._selected(), self._segmenter.segmentationNode
        waits = segmentId in self._segmenter.underWay
        ready = bool(segmentId) and not waits and labelmapOfSegment(node, segmentId) is not None
        ui.propagateButton.enabled = ready and not self.busy
        for name in ("propagateBar", "stopPropagateButton"):
            getattr(ui, name).setVisible(self.busy)
        step = self.propagation.step
        ours = step is not None and step.frames == frames  # else another series is chosen by now
        ui.undoPropagateButton.setVisible(ours and not self.busy and self.propagation.canUndo)
        ui.redoPropagateButton.setVisible(ours and not self.busy and self.propagation.canRedo)
        ui.framesTable.setVisible(ours and bool(self.propagation.found))

    def close(self) -> None:
        """The module goes away."""
        task = self.task
        self.forget()
        if task is not None:
            task.wait(GOODBYE)
        self._later.stop()
        self._later.disconnect("timeout()", self._onFrame)
        self._connections.close()
        self._table.close()

    def _chosen(self) -> range:
        frames, ui = FrameSequence.of(self._segmenter.volumeNode), self.ui
        if frames is None:
            return range(0)  # said by whoever asks for the frames
        begin, end = {
            ALL: (0, frames.count),
            ONWARD: (frames.shown, frames.count),
            BACK: (0, frames.shown + 1),
            RANGE: sorted((ui.fromFrameSpinBox.value - 1, ui.toFrameSpinBox.value - 1)),
        }[ui.framesSelector.currentIndex]
        return range(begin, end + 1 if ui.framesSelector.currentIndex == RANGE else end)

    def _endIfGone(self) -> bool:
        """Stop, and forget the step, where something that it is about left the scene; tells whether it is so."""
        step, busy = self.propagation.step, self.busy
        name = "" if step is None else step.missing
        if name:
            self.stop()
            self.task = None
            self.propagation.forget()
            self._say("")
            self.fill()
            if busy:
                text = _("{name} was removed; carrying {segment} through the series was stopped.")
                self._status(text.format(name=name, segment=step.names[-1]))  # the section may be hidden by now
        return bool(name)

    def _poll(self, task: Task[None]) -> None:
        if task is not self.task or self._endIfGone():
            return
        ended = not task.busy  # asked first: what comes until then is written below
        count = len(self.propagation.found)
        self._write(task)
        self.ui.propagateBar.setMaximum(self._total)
        self.ui.propagateBar.setValue(task.done)
        if len(self.propagation.found) != count:
            self.fill()
        if not ended:
            return
        self.task = None
        self.propagation.release()
        self._say(self._result(task))
        self.fill()
        self._onChanged()

    def _write(self, task: Task[None]) -> None:
        """Write what is done by now; where that fails the work ends, for the frames would go on from one another."""
        if self._trouble:
            return
        try:
            self.propagation.write()
        except SAMMed3DError as error:
            self._trouble = str(error)
            task.cancel()

    def _result(self, task: Task[None]) -> str:
        step, parts = self.propagation.step, []
        if task.cancelled and not self._trouble:
            parts.append(_("Stopped."))
        if task.error is not None:
            parts.append(str(task.error))
        if self._trouble:
            parts.append(self._trouble)
        parts.append(inWords(self.propagation.found, step, self._total))
        return " ".join(parts)

    def _step(self, step: Callable[[], None], text: str) -> None:
        try:
            step()
        except SAMMed3DError as error:
            text = str(error)
        left = self.propagation.step.left
        if left:
            numbers = ", ".join(str(number + 1) for number in left)
            text += " " + _("Changed since, and left as they are: {numbers}.").format(numbers=numbers)
        self._say(text)
        self._segmenter.surfacesOf(self.propagation.step.segmentationNode)
        self._onChanged()

    def _agree(self, frames: FrameSequence) -> None:
        """Let all frames have the same segments, and keep what was clicked in this one."""
        node = self._segmenter.segmentationNode
        if (
            node is None
            or frames.segmentations(node) is None
            or not frames.browser.GetSaveChanges(frames.segmentations(node))
        ):
            self._seen = None
            return
        segmentation = node.GetSegmentation()
        ids = tuple(segmentation.GetSegmentIDs())
        facts = tuple(
            (each, segmentation.GetSegment(each).GetName(), segmentation.GetSegment(each).GetColor()) for each in ids
        )
        before, self._seen = self._seen, (node, frames.shown, facts)
        if before != self._seen:
            here = before is not None and before[:2] == self._seen[:2]
            frames.agree(node, {each[0] for each in before[2]} - set(ids) if here else set())
        state = self._segmenter.promptsInForce(self._selected()) if self._selected() else None
        if state is not None and state is not self._noted:
            FramePrompts.note(self._segmenter, self._selected())
            self._noted = state if self._segmenter.isAbout(self._selected()) else None

    def _shown(self) -> int | None:
        """Return which frame is shown of the series through which something was carried; None where nothing was."""
        step = self.propagation.step
        return step.frames.shown if step is not None and step.isThere else None

    def _onRow(self, number: int) -> None:
        """Show the frame whose row was selected."""
        step = self.propagation.step
        if step is not None and step.isThere:
            step.frames.show(number)

    def _observe(self, browser: slicer.vtkMRMLSequenceBrowserNode | None) -> None:
        if self._observed is not None:
            if self._observed[0] is browser:
                return
            self._observed[0].RemoveObserver(self._observed[1])
            self._observed = None
        if browser is not None:
            tag = browser.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._later.start())
            self._observed = browser, tag

    def _onFrame(self) -> None:
        """Another frame may be shown."""
        frames, node = FrameSequence.of(self._segmenter.volumeNode), self._segmenter.segmentationNode
        if frames is None or frames.browser.GetPlaybackActive():  # it is shown when it stops
            return
        if node is not None:
            self._segmenter.surfacesOf(node)
        self._table.select(self._shown())
        self._onChanged()

    def _say(self, text: str) -> None:
        self.ui.propagateLabel.setText(text)
