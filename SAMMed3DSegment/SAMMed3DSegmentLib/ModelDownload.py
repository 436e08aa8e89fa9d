"""One download of a model in the background."""

from __future__ import annotations

import threading

from sammed3d import Cancellation, PredictionCancelled, SAMMed3DError
from sammed3d.zoo.store import ModelStore


class ModelDownload:
    """Download a model while the main thread stays free.

    Attributes:
        name: of the model.
        done, total: bytes; total is None while not known.
        error: what went wrong, in words; None if nothing did.
        finished: whether it ended, one way or the other.
        cancelled: whether it was stopped; the next one goes on from there.
    """

    def __init__(self, store: ModelStore, name: str) -> None:
        self.name = name
        self.done, self.total = 0, None
        self.error: str | None = None
        self.finished = self.cancelled = False
        self._cancellation = Cancellation()
        self._thread = threading.Thread(target=self._run, args=(store,), name="SAMMed3DSegment download", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop it."""
        self._cancellation.cancel()

    def _run(self, store: ModelStore) -> None:
        try:
            store.fetch(self.name, self._progress, self._cancellation)
        except PredictionCancelled:
            self.cancelled = True
        except SAMMed3DError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"The download failed: {error}"
        self.finished = True

    def _progress(self, done: int, total: int | None) -> None:
        self.done, self.total = done, total
