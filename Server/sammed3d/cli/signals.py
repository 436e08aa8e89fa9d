"""Ctrl-C, and the signal by which services and containers stop what runs in them (SIGTERM): both mean the same."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from sammed3d.core.cancellation import Cancellation

STOPPED = 130
"""Exit code where a command was stopped, as shells have it."""
STOPS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], object] | int | None


@contextlib.contextmanager
def interruptible(cancellation: Cancellation) -> Iterator[None]:
    """While the block runs, the first signal asks it to stop in place of ending the command; a second one ends it."""

    def stop(*_: object) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        cancellation.cancel()

    with _handled_by(stop) as before:
        yield


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on a signal, also in a process that was started in the background.

    Shells make those ignore SIGINT, and SIGTERM would end them at once.
    """
    with _handled_by(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _handled_by(handler: Handler) -> Iterator[dict[signal.Signals, Handler]]:
    """Handle the signals, which arrive in the main thread alone; yields their usual handlers, which they get back."""
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    before: dict[signal.Signals, Handler] = {number: signal.signal(number, handler) for number in STOPS}
    try:
        yield before
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
