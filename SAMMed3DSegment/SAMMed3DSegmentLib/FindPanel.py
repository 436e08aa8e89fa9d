"""The section "Find objects without clicks": a region, sizes, and what was found, to be accepted or rejected."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import slicer
from slicer.i18n import tr as _

import qt
from sammed3d import SAMMed3DError
from sammed3d.inference.automatic import AutomaticSettings, Instance
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.Finder import Finder
from SAMMed3DSegmentLib.SearchRegion import Limit, roiLimits, viewLimits
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime
from SAMMed3DSegmentLib.Views import jumpTo

WHOLE, ROI, VIEWS = range(3)
GOODBYE = 2.0
"""Seconds that a search is given to end when the module is closed."""


class FindPanel:
    """Search, look at what was found, accept.

    Args:
        ui: the widgets.
        segmenter: knows the volume, and lends its model.
        threadTime: for the search.
        objection: returns why nothing can be predicted now; "" if all is well.
        segmentation: returns the segmentation for accepted objects, made if need be.
        onAccepted: called with the id of a segment that was made.

    Attributes:
        task: the search under way; None while there is none.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        threadTime: ThreadTime,
        objection: Callable[[], str],
        segmentation: Callable[[], slicer.vtkMRMLSegmentationNode],
        onAccepted: Callable[[str], None],
    ) -> None:
        self.ui, self._segmenter, self._threadTime = ui, segmenter, threadTime
        self._objection, self._segmentation, self._onAccepted = objection, segmentation, onAccepted
        self.finder = Finder(segmenter)
        self.task: Task[list[Instance]] | None = None
        self._items: list[qt.QTableWidgetItem] = []  # Python's share of what the table shows
        ui.foundTable.setHorizontalHeaderLabels([_("Object"), _("Volume (ml)"), _("Stability (0 to 1)")])
        ui.foundTable.horizontalHeader().setStretchLastSection(True)
        ui.foundTable.verticalHeader().hide()
        self._connections = Connections(
            (ui.regionSelector, "currentIndexChanged(int)", self.update),
            (ui.roiSelector, "currentNodeChanged(vtkMRMLNode*)", self.update),
            (ui.findButton, "clicked(bool)", self.find),
            (ui.stopFindButton, "clicked(bool)", self.stop),
            (ui.foundTable, "itemSelectionChanged()", self._onSelection),
            (ui.acceptButton, "clicked(bool)", lambda: self.accept(self._selected())),
            (ui.acceptAllButton, "clicked(bool)", lambda: self.accept(list(self.finder.found))),
            (ui.rejectButton, "clicked(bool)", self.reject),
            (ui.findSection, "contentsCollapsed(bool)", self.update),  # opening shows all that is in a section
        )

    @property
    def busy(self) -> bool:
        """Whether a search is under way."""
        return self.task is not None

    def find(self) -> None:
        """Search in the background."""
        objection = self._objection()
        if objection:
            self._say(objection)
            return
        try:
            settings = AutomaticSettings(
                smallest=self.ui.smallestSpinBox.value, largest=self.ui.largestSpinBox.value or math.inf
            )
            model = self._segmenter.modelChoice(self._segmenter.model)
            task = self.finder.search(model, settings, self._limits())
        except SAMMed3DError as error:
            self._say(str(error))
            return
        self.task = task
        self._say(_("Searching..."))
        # Followed to its end, also where nobody waits for it any more: what it holds is let go of on this thread.
        self._threadTime.follow(lambda: task.busy, lambda: self._poll(task), task.wait)
        self._fill()

    def stop(self) -> None:
        """Stop the search; what it found so far is listed."""
        if self.task is not None:
            self.task.cancel()

    def accept(self, instances: Sequence[Instance]) -> None:
        """Make objects segments."""
        if not instances:
            return
        try:
            ids = self.finder.accept(instances, self._segmentation())
        except SAMMed3DError as error:
            self._say(str(error))
            self._fill()
            return
        self._fill()
        self._say(_("Made 1 segment.") if len(ids) == 1 else _("Made {count} segments.").format(count=len(ids)))
        self._onAccepted(ids[-1])

    def reject(self) -> None:
        """Take the selected objects off the list, and go to the one behind the first of them."""
        rejected = self._selected()
        row = next((n for n, each in enumerate(self.finder.found) if each in rejected), 0)
        self.finder.reject(rejected)
        self._fill()
        left = len(self.finder.found)
        self._say(_("{count} left.").format(count=left))
        if left:
            self.ui.foundTable.selectRow(min(row, left - 1))

    def forget(self) -> None:
        """Stop, and forget what was found: the scene closes, or the server may not be used any more."""
        self.stop()
        self.task = None
        self.finder.forget()
        self._say("")
        self._fill()

    def update(self, *_arguments) -> None:
        """Offer only what can be done; what was found in an image that is gone is not offered any more."""
        self._endIfGone()
        ui, found = self.ui, bool(self.finder.found)
        roi = ui.regionSelector.currentIndex == ROI
        ui.roiTitle.setVisible(roi)
        ui.roiSelector.setVisible(roi)
        there = self._segmenter.volumeNode is not None and (not roi or ui.roiSelector.currentNode() is not None)
        ui.findButton.enabled = there and not self.busy
        for name in ("findBar", "stopFindButton"):
            getattr(ui, name).setVisible(self.busy)
        for name in ("foundTable", "acceptButton", "acceptAllButton", "rejectButton"):
            getattr(ui, name).setVisible(found)
        selected = bool(self._selected())
        ui.acceptButton.enabled = ui.rejectButton.enabled = selected

    def close(self) -> None:
        """The module goes away."""
        task = self.task
        self.forget()
        if task is not None:
            task.wait(GOODBYE)
        self._connections.close()
        self._items = []

    def _limits(self) -> list[Limit]:
        index = self.ui.regionSelector.currentIndex
        if index == ROI:
            return roiLimits(self.ui.roiSelector.currentNode())
        return viewLimits() if index == VIEWS else []

    def _endIfGone(self) -> bool:
        """Stop, and forget what was found, where its volume is gone or holds another image; tells whether it is so."""
        why, busy = self.finder.objection, self.busy
        if why:
            self.forget()
            text = _("{why} The search was stopped.") if busy else _("{why} What was found in it is listed no more.")
            self._say(text.format(why=why))
        return bool(why)

    def _poll(self, task: Task[list[Instance]]) -> None:
        if task is not self.task or self._endIfGone():
            return
        self.ui.findBar.setMaximum(task.total or 0)
        self.ui.findBar.setValue(task.done)
        if task.busy:
            return
        self.task = None
        self.finder.take(task.result or [])
        if task.error is not None:
            self._say(str(task.error))
        else:
            self._say(" ".join(filter(None, (self._summary(task), self.finder.remark))))
        self._fill()

    def _summary(self, task: Task[list[Instance]]) -> str:
        count, all_ = len(self.finder.found), len(task.result or [])
        stopped = task.cancellation.is_cancelled
        if count == 0:
            return _("Stopped; nothing was found so far.") if stopped else _("Nothing of that size was found.")
        text = _("{count} found. Select one to see it.").format(count=all_)
        if all_ > count:
            text += " " + _("The best {count} are listed.").format(count=count)
        return _("Stopped.") + " " + text if stopped else text

    def _fill(self) -> None:
        table, found = self.ui.foundTable, self.finder.found
        table.setRowCount(0)
        table.setRowCount(len(found))
        self._items = []
        for row, instance in enumerate(found):
            texts = (str(row + 1), f"{instance.volume_ml:.2f}", f"{instance.stability:.2f}")
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                self._items.append(item)
                table.setItem(row, column, item)
        self.update()

    def _selected(self) -> list[Instance]:
        table = self.ui.foundTable
        return [each for row, each in enumerate(self.finder.found) if table.item(row, 0).isSelected()]

    def _onSelection(self) -> None:
        selected = self._selected()
        self.finder.show(selected[0] if selected else None)
        if selected:
            jumpTo(self.finder.world(selected[0]))
        self.update()

    def _say(self, text: str) -> None:
        self.ui.findLabel.setText(text)
