"""What the keys of the panel do."""

from __future__ import annotations

from collections.abc import Callable

from sammed3d import Lasso, Scribble


def actionsOf(panel) -> dict[str, Callable[[], None]]:
    """Return a panel's keys and what they do; see `Shortcuts`."""
    ui = panel.ui
    return {
        "P": ui.positiveButton.click,
        "N": ui.negativeButton.click,
        "U": ui.undoButton.click,
        "Shift+U": ui.redoButton.click,
        "E": ui.nextSegmentButton.click,
        "T": panel.clicks.toggle,
        "H": ui.pointsButton.click,
        "Shift+R": ui.resetButton.click,
        "Shift+D": ui.removeSegmentButton.click,
        "B": ui.boxButton.click,
        "S": lambda: panel.drawing.toggle(Scribble, True),
        "Shift+S": lambda: panel.drawing.toggle(Scribble, False),
        "L": lambda: panel.drawing.toggle(Lasso, True),
        "Shift+L": lambda: panel.drawing.toggle(Lasso, False),
        "Shift+F": ui.followButton.click,
        "X": ui.nextPlaceButton.click,
        "A": lambda: panel.nextPlace.accept(True),
        "Shift+A": lambda: panel.nextPlace.accept(False),
        "K": panel.nextPlace.skip,
    }
