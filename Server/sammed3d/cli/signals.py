"""Ctrl-C, and the signal by which services and containers stop what runs in them (SIGTERM): both mean the same."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from sammed3d.core.cancellation import Cancellation

STOPPED, TERMINATED = 130, 143
"""Exit codes of a command that was stopped, by Ctrl-C and by SIGTERM, as shells have them; some do not tell the two."""
STOPS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], object] | int | None


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived: an interruption as that by Ctrl-C, with an exit code of its own."""


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
    """Raise KeyboardInterrupt on a signal (`TerminatedError` on SIGTERM), also in a process of the background.

    Shells make those ignore SIGINT, and SIGTERM would end them at once.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt

    with _handled_by(interrupt):
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
