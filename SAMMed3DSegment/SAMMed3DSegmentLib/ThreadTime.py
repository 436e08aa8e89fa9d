"""Time for Python's other threads while Slicer's main thread waits for events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import qt

SHARE = 0.02
"""Seconds of a tick in which other threads run and the interface waits: a picture at 50 Hz."""


@dataclass(frozen=True)
class _Work:
    isBusy: Callable[[], bool]
    poll: Callable[[], None]
    wait: Callable[[float], object]


class ThreadTime:
    """Let other threads run while something is under way, and look after it.

    Slicer's main thread keeps Python's lock (GIL) while Qt waits for events: PythonQt calls into Python with the lock
    taken and does not give it up in C++. A thread would run only in the moments in which the main thread executes
    Python: predictions and downloads would take ten times as long. So, while there is work, a timer's slot waits with
    the lock released for `SHARE` seconds; between two ticks Qt handles what the user does. Without work there is no
    timer.

    Example:
        >>> threadTime.follow(lambda: segmenter.busy, segmenter.poll, thread.wait)
    """

    def __init__(self) -> None:
        self._works: list[_Work] = []
        self._never = threading.Event()
        self._timer = qt.QTimer()
        self._timer.setInterval(0)  # as soon as Qt has handled what is waiting
        self._timer.connect("timeout()", self._tick)

    @property
    def active(self) -> bool:
        """Whether its timer runs, as it does while there is work and no longer."""
        return bool(self._timer.active)

    def follow(
        self,
        isBusy: Callable[[], bool],
        poll: Callable[[], None],
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Give a work time until it is done; following the same again changes nothing.

        Args:
            isBusy: tells whether it goes on; asked before and after each call of `poll`.
            poll: called on the main thread after each tick, and so at least once after the work has ended.
            wait: waits that many seconds at most and gives up the lock; one that returns early where there is a
                result makes it appear early.
        """
        work = _Work(isBusy, poll, wait or self._never.wait)
        if work not in self._works:
            self._works.append(work)
        self._timer.start()

    def close(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        self._works.clear()

    def _tick(self) -> None:
        if self._works:
            self._works[0].wait(SHARE)
        for work in list(self._works):
            if work not in self._works:  # a dialog of another one's ran the event loop
                continue
            try:
                wasBusy = work.isBusy()  # what ends while it is polled is polled once more
                work.poll()
                goesOn = wasBusy or work.isBusy()
            except BaseException:  # shown once, not fifty times a second
                self._works.remove(work)
                raise
            if not goesOn and work in self._works:
                self._works.remove(work)
        if not self._works:
            self._timer.stop()
