"""One function in a thread of its own, for what takes seconds and is not a prediction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from sammed3d import Cancellation, PredictionCancelled

Result = TypeVar("Result")


class Task(Generic[Result]):
    """Run a function in the background; it must touch neither MRML nor Qt.

    Args:
        function: called with the task, whose `report` it may call and whose `cancellation` it should heed.
        name: the thread's name.

    Attributes:
        cancellation: asks the function to stop.
        done, total: how far it is, in units of its own; total is None while not known.
        result: what the function returned; None until then.
        error: what it raised, if anything but PredictionCancelled.
        cancelled: whether it was stopped.
    """

    def __init__(self, function: Callable[[Task[Result]], Result], name: str = "SAMMed3DSegment task") -> None:
        self._function = function
        self.cancellation = Cancellation()
        self.done = 0
        self.total: int | None = None
        self.result: Result | None = None
        self.error: Exception | None = None
        self.cancelled = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether it still runs."""
        return not self._ended.is_set()

    def report(self, done: int, total: int | None) -> None:
        """Say how far it is; from the thread."""
        self.done, self.total = done, total
        self.cancellation.check()

    def cancel(self) -> None:
        """Ask it to stop."""
        self.cancellation.cancel()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, and tell whether it has."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            self.result = self._function(self)
        except PredictionCancelled:
            self.cancelled = True
        except Exception as error:
            self.error = error
        finally:
            self._ended.set()
