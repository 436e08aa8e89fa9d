"""The clicks of the selected segment, one after the other, in the middle of all views."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sammed3d.core.geometry import Point3

if TYPE_CHECKING:
    from sammed3d.web.work import Work


class ClickTour:
    """Goes from click to click, for those who cannot see where they are or have no mouse.

    Args:
        work: whose selected segment's clicks they are.
        show_place: brings a place (RAS mm) into the middle of all slice views.
        say: shows a line.
    """

    def __init__(self, work: Work, show_place: Callable[[Point3], None], say: Callable[[str], None]) -> None:
        self._work, self._show_place, self._say = work, show_place, say
        self._last = ("", 0)

    def next(self) -> Point3 | None:
        """Go to the click after the one shown last, or to the first; returns its place, None where there is none."""
        segment_id = self._work.segment_id
        [prompts] = self._work.segmenter.objectPrompts([segment_id]) if segment_id else [None]
        clicks = () if prompts is None else prompts.clicks
        if not clicks:
            self._say("The selected segment has no click to go to.")
            return None
        before, number = self._last
        number = number % len(clicks) if before == segment_id else 0
        self._last = segment_id, number + 1
        click = clicks[number]
        place: Point3 = click.world
        self._show_place(place)
        kind = "positive" if click.positive else "negative"
        self._say(f"Click {number + 1} of {len(clicks)}, {kind}, is in the middle of the slice views.")
        return place
