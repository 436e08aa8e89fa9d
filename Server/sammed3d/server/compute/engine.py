"""Models, patches and predictions of the server: who may ask for how much, and which device answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

from sammed3d.core.cache import LRUCache
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchPrompts, Prediction
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker import UnavailableError
from sammed3d.server.compute.worker_process import NOTHING, Held, patch_of
from sammed3d.server.http.keys import NO_QUOTA, Quota
from sammed3d.server.memory import resident_bytes
from sammed3d.server.metrics import Metrics
from sammed3d.wire.messages import ModelInfo, Question, Turn

MIB = 2**20


class BusyError(Exception):
    """Too many predictions wait already, or this user asked for too many; says which."""


class Device(Protocol):
    """What works on jobs: a `Worker` process, or a `Scheduler` of this process."""

    @property
    def is_ready(self) -> bool: ...

    def submit(self, job: Job) -> Future[Prediction]: ...

    def cancel(self, job: Job) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Running:
    """A prediction under way: `future` ends with it, with PredictionCancelled or with WorkerError."""

    job: Job
    device: Device
    future: Future[Prediction]
    user: str
    request: str
    turn: Turn | None

    def cancel(self) -> None:
        """Stop it."""
        self.device.cancel(self.job)


class Engine:
    """Keep uploaded patches for a while, and run predictions on them.

    Args:
        models: what is served; the first is the default.
        devices: what they run on; a patch always goes to the same one, so that its embedding is made once.
        cache_mib: bound of the patches that are kept, all users together.
        queue: predictions that may wait or run; more are refused.
        quotas: by user; who is not named has none.
        metrics: where to count.

    A user sees only patches that were uploaded with the same key.
    """

    def __init__(
        self,
        models: Sequence[ModelInfo],
        devices: Sequence[Device],
        cache_mib: int = 1024,
        queue: int = 32,
        quotas: Mapping[str, Quota] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.models = {model.name: model for model in models}
        self.devices = list(devices)
        self.queue = queue
        self.metrics = metrics or Metrics()
        self._quotas = dict(quotas or {})
        self._patches: LRUCache[Patch] = LRUCache(cache_mib * MIB, _patch_bytes, self._dropped)
        self._of_user: dict[str, LRUCache[Patch]] = {}
        self._running: list[Running] = []
        self._spent: dict[str, float] = {}
        self._lock = threading.Lock()
        self.metrics.watch(self._depth, self._device_bytes)
        self._watch_memory()

    @property
    def is_ready(self) -> bool:
        """Whether a prediction would be worked on now."""
        return any(device.is_ready for device in self.devices) and self._depth() < self.queue

    def close(self) -> None:
        """Finish what runs, and end the devices."""
        for device in self.devices:
            device.close()

    # Patches

    def has_patch(self, user: str, digest: str) -> bool:
        """Whether a patch is there."""
        with self._lock:
            return self._patches.get((user, digest)) is not None

    def put_patch(self, user: str, digest: str, voxels: Float32) -> None:
        """Keep a patch whose digest was checked; a user whose quota is used up loses the one used longest ago."""
        patch = patch_of(voxels, digest)
        with self._lock:
            if user not in self._of_user:
                self._of_user[user] = self._cache_of(user)
            self._of_user[user].put(digest, patch)
            if digest in self._of_user[user]:
                self._patches.put((user, digest), patch)

    # Predictions

    def predict(self, user: str, digest: str, question: Question) -> Running | None:
        """Start a prediction on an uploaded patch; None where the patch is not there (any more).

        Raises:
            BusyError: too many wait, or the user's quota is used up.
            UnavailableError: no device works at the moment.
        """
        with self._lock:
            patch = self._patches.get((user, digest))
            if patch is not None and user in self._of_user:
                self._of_user[user].get(digest)
        self.metrics.looked_up("patch", patch is not None)
        if patch is None:
            return None
        return self.start(Job(question.model, patch, question.prompts), user, question.request, question.turn)

    def start(self, job: Job, user: str, request: str, turn: Turn | None = None) -> Running:
        """Start a prediction; see `predict`. An older one of the same session is cancelled."""
        device = self._device_for(job.patch.digest)
        with self._lock:
            mine = [r for r in self._running if r.user == user]
            older = [r for r in mine if turn and r.turn and r.turn.session == turn.session]
            if any(r.turn.number > turn.number for r in older if r.turn and turn):
                raise PredictionCancelled("A newer request of the same session has overtaken this one.")
            self._check_quota(user, len(mine) - len(older))
            running = Running(job, device, device.submit(job), user, request, turn)
            self._running.append(running)
        running.future.add_done_callback(lambda _: self._finish(running))
        for superfluous in older:
            superfluous.cancel()
        return running

    def cancel(self, user: str, request: str) -> bool:
        """Stop a prediction; whether there was one."""
        with self._lock:
            found = [r for r in self._running if (r.user, r.request) == (user, request)]
        for running in found:
            running.cancel()
        return bool(found)

    def _device_for(self, digest: str) -> Device:
        """Choose the device that has had this patch before, or the next one that works."""
        home = int(digest[:8], 16) % len(self.devices)
        for device in [*self.devices[home:], *self.devices[:home]]:
            if device.is_ready:
                return device
        raise UnavailableError("No device works at the moment.")

    def _check_quota(self, user: str, running: int) -> None:
        if len(self._running) >= self.queue:
            raise BusyError("The server is busy.")
        quota = self._quota(user)
        if running >= quota.waiting:
            raise BusyError("Too many predictions of this key are under way.")
        now = time.monotonic()  # a bucket that empties with time: each prediction costs a share of a minute
        cost = 60.0 / quota.per_minute if quota.per_minute else 0.0
        spent = max(self._spent.get(user, 0.0), now - 60.0)
        if spent + cost > now + 1e-6 and cost:
            raise BusyError("The predictions per minute of this key are used up.")
        self._spent[user] = spent + cost

    def _quota(self, user: str) -> Quota:
        return self._quotas.get(user, NO_QUOTA)

    def _finish(self, running: Running) -> None:
        with self._lock:
            self._running.remove(running)
        if running.future.exception() is None:
            self.metrics.predicted(running.future.result().seconds)

    def _cache_of(self, user: str) -> LRUCache[Patch]:
        """Make the cache that bounds a user's share; what it drops is dropped from the common one."""

        def drop(digest: Hashable, _: Patch) -> None:
            self._patches.pop((user, digest))

        return LRUCache(self._quota(user).patches_mib * MIB, _patch_bytes, drop)

    def _dropped(self, key: Hashable, _: Patch) -> None:
        user, digest = cast(tuple[str, str], key)
        if user in self._of_user:
            self._of_user[user].pop(digest)

    def _depth(self) -> int:
        return len(self._running)

    def _device_bytes(self) -> int:
        return sum(self._held_by(device).device for device in self.devices)

    def _watch_memory(self) -> None:
        metrics, patches = self.metrics, self._patches
        metrics.watch_process("server", resident_bytes)
        metrics.watch_cache("patches", lambda: patches.bytes, lambda: patches.max_bytes)
        for n, device in enumerate(self.devices):
            metrics.watch_process(f"worker {n}", partial(self._resident_of, device))
        for cache in ("embeddings", "logits"):
            metrics.watch_cache(cache, partial(self._of_all, cache, 0), partial(self._of_all, cache, 1))

    def _of_all(self, cache: str, which: int) -> int:
        return sum(self._held_by(device).caches.get(cache, (0, 0))[which] for device in self.devices)

    def _resident_of(self, device: Device) -> int:
        return self._held_by(device).resident

    @staticmethod
    def _held_by(device: Device) -> Held:
        return getattr(device, "held", NOTHING)


class EnginePredictor:
    """A predictor that asks an engine of the same process, on behalf of a user; for sessions that live on the server.

    Args:
        engine: does the work.
        user: whose quota counts.
        model: its name.
    """

    def __init__(self, engine: Engine, user: str, model: str) -> None:
        self._engine, self._user, self._model = engine, user, model
        self.name = engine.models[model].title
        self.preset = engine.models[model].preset
        self.capabilities = engine.models[model].capabilities

    def predict(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        """Apply a box and clicks in order; see `Predictor.predict`.

        Raises:
            BusyError, UnavailableError, WorkerError: see `Engine.predict`.
        """
        prompts.check(self.preset)
        cancellation = cancellation or Cancellation()
        cancellation.check()
        job = Job(self._model, patch, prompts)
        running = self._engine.start(job, self._user, f"internal{job.number}")
        with cancellation.calling(running.cancel):
            return running.future.result()


def _patch_bytes(patch: Patch) -> int:
    return patch.voxels.nbytes
