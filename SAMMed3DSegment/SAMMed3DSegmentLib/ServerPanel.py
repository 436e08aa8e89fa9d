"""The section "Where it runs": this computer or a server, consent, and a test of the connection."""

from __future__ import annotations

import threading
from collections.abc import Callable

from slicer.i18n import tr as _

import qt
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings


class ServerPanel:
    """Choose where predictions run.

    Args:
        ui: the widgets.
        settings: where the choice is kept.
        diagnose: from address and key to lines of a report, one for each step; called in a thread.
        onChanged: called when the choice changed.
    """

    def __init__(
        self,
        ui,
        settings: Settings,
        diagnose: Callable[[str, str], list[str]],
        onChanged: Callable[[], None] = lambda: None,
    ) -> None:
        self.ui, self._settings, self._diagnose, self._onChanged = ui, settings, diagnose, onChanged
        self._test: threading.Thread | None = None
        self._report: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(100)
        self._timer.connect("timeout()", self._pollTest)
        self._showing = False
        self.showSettings()
        ui.placeSelector.connect("currentIndexChanged(int)", self._onEdited)
        ui.urlEdit.connect("textChanged(QString)", self._onEdited)
        ui.keyEdit.connect("textChanged(QString)", self._onEdited)
        ui.consentCheckBox.connect("toggled(bool)", self._onConsent)
        ui.testButton.connect("clicked(bool)", self.test)
        ui.serverSection.connect("contentsCollapsed(bool)", self.update)  # opening shows all that is in a section
        self.update()

    @property
    def objection(self) -> str:
        """Why nothing can be predicted now; "" if all is well."""
        if self._settings.place == LOCAL:
            return ""
        if not self._settings.url:
            return _("Enter the address of the server in the section 'Where it runs', or run on this computer.")
        if not self._settings.consent:
            return _("Agree in the section 'Where it runs' before image data are sent to the server.")
        return ""

    def showSettings(self) -> None:
        """Show what the settings hold; they may have been changed in the application's settings."""
        self._showing = True
        self.ui.placeSelector.setCurrentIndex(1 if self._settings.place == SERVER else 0)
        self.ui.urlEdit.setText(self._settings.url)
        self.ui.keyEdit.setText(self._settings.key)
        self._showing = False
        self.update()

    def update(self) -> None:
        """Show what belongs to the choice."""
        ui, remote = self.ui, self._settings.place == SERVER
        for name in ("urlTitle", "urlEdit", "keyTitle", "keyEdit", "consentCheckBox", "consentLabel", "testButton"):
            getattr(ui, name).setVisible(remote)
        ui.serverLabel.setVisible(remote)
        ui.consentCheckBox.setEnabled(bool(self._settings.url))
        ui.consentCheckBox.setChecked(self._settings.consent)
        ui.testButton.setEnabled(bool(self._settings.url) and self._test is None)
        ui.consentLabel.setText(
            _(
                "What is sent to {server}: for each place you click, one cube of the image around it (192 mm wide with "
                "most models), resampled and normalised, and where you clicked in it. No names, dates, identifiers or "
                "whole images. The server keeps the cube in memory for a while, to answer further clicks."
            ).format(server=self._settings.url or _("the server"))
        )

    def test(self) -> None:
        """Check the connection in the background, and show the report."""
        self.ui.serverLabel.setText(_("Testing..."))
        self._report = []
        arguments = (self._settings.url, self._settings.key)
        self._test = threading.Thread(target=self._runTest, args=arguments, daemon=True)
        self._test.start()
        self._timer.start()
        self.update()

    def close(self) -> None:
        """Stop observing a test."""
        self._timer.stop()

    def _runTest(self, url: str, key: str) -> None:
        try:
            self._report = self._diagnose(url, key)
        except Exception as error:
            self._report = [str(error)]

    def _pollTest(self) -> None:
        if self._test is not None and not self._test.is_alive():
            self._timer.stop()
            self._test = None
            self.ui.serverLabel.setText("\n".join(self._report))
            self.update()

    def _onEdited(self, *_arguments) -> None:
        if self._showing:
            return
        self._settings.place = SERVER if self.ui.placeSelector.currentIndex == 1 else LOCAL
        self._settings.url = self.ui.urlEdit.text
        self._settings.key = self.ui.keyEdit.text
        self.ui.serverLabel.setText("")
        self.update()
        self._onChanged()

    def _onConsent(self, agreed: bool) -> None:
        if agreed != self._settings.consent:
            self._settings.consent = agreed
            self.update()
            self._onChanged()
