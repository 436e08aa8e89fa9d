"""*Keep for training* in the section "Export"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

import qt
from sammed3d import SAMMed3DError
from sammed3d.files import kept_cases
from sammed3d.files.collection import Collected
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.KeptCases import gather
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Settings import Settings
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime


class KeepPanel:
    """Add segments to a folder of cases that models learn from, once the user has agreed and said where it is.

    Args:
        ui: the widgets.
        segmenter: knows volume, segmentation and prompts.
        settings: remembers the folder.
        threadTime: for the files, which are written in the background.
        segmentIds: returns the ids of the segments that are to be kept.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        settings: Settings,
        threadTime: ThreadTime,
        segmentIds: Callable[[], list[str]],
    ) -> None:
        self.ui, self._segmenter, self._settings, self._segmentIds = ui, segmenter, settings, segmentIds
        self._threadTime = threadTime
        self._task: Task[Collected] | None = None
        self._connections = Connections(
            (ui.keepButton, "clicked(bool)", self.keep),
            (ui.keepFolderButton, "clicked(bool)", self.chooseFolder),
        )

    def update(self) -> None:
        """Offer only what can be done; masks that are still under way would be kept half done."""
        possible = self._segmenter.volumeNode is not None and bool(self._segmentIds())
        self.ui.keepButton.enabled = possible and self._task is None and not self._segmenter.busy
        self.ui.keepFolderButton.enabled = self._task is None

    def keep(self) -> None:
        """Keep the segments; asks for consent and folder the first time."""
        folder = self._settings.trainingFolder or self.chooseFolder()
        if not folder:
            return
        try:
            found = gather(self._segmenter, self._segmentIds())
        except SAMMed3DError as error:
            self.ui.exportLabel.setText(str(error))
            return
        self.ui.exportLabel.setText(_("Writing the case..."))
        self._task = task = Task(
            lambda _task: kept_cases.keep(found.volume, found.segments, found.prompts, Path(folder)),
            "SAMMed3DSegment keep for training",
        )
        self._threadTime.follow(lambda: self._task is task, self._poll, task.wait)
        self.update()

    def chooseFolder(self) -> str:
        """Ask for consent and the folder; returns "" where the user does not want that."""
        if not slicer.util.confirmOkCancelDisplay(
            _(
                "Keep images, segments and prompts for training?\n\n"
                "They are copied into a folder that you choose, and nowhere else: this module sends them to nobody. "
                "Whoever can read that folder can read the images.\n\n"
                "Not kept are names of files, nodes, series and patients, dates and everything else that headers hold. "
                "Kept are voxels, their place, the names of the segments (write no patient's name there) and the "
                "prompts. Voxels are not changed: a face in a scan of a head can be recognised.\n\n"
                "Keep only what you may use for training by the rules of your institution. To take a case back, delete "
                "its folder."
            )
        ):
            return ""
        start = self._settings.trainingFolder or str(Path.home())
        title = _("Folder of cases for training")
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, start)
        if folder:
            self._settings.trainingFolder = folder
            self.ui.exportLabel.setText(_("Cases for training are kept in {folder}.").format(folder=folder))
        return folder or ""

    def close(self) -> None:
        """The module goes away: what is being written is finished; a case appears whole or not at all."""
        self._task = None
        self._connections.close()

    def _poll(self) -> None:
        task = self._task
        if task is None or task.busy:
            return
        self._task = None
        self.ui.exportLabel.setText(str(task.error) if task.error is not None else _said(task.result))
        self.update()


def _said(kept: Collected) -> str:
    """Say what was kept, and what was not."""
    sentences = [_("Not kept: {reason}").format(reason=reason) for reason in kept.left_out]
    if kept.case:
        names = ", ".join(kept.taken)
        sentences.insert(0, _("Kept {names} in {case}.").format(names=names, case=kept.case))
    return "\n".join(sentences)
