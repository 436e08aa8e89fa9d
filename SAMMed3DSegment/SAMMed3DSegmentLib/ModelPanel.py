"""The section "Model": which network, what it is for, download, import, deletion, and the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

import qt
from sammed3d import AmbiguousFamilyError, SAMMed3DError
from sammed3d.zoo import registry
from sammed3d.zoo.store import ModelStore, StoredModel
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.Device import install
from SAMMed3DSegmentLib.Predictors import PACKAGES, Predictors, aboutMissing, inWords, missingPackages
from SAMMed3DSegmentLib.ServedModels import ServedModels
from SAMMed3DSegmentLib.Settings import SERVER, Settings
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime
from SAMMed3DSegmentLib.TorchLibraries import loadTorchLibraries

MIB = 2**20


class ModelPanel:
    """Choose and manage models.

    Args:
        ui: the widgets.
        store: the models on this computer.
        settings: device, and whether models run here at all.
        predictors: know the device once a model was loaded.
        threadTime: for downloads and imports.
        onChosen: called with the name of the model that was chosen.

    Attributes:
        onObjection: called when there is another objection than before, or none any more.
    """

    def __init__(
        self,
        ui,
        store: ModelStore,
        settings: Settings,
        predictors: Predictors,
        threadTime: ThreadTime,
        onChosen: Callable[[str], None],
    ) -> None:
        self.ui, self._store, self._settings, self._onChosen = ui, store, settings, onChosen
        self._predictors, self._threadTime = predictors, threadTime
        self._task: Task[str] | None = None  # a download or an import, which returns the model's name
        self._message = ""
        self._filling, self._trouble = False, ""
        self.onObjection: Callable[[], None] = lambda: None
        self.served = ServedModels(predictors, threadTime, self._onServed)
        self._connections = Connections(
            (ui.modelSelector, "currentIndexChanged(int)", self._onSelected),
            (ui.downloadButton, "clicked(bool)", self.download),
            (ui.cancelDownloadButton, "clicked(bool)", self.cancel),
            (ui.importButton, "clicked(bool)", self.chooseFile),
            (ui.removeModelButton, "clicked(bool)", self.remove),
            (ui.installButton, "clicked(bool)", self.install),
            (ui.modelSection, "contentsCollapsed(bool)", self.update),  # opening shows all that is in a section
        )
        self.refresh()

    @property
    def objection(self) -> str:
        """Why the chosen model cannot be used; "" if all is well, or where nobody can tell yet.

        What was missing may have been installed by others meanwhile.
        """
        if self._trouble:
            self._trouble = _troubleWith(self.current, self._settings, self._store, self.served)
        return self._trouble

    @property
    def current(self) -> str:
        """Name of the chosen model."""
        return self.ui.modelSelector.itemData(self.ui.modelSelector.currentIndex) or "default"

    @property
    def busy(self) -> bool:
        """Whether a download or an import is under way."""
        return self._task is not None

    def choose(self, name: str) -> None:
        """Show a model as the chosen one; one that is missing is listed as such, for nobody chose another."""
        index = self.ui.modelSelector.findData(name)
        if index < 0:
            self._list(name)
            self._onChosen(name)
        elif index != self.ui.modelSelector.currentIndex:
            self.ui.modelSelector.setCurrentIndex(index)
        self.update()

    def refresh(self) -> None:
        """List the models of the place where they run: this computer, with those that can be had, or the server."""
        self.served.refresh()
        self._onServed()

    def _onServed(self) -> None:
        self._list(self.current if self.ui.modelSelector.count else "default")
        self.update()

    def _list(self, chosen: str) -> None:
        listed = self._listed()
        if all(name != chosen for _title, name in listed):
            known = self._settings.place != SERVER or self.served.models
            listed.append((_("{name} (missing)").format(name=chosen) if known else chosen, chosen))
        self._filling = True
        self.ui.modelSelector.clear()
        for title, name in listed:
            self.ui.modelSelector.addItem(title, name)
        rows = self.ui.modelSelector.view()  # whole names, also where the panel is narrow
        rows.setMinimumWidth(rows.sizeHintForColumn(0))
        self.ui.modelSelector.setCurrentIndex(self.ui.modelSelector.findData(chosen))
        self._filling = False

    def _listed(self) -> list[tuple[str, str]]:
        if self._settings.place == SERVER:
            return [(model.title, model.name) for model in self.served.models.values()]
        installed = self._store.models()
        names = {model.name for model in installed}
        others = [entry for entry in registry.entries() if entry.name not in names]
        listed = [(model.title, model.name) for model in installed]
        return listed + [(_("{title} (not installed)").format(title=e.title), e.name) for e in others]

    def update(self) -> None:
        """Show what is known of the chosen model and of the device."""
        ui, name = self.ui, self.current
        installed = next((m for m in self._store.models() if m.name == name), None)
        entry = next((e for e in registry.entries() if e.name == name), None)
        here = self._settings.place != SERVER
        before, self._trouble = self._trouble, _troubleWith(self.current, self._settings, self._store, self.served)
        about = self._about(installed, entry) if here else self.served.about(name)
        ui.modelLabel.setText("\n".join(filter(None, [*about, self._trouble, self._message])))
        free = here and not self.busy
        ui.downloadButton.enabled = free and installed is None and entry is not None and entry.url is not None
        ui.importButton.enabled = free
        ui.removeModelButton.enabled = free and installed is not None and not installed.is_bundled
        ui.downloadBar.setVisible(self.busy)
        ui.cancelDownloadButton.setVisible(self.busy)
        missing = missingPackages() if here else []
        ui.installButton.setVisible(bool(missing))
        if missing:
            ui.installButton.setText(_("Install {name}...").format(name=PACKAGES[missing[0]]))
            ui.deviceLabel.setText(_("{packages} not installed").format(packages=inWords(missing)))
        elif here:
            ui.deviceLabel.setText(self._predictors.device or _("known when the model is first used"))
        else:
            ui.deviceLabel.setText(_("the server"))
        if self._trouble != before:
            self.onObjection()

    def download(self) -> None:
        """Download the chosen model."""
        name, store = self.current, self._store
        self._start(lambda task: store.fetch(name, task.report, task.cancellation).name)

    def cancel(self) -> None:
        """Stop the download or import."""
        if self._task is not None:
            self._task.cancel()

    def chooseFile(self) -> None:
        """Ask for a checkpoint file and import it."""
        pattern = _("Models (*.pth *.pt *.safetensors)")
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Import a model"), "", pattern)
        if path:
            self.importFile(Path(path))

    def importFile(self, path: Path, family: str | None = None) -> None:
        """Copy a checkpoint into the store and choose it; it becomes the published model that is chosen, if it fits.

        Args:
            path: the checkpoint file.
            family: how to read it, where the user has said so.
        """
        store, wanted = self._store, self._published()

        def work(task: Task[str]) -> str:
            told = family if family is not None else _familyOf(path, wanted)
            fits = wanted is not None and told == wanted.family
            name = wanted.name if fits else None
            return store.add(path, name, family=told, progress=task.report, cancellation=task.cancellation).name

        self._start(work, lambda error: self._ask(path, error))

    def remove(self) -> None:
        """Ask, then delete the chosen model from this computer."""
        name = self.current
        if not slicer.util.confirmYesNoDisplay(_("Delete the model {name} from this computer?").format(name=name)):
            return
        self._message = ""
        if self.current != name:  # scripts run in between
            self._message = _("Nothing was deleted: {name} is not chosen any more.").format(name=name)
            self.update()
            return
        try:
            self._store.remove(name)
        except (SAMMed3DError, OSError) as error:
            self._message = str(error)
        if name not in {each.name for each in (*self._store.models(), *registry.entries())}:
            self.choose("default")
        self.refresh()

    def install(self) -> None:
        """Ask, then install what prediction in this Slicer lacks."""
        missing = missingPackages()
        self._message = ""
        try:
            install(missing, slicer.util.confirmOkCancelDisplay, slicer.util.pip_install)
            if still := missingPackages():
                self._message = _("{packages} still not installed.").format(packages=inWords(still))
        except Exception as error:
            text = _(
                "The installation failed: {error} The Python console says why. It needs the network; without it, "
                "run on a server."
            )
            self._message = text.format(error=f"{error}".rstrip(".") + ".")
        self.update()

    def close(self) -> None:
        """The module goes away: stop what runs in the background."""
        self.cancel()
        self._task = None
        self.served.close()
        self._connections.close()

    # How it works

    def _about(self, installed: StoredModel | None, entry: registry.ModelEntry | None) -> list[str]:
        about, lines = installed or entry, []
        if about is not None:
            lines.append(about.purpose)
            lines.append(_("Licence: {licence}").format(licence=about.licence or _("as stated by its source")))
        if installed is not None:
            lines.append(_("{size:.0f} MiB on this computer").format(size=installed.size / MIB))
        elif entry is not None and entry.url is None:
            lines.append(_("Get the file from {page} and import it.").format(page=entry.page))
        return lines

    def _published(self) -> registry.ModelEntry | None:
        """Return the chosen model if it is a published one that is not installed, and that people have to fetch."""
        entries = {entry.name: entry for entry in registry.entries() if entry.url is None}
        for model in self._store.models():
            entries.pop(model.name, None)
        return entries.get(self.current)

    def _start(
        self,
        work: Callable[[Task[str]], str],
        onAmbiguous: Callable[[AmbiguousFamilyError], None] = lambda _error: None,
    ) -> None:
        self._message = ""
        self._task = task = Task(work, "SAMMed3DSegment models")
        self._threadTime.follow(lambda: self._task is task, lambda: self._poll(task, onAmbiguous), task.wait)
        self._showProgress(task)
        self.update()

    def _poll(self, task: Task[str], onAmbiguous: Callable[[AmbiguousFamilyError], None]) -> None:
        if task is not self._task:
            return
        if task.busy:
            self._showProgress(task)
            return
        self._task = None
        if isinstance(task.error, AmbiguousFamilyError):
            self.update()
            onAmbiguous(task.error)
            return
        if task.error is not None:
            self._message = str(task.error)
        elif task.cancelled:
            self._message = _("Stopped. What was downloaded already is kept for the next time.")
        self.refresh()
        if task.result is not None:
            self.choose(task.result)

    def _showProgress(self, task: Task[str]) -> None:
        self.ui.downloadBar.setMaximum(0 if task.total is None else max(1, task.total // 1024))
        self.ui.downloadBar.setValue(task.done // 1024)

    def _ask(self, path: Path, error: AmbiguousFamilyError) -> None:
        """Ask which of several models a file belongs to, then import it."""
        from sammed3d.zoo.families import FAMILIES  # noqa: PLC0415 - needs torch, which is loaded by now

        choices = [f"{name}: {FAMILIES[name].about}" for name in error.names]
        dialog = qt.QInputDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(_("Import a model"))
        dialog.setLabelText(_("Several models have such files. Which one is this?"))
        dialog.setComboBoxItems(choices)
        accepted, chosen = dialog.exec_() == qt.QDialog.Accepted, dialog.textValue()
        dialog.deleteLater()
        if accepted:
            self.importFile(path, error.names[choices.index(chosen)])
        else:
            self._message = _("Nothing was imported.")
            self.update()

    def _onSelected(self, _index: int) -> None:
        if not self._filling:
            self._message = ""
            self._onChosen(self.current)
            self.update()


def _troubleWith(name: str, settings: Settings, store: ModelStore, served: ServedModels) -> str:
    """Say why a model cannot be used; "" if all is well, or where nobody can tell yet."""
    if settings.place == SERVER:
        if not served.models or name in served.models:
            return ""
        text = _("The server does not serve the model {name}; it serves: {served}. Choose one in the section 'Model'.")
        return text.format(name=name, served=", ".join(served.models))
    if missing := missingPackages():
        return aboutMissing(missing)
    if any(model.name == name for model in store.models()):
        return ""
    text = _("The model {name} is not on this computer. In the section 'Model', get it or choose another one.")
    return text.format(name=name)


def _familyOf(path: Path, wanted: registry.ModelEntry | None) -> str | None:
    """Return the family of a checkpoint, in the background; None where the file's metadata say it, or without torch.

    Raises:
        AmbiguousFamilyError: somebody has to say it, for neither the file nor the wanted model does.
        SAMMed3DError: the file cannot be used.
    """
    if missingPackages() or not path.is_file():
        return None
    loadTorchLibraries()
    from sammed3d.zoo.load import family_of  # noqa: PLC0415 - needs torch

    try:
        return family_of(path)
    except AmbiguousFamilyError as error:
        if wanted is not None and wanted.family in error.names:
            return wanted.family
        raise
