"""The section "Model": which network, what it is for, download, import, deletion, and the device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

import qt
from sammed3d import AmbiguousFamilyError, SAMMed3DError
from sammed3d.zoo import registry
from sammed3d.zoo.store import ModelStore
from SAMMed3DSegmentLib.Device import deviceInWords, installTorch
from SAMMed3DSegmentLib.ModelDownload import ModelDownload
from SAMMed3DSegmentLib.Predictors import torchInstalled
from SAMMed3DSegmentLib.Settings import SERVER, Settings

MIB = 2**20


class ModelPanel:
    """Choose and manage models.

    Args:
        ui: the widgets.
        store: the models on this computer.
        settings: device, and whether models run here at all.
        onChosen: called with the name of the model that was chosen.
    """

    def __init__(self, ui, store: ModelStore, settings: Settings, onChosen: Callable[[str], None]) -> None:
        self.ui, self._store, self._settings, self._onChosen = ui, store, settings, onChosen
        self._download: ModelDownload | None = None
        self._message = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(100)
        self._timer.connect("timeout()", self._pollDownload)
        ui.modelSelector.connect("currentIndexChanged(int)", self._onSelected)
        ui.downloadButton.connect("clicked(bool)", self.download)
        ui.cancelDownloadButton.connect("clicked(bool)", self.cancelDownload)
        ui.importButton.connect("clicked(bool)", self.chooseFile)
        ui.removeModelButton.connect("clicked(bool)", self.remove)
        ui.installButton.connect("clicked(bool)", self.install)
        ui.modelSection.connect("contentsCollapsed(bool)", self.update)  # opening shows all that is in a section
        self._filling = False
        self.refresh()

    @property
    def current(self) -> str:
        """Name of the chosen model."""
        return self.ui.modelSelector.itemData(self.ui.modelSelector.currentIndex) or "default"

    def choose(self, name: str) -> None:
        """Show a model as the chosen one; one that is gone gives way to the first that is there."""
        index = self.ui.modelSelector.findData(name)
        if index != self.ui.modelSelector.currentIndex and index >= 0:
            self.ui.modelSelector.setCurrentIndex(index)
        self.update()

    def refresh(self) -> None:
        """List the installed models, then those that can be downloaded."""
        before = self.current if self.ui.modelSelector.count else "default"
        self._filling = True
        self.ui.modelSelector.clear()
        installed = self._store.models()
        for model in installed:
            self.ui.modelSelector.addItem(model.title, model.name)
        for entry in registry.entries():
            if all(model.name != entry.name for model in installed):
                self.ui.modelSelector.addItem(_("{title} (not installed)").format(title=entry.title), entry.name)
        self.ui.modelSelector.setCurrentIndex(max(0, self.ui.modelSelector.findData(before)))
        self._filling = False
        if self.current != before:
            self._onChosen(self.current)
        self.update()

    def update(self) -> None:
        """Show what is known of the chosen model and of the device."""
        ui, name = self.ui, self.current
        installed = next((m for m in self._store.models() if m.name == name), None)
        entry = next((e for e in registry.entries() if e.name == name), None)
        about = installed or entry
        lines = []
        if about is not None:
            lines.append(about.purpose)
            lines.append(_("Licence: {licence}").format(licence=about.licence or _("as stated by its source")))
        if installed is not None:
            lines.append(_("{size:.0f} MB on this computer").format(size=installed.size / MIB))
        elif entry is not None and entry.url is None:
            lines.append(_("Get the file from {page} and import it.").format(page=entry.page))
        if self._message:
            lines.append(self._message)
        ui.modelLabel.setText("\n".join(lines))
        downloading = self._download is not None
        ui.downloadButton.enabled = (
            not downloading and installed is None and entry is not None and entry.url is not None
        )
        ui.importButton.enabled = not downloading
        ui.removeModelButton.enabled = not downloading and installed is not None and not installed.is_bundled
        ui.downloadBar.setVisible(downloading)
        ui.cancelDownloadButton.setVisible(downloading)
        here = self._settings.place != SERVER
        ui.installButton.setVisible(here and not torchInstalled())
        words = deviceInWords(self._settings.device, sys.modules.get("torch")) if here else _("the server")
        ui.deviceLabel.setText(words)

    def download(self) -> None:
        """Download the chosen model."""
        self._message = ""
        self._download = ModelDownload(self._store, self.current)
        self._timer.start()
        self._pollDownload()

    def cancelDownload(self) -> None:
        """Stop the download."""
        if self._download is not None:
            self._download.cancel()

    def chooseFile(self) -> None:
        """Ask for a checkpoint file and import it."""
        pattern = _("Checkpoints (*.pth *.pt *.safetensors)")
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Import a checkpoint"), "", pattern)
        path = path[0] if isinstance(path, tuple) else path  # a tuple in Qt's own Python, a string in Slicer's
        if path:
            self.importFile(Path(path))

    def importFile(self, path: Path) -> None:
        """Copy a checkpoint into the store and choose it; it becomes the published model that is chosen, if it fits."""
        self._message = ""
        wanted = self._published()
        try:
            family = self._familyOf(path, wanted)
            fits = wanted is not None and family == wanted.family
            about = {} if family is None else {"family": family}
            name = self._store.add(path, wanted.name if fits else None, **about).name
        except (SAMMed3DError, OSError) as error:
            self._message = str(error)
            self.update()
            return
        self.refresh()
        self.choose(name)

    def _published(self) -> registry.ModelEntry | None:
        """Return the chosen model if it is a published one that is not installed, and that people have to fetch."""
        entries = {entry.name: entry for entry in registry.entries() if entry.url is None}
        for model in self._store.models():
            entries.pop(model.name, None)
        return entries.get(self.current)

    def _familyOf(self, path: Path, wanted: registry.ModelEntry | None) -> str | None:
        """Return the family of a checkpoint; asks where the file does not tell it and the wanted model neither.

        None if the file's metadata say it, or torch is not there to read it.

        Raises:
            SAMMed3DError: the file cannot be used, or nothing was chosen.
        """
        if not torchInstalled() or not path.is_file():
            return None
        from sammed3d.zoo.families import FAMILIES  # noqa: PLC0415 - needs torch
        from sammed3d.zoo.load import family_of  # noqa: PLC0415

        try:
            return family_of(path)
        except AmbiguousFamilyError as error:
            if wanted is not None and wanted.family in error.names:
                return wanted.family
            choices = [f"{name}: {FAMILIES[name].about}" for name in error.names]
            question = _("Several models have such files. Which one is this?")
            chosen = qt.QInputDialog.getItem(
                slicer.util.mainWindow(), _("Import a checkpoint"), question, choices, 0, False
            )
            text, accepted = chosen if isinstance(chosen, tuple) else (chosen, bool(chosen))
            if not accepted:
                raise
            return error.names[choices.index(text)]

    def remove(self) -> None:
        """Ask, then delete the chosen model from this computer."""
        question = _("Delete the model {name} from this computer?").format(name=self.current)
        if not slicer.util.confirmYesNoDisplay(question):
            return
        self._message = ""
        try:
            self._store.remove(self.current)
        except (SAMMed3DError, OSError) as error:
            self._message = str(error)
        self.refresh()

    def install(self) -> None:
        """Ask, then install PyTorch."""
        self._message = ""
        try:
            if not installTorch(slicer.util.confirmOkCancelDisplay, slicer.util.pip_install):
                self._message = _("PyTorch was not installed.")
        except Exception as error:
            self._message = _("PyTorch could not be installed: {error}").format(error=error)
        self.update()

    def close(self) -> None:
        """Stop what runs in the background."""
        self.cancelDownload()
        self._timer.stop()

    def _onSelected(self, _index: int) -> None:
        if not self._filling:
            self._message = ""
            self._onChosen(self.current)
            self.update()

    def _pollDownload(self) -> None:
        download = self._download
        if download is None:
            return
        if not download.finished:
            self.ui.downloadBar.setMaximum(0 if download.total is None else max(1, download.total // 1024))
            self.ui.downloadBar.setValue(download.done // 1024)
            self.update()
            return
        self._timer.stop()
        self._download = None
        self._message = download.error or (_("Stopped; the next download goes on from here.") * download.cancelled)
        self.refresh()
        if download.error is None and not download.cancelled:
            self.choose(download.name)
