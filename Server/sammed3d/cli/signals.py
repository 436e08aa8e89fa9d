"""Ctrl-C, and the signal by which services and containers stop what runs in them (SIGTERM): both mean the same."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType

import typer

from sammed3d.core.cancellation import Cancellation

STOPPED, TERMINATED = 130, 143
"""Exit codes of a command that was stopped, by Ctrl-C and by SIGTERM, as shells have them; some do not tell the two."""
STOPS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], object] | int | None


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived: an interruption as that by Ctrl-C, with an exit code of its own."""


@dataclass
class Stop:
    """How a command was stopped.

    Attributes:
        exit_code: of the command: that of Ctrl-C until SIGTERM has stopped it.
    """

    exit_code: int = STOPPED

    def note(self, number: int) -> None:
        """Note down which signal it was."""
        self.exit_code = TERMINATED if number == signal.SIGTERM else STOPPED

    def end_job(self) -> None:
        """End the command where SIGTERM has stopped it; Ctrl-C said how far to go, and what came of that is whole."""
        if self.exit_code == TERMINATED:
            raise typer.Exit(TERMINATED)


@contextlib.contextmanager
def interruptible(cancellation: Cancellation, stop: Stop) -> Iterator[None]:
    """While the block runs, the first signal asks it to stop in place of ending the command; a second one ends it.

    Args:
        cancellation: is asked.
        stop: notes down which signal came first.
    """

    def ask(number: int, _frame: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        stop.note(number)
        cancellation.cancel()

    with _handled_by(ask) as before:
        yield


@contextlib.contextmanager
def interrupted_by_signals(stop: Stop | None = None, signals: Iterable[signal.Signals] = STOPS) -> Iterator[None]:
    """Raise KeyboardInterrupt on a signal (`TerminatedError` on SIGTERM), also in a process of the background.

    Shells make those ignore SIGINT, and SIGTERM would end them at once.

    Args:
        stop: notes down which signal came, where what runs in the block keeps the interruption to itself.
        signals: which; the others do what they do.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if stop is not None:
            stop.note(number)
        raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt

    with _handled_by(interrupt, signals):
        yield


def exit_code_of(stopped: KeyboardInterrupt) -> int:
    """Return the exit code of a command that an interruption ended."""
    return TERMINATED if isinstance(stopped, TerminatedError) else STOPPED


@contextlib.contextmanager
def _handled_by(handler: Handler, signals: Iterable[signal.Signals] = STOPS) -> Iterator[dict[signal.Signals, Handler]]:
    """Handle the signals, which arrive in the main thread alone; yields their usual handlers, which they get back."""
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    before: dict[signal.Signals, Handler] = {number: signal.signal(number, handler) for number in signals}
    try:
        yield before
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
