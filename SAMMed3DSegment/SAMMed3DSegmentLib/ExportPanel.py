"""The section "Export"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from sammed3d import SAMMed3DError
from SAMMed3DSegmentLib import DicomSeg, Exporter
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Settings import Settings
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime

MOST_NAMES = 10
"""Lines of names in a question, or names in a result."""


class ExportPanel:
    """Write segments and clicks into files.

    Args:
        ui: the widgets.
        segmenter: knows volume, segmentation and clicks.
        settings: remembers the folder.
        threadTime: for DICOM SEG, which is written in the background.
        selectedSegment: returns the id of the selected segment, "" for none.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        settings: Settings,
        threadTime: ThreadTime,
        selectedSegment: Callable[[], str],
    ) -> None:
        self.ui, self._segmenter, self._settings, self._selectedSegment = ui, segmenter, settings, selectedSegment
        self._threadTime = threadTime
        self._task: Task[Path] | None = None
        for fileFormat, title in Exporter.FORMATS.items():
            ui.formatSelector.addItem(title, fileFormat)
        ui.folderButton.directory = settings.exportFolder or str(Path.home())
        self._connections = Connections(
            (ui.folderButton, "directoryChanged(QString)", self._onFolder),
            (ui.exportButton, "clicked(bool)", self.export),
            (ui.exportPromptsButton, "clicked(bool)", self.exportClicks),
            (ui.cancelExportButton, "clicked(bool)", self.cancel),
        )

    def update(self) -> None:
        """Offer only what can be done."""
        possible = self._segmenter.volumeNode is not None and bool(self.segmentIds())
        busy = self._task is not None
        self.ui.exportButton.enabled = possible and not busy
        self.ui.exportPromptsButton.enabled = possible
        self.ui.exportBar.setVisible(busy)
        self.ui.cancelExportButton.setVisible(busy)

    def export(self) -> None:
        """Write the segments in the chosen format."""
        fileFormat = self.ui.formatSelector.itemData(self.ui.formatSelector.currentIndex)
        node, volume = self._segmenter.segmentationNode, self._segmenter.volumeNode
        if fileFormat == Exporter.DICOM:
            self._report(lambda: self._startDicom(node, volume))
        else:
            self._report(
                lambda: Exporter.export(node, self.segmentIds(), volume, self._folder(), fileFormat, self._replaces)
            )

    def exportClicks(self) -> None:
        """Write the clicks as JSON."""

        def write() -> list[Path]:
            file = Exporter.exportClicks(self._segmenter, self.segmentIds(), self._folder(), self._replaces)
            return [] if file is None else [file]

        self._report(write)

    def segmentIds(self) -> list[str]:
        """Return the ids of the segments that files are made of: all of them, or the selected one."""
        node = self._segmenter.segmentationNode
        if node is None:
            return []
        if self.ui.allSegmentsCheckBox.checked:
            segmentation = node.GetSegmentation()
            return [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        return [self._selectedSegment()] if self._selectedSegment() else []

    def cancel(self) -> None:
        """Stop an export that runs in the background."""
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """The module goes away: stop what runs in the background."""
        self.cancel()
        self._task = None
        self._connections.close()

    def _startDicom(self, segmentationNode, volumeNode) -> list[Path] | None:
        folder = self._folder()
        Exporter.check(self.segmentIds(), folder)
        if not Exporter.mayWrite([DicomSeg.fileFor(segmentationNode.GetName(), folder)], self._replaces):
            return []
        segments = DicomSeg.gather(segmentationNode, self.segmentIds(), volumeNode)
        self._task = task = Task(
            lambda task: DicomSeg.write(segments, folder, task.report, task.cancellation), "SAMMed3DSegment export"
        )
        self._threadTime.follow(lambda: self._task is task, self._poll, task.wait)
        self.update()
        return None

    def _poll(self) -> None:
        task = self._task
        if task is None:
            return
        if task.busy:
            self.ui.exportBar.setMaximum(task.total or 0)
            self.ui.exportBar.setValue(task.done)
            return
        self._task = None
        if task.cancelled:
            self.ui.exportLabel.setText(_("Stopped; nothing was written."))
        elif task.error is not None:
            self.ui.exportLabel.setText(str(task.error))
        else:
            self._say([task.result])
        self.update()

    def _replaces(self, names: Sequence[str]) -> bool:
        """Ask whether files are to be replaced that may be of another patient: names of segmentations are alike."""
        question = _("These files are there already. Replace them?\n\n{names}").format(names="\n".join(_first(names)))
        return bool(slicer.util.confirmOkCancelDisplay(question))

    def _report(self, write: Callable[[], list[Path] | None]) -> None:
        try:
            self._say(write())
        except (SAMMed3DError, OSError) as error:
            self.ui.exportLabel.setText(str(error))

    def _say(self, files: list[Path] | None) -> None:
        """Say what was written; None: it is being written."""
        if files is None:
            self.ui.exportLabel.setText(_("Writing the file..."))
            return
        names = ", ".join(_first([file.name for file in files]))
        self.ui.exportLabel.setText(_("Wrote {names}").format(names=names) if files else _("Nothing was written."))

    def _folder(self) -> Path:
        return Path(self.ui.folderButton.directory)

    def _onFolder(self, folder: str) -> None:
        self._settings.exportFolder = folder


def _first(names: Sequence[str]) -> list[str]:
    """Return the names that are shown of many: a question with hundreds of lines has its buttons below the screen."""
    if len(names) <= MOST_NAMES:
        return list(names)
    return [*names[: MOST_NAMES - 1], _("and {count} more").format(count=len(names) - MOST_NAMES + 1)]
