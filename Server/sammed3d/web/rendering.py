"""When a view is drawn anew: the one under the mouse at once, the others once it was sent and the model has time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PAUSE = 0.03
"""Seconds by which the view under the mouse is ahead."""
PATIENCE = 1.0
"""Seconds for which a prediction has the processors for itself, before the other views are drawn meanwhile."""


class Turns:
    """When one view is drawn.

    Args:
        draw: draws it, soon.
        first: whether its turn is first, because the mouse is over it.
        predicting: whether a prediction is under way.
    """

    def __init__(self, draw: Callable[[], object], first: Callable[[], bool], predicting: Callable[[], bool]) -> None:
        self._draw, self._first, self._predicting = draw, first, predicting
        self._waiting = False

    def ask(self) -> None:
        """Draw the view when it is its turn; asked again meanwhile, it is drawn once."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # not served yet
            self._draw()
            return
        if self._first():
            self._draw()
        elif not self._waiting:
            self._waiting = True
            loop.call_later(PAUSE, self._look, loop, time.monotonic() + PATIENCE)

    def _look(self, loop: asyncio.AbstractEventLoop, latest: float) -> None:
        if self._predicting() and time.monotonic() < latest:
            loop.call_later(PAUSE, self._look, loop, latest)
        else:
            self._waiting = False
            self._draw()
