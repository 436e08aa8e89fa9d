"""What is to be said through a pipe, by a thread that does nothing else: who says it never waits for who listens."""

from __future__ import annotations

import contextlib
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any


class Outbox:
    """Send messages through a connection, in order, in a thread of its own.

    A pipe holds less than a patch or an answer. If both ends waited to be read before they read on, they would wait for
    ever; so a thread that reads, or holds a lock that one needs, must not send. What waits here is bounded by the jobs
    that the server takes at a time.

    Args:
        connection: where messages go; nobody else sends through it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._send, name="outbox", daemon=True)
        self._thread.start()

    @property
    def is_working(self) -> bool:
        """Whether messages are sent: not once it was closed, nobody listens, or one could not be packed."""
        return self._thread.is_alive()

    def put(self, *message: Any) -> None:
        """Send a message when those before it are sent; returns at once. Lost where nobody listens any more."""
        self._messages.put(message)

    def close(self) -> None:
        """Wait until everything is sent, or nobody listens any more, and end."""
        self._messages.put(None)
        self._thread.join()

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # the other end is gone, which whoever reads from it finds out
            while (message := self._messages.get()) is not None:
                self._connection.send(message)
