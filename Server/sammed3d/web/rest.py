"""When memory that predictions freed goes back to the system: as soon as nobody asks, or after some of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sammed3d.core import freed_memory

REST = 2.0
"""Seconds without a prediction after which it goes back. It has to be cleared when it is asked for again, which costs a
click that follows at once a seventh of its time."""
MOST = 8
"""Predictions after which it goes back at any rate: 20 clicks in new places leave 400 MiB that nothing uses."""


class Rest:
    """Watch predictions, and give back what they freed, which the C library keeps between what is still in use.

    Args:
        give_back: does so, in a thread of its own: it takes a tenth of a second and more.
    """

    def __init__(self, give_back: Callable[[], None] = freed_memory.give_back) -> None:
        self._give_back = give_back
        self._predicting, self._ended, self._since = False, 0, 0.0

    def look(self, predicting: bool) -> None:
        """Take note of whether a prediction is under way; to be called often."""
        now = time.monotonic()
        if self._predicting and not predicting:
            self._ended, self._since = self._ended + 1, now
        self._predicting = predicting
        rests = self._ended > 0 and not predicting and now - self._since >= REST
        if rests or self._ended >= MOST:
            self._ended = 0
            threading.Thread(target=self._give_back, daemon=True).start()
