"""The section "Where it runs": this computer or a server, consent, and a test of the connection."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from SAMMed3DSegmentLib import SettingsPage
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.Predictors import Predictors
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime


class ServerPanel:
    """Choose where predictions run.

    Args:
        ui: the widgets.
        settings: where the choice is kept.
        predictors: test a server.
        threadTime: for the test.
        onChanged: called when the choice changed.
    """

    def __init__(
        self,
        ui,
        settings: Settings,
        predictors: Predictors,
        threadTime: ThreadTime,
        onChanged: Callable[[], None] = lambda: None,
    ) -> None:
        self.ui, self._settings, self._onChanged = ui, settings, onChanged
        self._predictors, self._threadTime = predictors, threadTime
        self._test: Task[list[str]] | None = None
        self._showing = False
        self.showSettings()
        self._connections = Connections(
            (ui.placeSelector, "currentIndexChanged(int)", self._onPlace),
            (ui.urlEdit, "textChanged(QString)", self._onUrl),
            (ui.keyEdit, "textChanged(QString)", self._onKey),
            (ui.consentCheckBox, "toggled(bool)", self._onConsent),
            (ui.testButton, "clicked(bool)", self.test),
            (ui.serverSection, "contentsCollapsed(bool)", self.update),  # opening shows all that is in a section
        )
        SettingsPage.observe(self._onPage)
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
        for edit, text in ((self.ui.urlEdit, self._settings.url), (self.ui.keyEdit, self._settings.key)):
            if edit.text.strip() != text:  # not while it is being typed into
                edit.setText(text)
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
                "What is sent to {server}: for each place you click, a cube of the image round it (154 to 192 mm wide, "
                "for the default model's first click 288 mm too; twice as wide where objects are followed), to carry "
                "an object through a series, such cubes of each frame, with 2-D models whole slices, to find objects "
                "all of the region; and where you clicked. No names, dates or identifiers. The server keeps that in "
                "memory for a while, to answer further clicks."
            ).format(server=self._settings.url or _("the server"))
        )

    def test(self) -> None:
        """Check the connection in the background, and show the report."""
        self.ui.serverLabel.setText(_("Testing..."))
        choice, predictors = self._predictors.choiceOf(""), self._predictors
        self._test = test = Task(lambda _task: predictors.diagnose(choice), "SAMMed3DSegment server test")
        self._threadTime.follow(lambda: self._test is test, self._pollTest, test.wait)
        self.update()

    def close(self) -> None:
        """The module goes away: let go of a test and of the page of the application's settings."""
        self._test = None
        SettingsPage.observe(self._onPage, False)
        self._connections.close()

    def _pollTest(self) -> None:
        test = self._test
        if test is not None and not test.busy:
            self._test = None
            lines = [str(test.error)] if test.error is not None else test.result or []
            self.ui.serverLabel.setText("\n".join(lines))
            self.update()

    def _onPlace(self, index: int) -> None:
        self._onEdited("place", SERVER if index == 1 else LOCAL)

    def _onUrl(self, text: str) -> None:
        self._onEdited("url", text)

    def _onKey(self, text: str) -> None:
        self._onEdited("key", text)

    def _onEdited(self, name: str, value: str) -> None:
        if self._showing:
            return
        self._showing = True  # the page says so in turn
        setattr(self._settings, name, value)
        SettingsPage.reload()
        self._showing = False
        self.ui.serverLabel.setText("")
        self.update()
        self._onChanged()

    def _onConsent(self, agreed: bool) -> None:
        if agreed != self._settings.consent:
            self._settings.consent = agreed
            self.update()
            self._onChanged()

    def _onPage(self, _key: str, _value: object) -> None:
        """Follow the page of the application's settings."""
        if not self._showing:
            self.showSettings()
            self._onChanged()
