"""Objects larger than a patch: whether they are followed by themselves, and the button that follows them."""

from __future__ import annotations

from collections.abc import Callable

from SAMMed3DSegmentLib import SettingsPage
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.Following import MODES
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Settings import Settings


class FollowPanel:
    """Choose whether objects are followed, and follow the selected segment's.

    Args:
        ui: the widgets.
        segmenter: does the work.
        settings: keep the choice; it may be changed in the application's settings, too.
        selected: returns the id of the selected segment; "" for none.
        objection: returns why nothing can be predicted now; "" if all is well.
        say: shows a text.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        settings: Settings,
        selected: Callable[[], str],
        objection: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self.ui, self._segmenter, self._settings = ui, segmenter, settings
        self._selected, self._objection, self._say = selected, objection, say
        ui.followModeSelector.clear()  # a module that is reloaded keeps its widgets
        ui.followModeSelector.addItems(list(SettingsPage.followingModes().values()))
        ui.followModeSelector.setToolTip(SettingsPage.FOLLOWING)
        self.showSettings()
        self._connections = Connections(
            (ui.followModeSelector, "activated(int)", self._onMode),
            (ui.followButton, "clicked(bool)", self.follow),
        )
        SettingsPage.observe(self._onPage)

    def follow(self) -> None:
        """Follow the selected segment's object."""
        objection = self._objection()
        self._say(objection)
        if not objection:
            self._segmenter.follow(self._selected())

    def update(self) -> None:
        """Offer only what can be done."""
        self.ui.followButton.enabled = bool(self._selected()) and self._segmenter.canFollow(self._selected())

    def showSettings(self) -> None:
        """Show what the settings hold."""
        self.ui.followModeSelector.setCurrentIndex(MODES.index(self._settings.following))

    def close(self) -> None:
        """The module goes away."""
        SettingsPage.observe(self._onPage, False)
        self._connections.close()

    def _onMode(self, index: int) -> None:
        self._settings.following = MODES[index]
        SettingsPage.reload()

    def _onPage(self, _key: str, _value: object) -> None:
        self.showSettings()
