"""Qt's event loop as it runs inside Slicer: the main thread keeps Python's lock (GIL) while it waits for events.

PythonQt calls into Python from C++ and never gives the lock up by itself, so other Python threads run only while the
main thread executes Python, or waits in something that gives the lock up. PySide's own `exec` gives it up, which hides
that; here C++ is called through `ctypes.PyDLL`, which does not.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import PySide6
from PySide6 import QtCore

_EXEC = "_ZN16QCoreApplication4execEv"
_PROCESS_EVENTS = "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"


def _library():
    folder = Path(PySide6.__file__).parent / "Qt" / "lib"
    found = [*folder.glob("libQt6Core.so.6"), *folder.glob("QtCore.framework/Versions/A/QtCore")]
    if not found:
        raise RuntimeError("The event loop can hold the GIL on Linux and macOS only")
    return ctypes.PyDLL(str(found[0]))


def run(until, timeout=60.0, interval=20):
    """Run the event loop, with the GIL held, until a condition is true; it is asked every `interval` ms.

    Raises:
        TimeoutError: it did not become true in time.
    """
    end, seen, errors = time.monotonic() + timeout, [], []

    def look():
        try:
            if until():
                seen.append(True)
        except BaseException as error:
            errors.append(error)
        if seen or errors or time.monotonic() > end:
            QtCore.QCoreApplication.quit()

    timer = QtCore.QTimer()
    timer.timeout.connect(look)
    timer.start(interval)
    try:
        _library()[_EXEC]()
    finally:
        timer.stop()
    if errors:
        raise errors[0]
    if not seen:
        raise TimeoutError(f"It did not happen within {timeout} s")


def processEvents():
    """Handle what is waiting, with the GIL held."""
    _library()[_PROCESS_EVENTS](0)


class Heartbeat:
    """Notices how long the event loop was kept from handling an event.

    Attributes:
        longest: the longest time between two beats, less the time between two that are on time, seconds.
    """

    def __init__(self, milliseconds=5):
        self._period = milliseconds / 1000
        self._last, self.longest = None, 0.0
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(milliseconds)

    def _beat(self):
        now = time.perf_counter()
        if self._last is not None:
            self.longest = max(self.longest, now - self._last - self._period)
        self._last = now

    def restart(self):
        """Leave out the time since the last beat: something else than what is measured took it."""
        self._last = None

    def stop(self):
        """Beat no more; returns the longest time that the event loop was kept waiting, seconds."""
        self._timer.stop()
        return self.longest
