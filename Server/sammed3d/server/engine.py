"""Models, patches and predictions of the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sammed3d.cache import LRUCache
from sammed3d.geometry import Box, Grid
from sammed3d.interpolation import Float32
from sammed3d.patch import Patch
from sammed3d.predictor import Cancellation, PatchClick, Prediction, Predictor
from sammed3d.preset import Preset

MIB = 2**20


class BusyError(Exception):
    """Too many predictions wait already."""


@dataclass(frozen=True)
class ServedModel:
    """A model that clients may name.

    Attributes:
        name, title, sha256, licence: see `StoredModel`.
        predictor: runs it.
    """

    name: str
    title: str
    sha256: str
    licence: str
    predictor: Predictor


class Engine:
    """Keep uploaded patches for a while, and run predictions on them.

    Args:
        models: what is served; the first is the default.
        cache_mib: bound of the patches that are kept, all users together.
        queue: predictions that may wait or run; more are refused.

    A user sees only patches that were uploaded with the same key.
    """

    def __init__(self, models: Sequence[ServedModel], cache_mib: int = 1024, queue: int = 32) -> None:
        self.models = {model.name: model for model in models}
        self.queue = queue
        self._patches: LRUCache[Patch] = LRUCache(cache_mib * MIB, lambda patch: patch.voxels.nbytes)
        self._running: dict[tuple[str, str], Cancellation] = {}
        self._lock = threading.Lock()

    def has_patch(self, user: str, digest: str) -> bool:
        """Whether a patch is there."""
        with self._lock:
            return self._patches.get((user, digest)) is not None

    def put_patch(self, user: str, digest: str, voxels: Float32) -> None:
        """Keep a patch whose digest was checked."""
        shape = voxels.shape
        window = Box((0, 0, 0), (shape[0], shape[1], shape[2]))
        patch = Patch(voxels, window, Grid((shape[0], shape[1], shape[2]), np.eye(4)))
        with self._lock:
            self._patches.put((user, digest), patch)

    def predict(
        self,
        user: str,
        digest: str,
        model: str,
        clicks: Sequence[PatchClick],
        initial: Float32 | None,
        request: str,
        on_start: Callable[[Cancellation], None] = lambda _: None,
    ) -> Prediction | None:
        """Run a prediction; None where the patch is not there (any more).

        Raises:
            BusyError: too many wait.
            PredictionCancelled: `cancel` was called.
            KeyError: no such model.
        """
        predictor = self.models[model].predictor
        cancellation = Cancellation()
        with self._lock:
            patch = self._patches.get((user, digest))
            if patch is None:
                return None
            if len(self._running) >= self.queue:
                raise BusyError
            self._running[user, request] = cancellation
        try:
            on_start(cancellation)
            return predictor.predict(patch, clicks, initial, cancellation)
        finally:
            with self._lock:
                self._running.pop((user, request), None)

    def cancel(self, user: str, request: str) -> bool:
        """Stop a prediction; whether there was one."""
        with self._lock:
            cancellation = self._running.get((user, request))
        if cancellation is None:
            return False
        cancellation.cancel()
        return True

    def preset_of(self, model: str) -> Preset:
        """Return a model's preset."""
        return self.models[model].predictor.preset
