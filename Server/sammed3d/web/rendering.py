"""When views, and what stands round them, are drawn anew: the view under the mouse at once, the rest at leisure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PAUSE = 0.12
"""Seconds by which the view under the mouse is ahead: the browser has shown it by then, and a button that went down is
up again, so that what it began is known."""
PATIENCE = 1.0
"""Seconds for which a prediction has the processors for itself, before the other views are drawn meanwhile."""
CALM = 0.4
"""Seconds for which it has them before the page says that it is under way."""


class Calm:
    """The first moments of a prediction, in which the page is left as it is: each change of it takes the browser 50 ms.

    Args:
        predicting: whether a prediction is under way.
    """

    def __init__(self, predicting: Callable[[], bool]) -> None:
        self._predicting = predicting
        self._began: float | None = None

    @property
    def lasts(self) -> bool:
        """Whether news can wait; to be asked often."""
        if not self._predicting():
            self._began = None
            return False
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        return now - self._began < CALM


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
