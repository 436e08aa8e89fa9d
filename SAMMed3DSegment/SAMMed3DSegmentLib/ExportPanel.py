"""The section "Export"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slicer.i18n import tr as _

from sammed3d import SAMMed3DError
from SAMMed3DSegmentLib import Exporter
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Settings import Settings


class ExportPanel:
    """Write segments and clicks into files.

    Args:
        ui: the widgets.
        segmenter: knows volume, segmentation and clicks.
        settings: remembers the folder.
        selectedSegment: returns the id of the selected segment, "" for none.
    """

    def __init__(self, ui, segmenter: Segmenter, settings: Settings, selectedSegment: Callable[[], str]) -> None:
        self.ui, self._segmenter, self._settings, self._selectedSegment = ui, segmenter, settings, selectedSegment
        for fileFormat, title in Exporter.FORMATS.items():
            ui.formatSelector.addItem(title, fileFormat)
        ui.folderButton.directory = settings.exportFolder or str(Path.home())
        ui.folderButton.connect("directoryChanged(QString)", self._onFolder)
        ui.exportButton.connect("clicked(bool)", self.export)
        ui.exportPromptsButton.connect("clicked(bool)", self.exportClicks)

    def update(self) -> None:
        """Offer only what can be done."""
        possible = self._segmenter.volumeNode is not None and bool(self._segmentIds())
        self.ui.exportButton.enabled = self.ui.exportPromptsButton.enabled = possible

    def export(self) -> None:
        """Write the segments in the chosen format."""
        fileFormat = self.ui.formatSelector.itemData(self.ui.formatSelector.currentIndex)
        node, volume = self._segmenter.segmentationNode, self._segmenter.volumeNode
        self._report(lambda: Exporter.export(node, self._segmentIds(), volume, self._folder(), fileFormat))

    def exportClicks(self) -> None:
        """Write the clicks as JSON."""
        self._report(lambda: [Exporter.exportClicks(self._segmenter, self._segmentIds(), self._folder())])

    def _report(self, write: Callable[[], list[Path]]) -> None:
        try:
            files = write()
        except (SAMMed3DError, OSError) as error:
            self.ui.exportLabel.setText(str(error))
            return
        names = ", ".join(file.name for file in files)
        self.ui.exportLabel.setText(_("Wrote {names}").format(names=names))

    def _segmentIds(self) -> list[str]:
        node = self._segmenter.segmentationNode
        if node is None:
            return []
        if self.ui.allSegmentsCheckBox.checked:
            segmentation = node.GetSegmentation()
            return [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        return [self._selectedSegment()] if self._selectedSegment() else []

    def _folder(self) -> Path:
        return Path(self.ui.folderButton.directory)

    def _onFolder(self, folder: str) -> None:
        self._settings.exportFolder = folder
