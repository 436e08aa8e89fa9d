"""Signals that stop a run (Ctrl-C, SIGTERM), held back while weights change, so that it can be saved as it stands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait until the block is done; the first one that came is raised then.

    Those that nobody handles in Python, which end the process at once or are ignored, stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():  # signals do not arrive there
        yield
        return
    before = {number: handler for number in STOPS if callable(handler := signal.getsignal(number))}
    came: list[int] = []
    for number in before:
        signal.signal(number, lambda received, _frame: came.append(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
