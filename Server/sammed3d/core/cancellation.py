"""The switch that stops a prediction, a download or an upload from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sammed3d.errors import PredictionCancelled


class Cancellation:
    """A switch that stops a prediction from another thread, and a sign that says what the prediction is doing.

    Attributes:
        stage: "" before it starts, then "load", "cut", "send", "encode", "decode" or "paint".
        share: part of the stage that is done, 0..1; None where nobody can tell.
        patches: while an object is followed, which further patch is looked at (1, 2, ...) and how many there may be;
            else (0, 0).
        slices: number of slices that a 2-D model has looked at, and of those it may look at; (0, 0) for 3-D models.

    Example:
        >>> cancellation = Cancellation()
        >>> cancellation.cancel()   # from the GUI's thread; the prediction raises PredictionCancelled
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self.stage = ""
        self.share: float | None = None
        self.patches = (0, 0)
        self.slices = (0, 0)

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask the prediction to stop at the next opportunity, and call those who wait for that."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            waiting, self._callbacks = self._callbacks, []
        for callback in waiting:
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call a function as soon as `cancel` is called while the block runs; at once if that has happened already.

        Args:
            callback: called at most once, in the thread that cancels; it must be quick and must not raise.
        """
        with self._lock:
            too_late = self._event.is_set()
            if not too_late:
                self._callbacks.append(callback)
        if too_late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

    def wait(self, seconds: float) -> None:
        """Wait, but not after `cancel` was called."""
        self._event.wait(seconds)

    def enter(self, stage: str) -> None:
        """Say what comes next; raises PredictionCancelled if `cancel` was called."""
        self.check()
        self.stage, self.share = stage, None

    def check(self) -> None:
        """Raise PredictionCancelled if `cancel` was called."""
        if self.is_cancelled:
            raise PredictionCancelled("The prediction was cancelled; nothing was changed.")
