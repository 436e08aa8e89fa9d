"""Keys, alive only while the module is shown. None of them is one of the Segment Editor's, two are the slice views'."""

from __future__ import annotations

from collections.abc import Callable

import slicer

import qt

SEGMENT_EDITOR_KEYS = {"Left", "Right", "Q", "W", "Z", "Y", "Esc", "Space", "I", *"1234567890"}

SLICE_VIEW_KEYS_TAKEN = {"B", "T"}
"""Keys of Slicer's slice views (a slice back, foreground on and off) that are this module's while it is shown: Box and
the other kind of click have them in other extensions that segment by clicks, too."""


class Shortcuts:
    """Keys and what they do.

    Args:
        actions: from a key ("P", "Shift+U") to a function.
        parent: widget under which the keys work; Slicer's main window if None.

    Attributes:
        keys: a QShortcut for each.
    """

    def __init__(self, actions: dict[str, Callable[[], None]], parent=None) -> None:
        self.keys = []
        for key, action in actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow() or parent)
            shortcut.setContext(qt.Qt.ApplicationShortcut)  # also in view windows of their own, on a second monitor
            shortcut.connect("activated()", action)
            shortcut.setEnabled(False)
            self.keys.append(shortcut)

    def setEnabled(self, enabled: bool) -> None:
        """Make the keys work, or not."""
        for shortcut in self.keys:
            shortcut.setEnabled(enabled)

    def close(self) -> None:
        """Remove the keys."""
        for shortcut in self.keys:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self.keys = []
