"""Models, patches and predictions of the server: who may ask for how much, and which device answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchPrompts, Prediction
from sammed3d.server.compute.admission import Admission, BusyError, Shared
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.user_cache import UserCache
from sammed3d.server.compute.worker import UnavailableError
from sammed3d.server.compute.worker_process import NOTHING, Held, patch_of
from sammed3d.server.http.keys import Quota
from sammed3d.server.memory import resident_bytes
from sammed3d.server.metrics import Metrics
from sammed3d.wire.messages import ModelInfo, Question, Turn

MIB = 2**20
MASKS = 8
"""The part of the room for patches that is for mask prompts and answers: one in so many."""


class Device(Protocol):
    """What works on jobs: a `Worker` process, or a `Scheduler` of this process."""

    @property
    def is_ready(self) -> bool: ...

    def submit(self, job: Job) -> Future[Prediction]: ...

    def cancel(self, job: Job) -> None: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class Running:
    """A prediction under way: `future` ends with it, with PredictionCancelled, WorkerError or BusyError.

    Attributes:
        job, device: the job and the device that it runs on.
        user, request, turn: the user, the request's id and its turn.
        future: ends after the engine has taken note.
        displaced: why it had to make room for another user's, if it had.
    """

    job: Job
    device: Device
    user: str
    request: str
    turn: Turn | None
    future: Future[Prediction] = field(default_factory=Future)
    displaced: BusyError | None = None

    def cancel(self) -> None:
        """Stop it."""
        self.device.cancel(self.job)


class Engine:
    """Keep uploaded patches for a while, and run predictions on them.

    Args:
        models: the models that are served; the first is the default.
        devices: the devices that they run on; a patch always goes to the same one, so that its embedding is made once.
        cache_mib: bound of the patches that are kept, all users together, and of mask prompts and
            answers, which have a part of it.
        queue: predictions that may wait or run; more are refused.
        quotas: quotas by user; a user who is not named has none.
        metrics: the counters.
        shared: quotas that are kept together with other servers; None for a server alone.

    A user sees only patches, mask prompts and answers that came, or were asked for, with the same key.
    """

    def __init__(
        self,
        models: Sequence[ModelInfo],
        devices: Sequence[Device],
        cache_mib: int = 1024,
        queue: int = 32,
        quotas: Mapping[str, Quota] | None = None,
        metrics: Metrics | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.models = {model.name: model for model in models}
        self.devices = list(devices)
        self._admission = Admission(queue, quotas or {}, len(devices), shared)
        self.metrics = metrics or Metrics()
        masks = cache_mib * MIB // MASKS
        self._patches = UserCache(
            cache_mib * MIB - masks, _patch_bytes, lambda u: self._admission.quota(u).patches_mib * MIB
        )
        self._masks = UserCache(masks, _bytes, lambda u: self._admission.quota(u).patches_mib * MIB // MASKS)
        self._running: list[Running] = []
        self._lock = threading.Lock()
        self.metrics.watch(self._depth, self._device_bytes)
        self._watch_memory()

    @property
    def is_ready(self) -> bool:
        """Whether a prediction would be worked on now."""
        return any(device.is_ready for device in self.devices) and self._depth() < self._admission.queue

    def running(self) -> Counter[str]:
        """Count the predictions that wait or run, by user."""
        with self._lock:
            return Counter(r.user for r in self._running)

    def close(self) -> None:
        """Finish what runs, and end the devices."""
        for device in self.devices:
            device.close()

    # Patches

    def has_patch(self, user: str, digest: str) -> bool:
        """Whether a patch is there."""
        with self._lock:
            return self._patches.get(user, digest) is not None

    def put_patch(self, user: str, digest: str, voxels: Float32) -> None:
        """Keep a patch whose digest was checked; a user whose quota is used up loses the one used longest ago."""
        patch = patch_of(voxels, digest)
        with self._lock:
            self._patches.put(user, digest, patch)

    # Mask prompts, and answers that may become some

    def mask(self, user: str, digest: str) -> Float32 | None:
        """Return logits that were kept; None where they are not there (any more)."""
        with self._lock:
            mask = self._masks.get(user, digest)
        self.metrics.looked_up("mask", mask is not None)
        return mask

    def keep_mask(self, user: str, digest: str, mask: Float32) -> None:
        """Keep logits by their digest, which the caller has made: a later question may name them."""
        with self._lock:
            self._masks.put(user, digest, mask)

    # Predictions

    def predict(self, user: str, digest: str, question: Question) -> Running | None:
        """Start a prediction on an uploaded patch; None where the patch is not there (any more).

        Raises:
            BusyError: too many wait, or the user's quota is used up.
            PromptError: it is a patch of another model.
            UnavailableError: no device works at the moment.
        """
        with self._lock:
            patch = self._patches.get(user, digest)
        self.metrics.looked_up("patch", patch is not None)
        if patch is None:
            return None
        takes = self.models[question.model].preset.patch_shapes
        if patch.voxels.shape not in takes:
            raise PromptError(
                f"The patch has {patch.voxels.shape} voxels. {question.model} takes {' or '.join(map(str, takes))}. "
                "Ask the model that the patch was cut for."
            )
        session = question.turn.session if question.turn else ""
        job = Job(question.model, patch, question.prompts, user=user, session=session, candidates=question.candidates)
        return self.start(job, user, question.request, question.turn)

    def start(self, job: Job, user: str, request: str, turn: Turn | None = None) -> Running:
        """Start a prediction; see `predict`. An older one of the same session is cancelled.

        Where there is no room, the newest one of the user who has most makes room for a user who has fewer. Quotas that
        are shared are asked for meanwhile, and what needs the lock waits for that: never call it in an event loop.
        """
        device = self._device_for(job.patch.digest)
        with self._lock:
            of_user = [r for r in self._running if r.user == user]
            older = [r for r in of_user if turn and r.turn and r.turn.session == turn.session]
            if any(r.turn.number > turn.number for r in older if r.turn and turn):
                raise PredictionCancelled("A newer request of the same session has overtaken this one.")
            counts = Counter(r.user for r in self._running if r not in older)
            if (heaviest := self._admission.enter(user, counts)) is not None:
                last = [r for r in self._running if r.user == heaviest and r not in older][-1]
                last.displaced = self._admission.refusal(len(self._running))
                older.append(last)
            running = Running(job, device, user, request, turn)
            running.future.set_running_or_notify_cancel()  # from now on it ends by what the device says, only
            self._running.append(running)
            answer = device.submit(job)
        for superfluous in older:
            superfluous.cancel()
        answer.add_done_callback(lambda answer: self._finish(running, answer))
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

    def _finish(self, running: Running, answer: Future[Prediction]) -> None:
        """Take note of what a device says, then pass it on."""
        error = answer.exception()
        with self._lock:
            self._running.remove(running)
            if error is None:
                self._admission.took(sum(answer.result().seconds.get(stage, 0.0) for stage in ("encode", "decode")))
        if error is None:
            self.metrics.predicted(answer.result().seconds)
            running.future.set_result(answer.result())
        elif isinstance(error, PredictionCancelled) and running.displaced is not None:
            running.future.set_exception(running.displaced)
        else:
            running.future.set_exception(error)

    def _depth(self) -> int:
        return len(self._running)

    def _device_bytes(self) -> int:
        return sum(self._held_by(device).device for device in self.devices)

    def _watch_memory(self) -> None:
        metrics, patches, masks = self.metrics, self._patches, self._masks
        metrics.watch_process("server", resident_bytes)
        metrics.watch_cache("patches", lambda: patches.bytes, lambda: patches.max_bytes)
        metrics.watch_cache("masks", lambda: masks.bytes, lambda: masks.max_bytes)
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
            BusyError, UnavailableError, WorkerError: a reason of `Engine.predict`.
        """
        prompts.check(self.preset)
        cancellation = cancellation or Cancellation()
        cancellation.check()
        job = Job(self._model, patch, prompts, user=self._user, session=str(id(self)))
        running = self._engine.start(job, self._user, f"internal{job.number}")
        with cancellation.calling(running.cancel):
            return running.future.result()


def _patch_bytes(patch: Patch) -> int:
    return patch.voxels.nbytes


def _bytes(mask: Float32) -> int:
    return mask.nbytes
