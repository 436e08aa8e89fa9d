"""What happens in a worker's process: models are loaded, and jobs answered until the parent says that it is enough."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sammed3d.core.freed_memory import give_back, share_heap
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled, SAMMed3DError
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import Capabilities, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.server.compute.outbox import Outbox
from sammed3d.server.compute.scheduler import EncodingPredictor, Job, Scheduler
from sammed3d.server.memory import resident_bytes

IDLE, PATCHES = 1.0, 4
"""Seconds without questions, or new patches, after which memory that was freed goes back to the system. It has to be
cleared when it is asked for again: 0.1 s for a new patch, of which a first click needs two."""


@dataclass(frozen=True)
class ModelSpec:
    """A model to load in a worker.

    Attributes:
        name, title, sha256, licence: those of `StoredModel`.
        path: the file of weights.
        family: the way to read it, where the file does not tell.
    """

    name: str
    title: str
    sha256: str
    licence: str
    path: Path
    family: str | None = None


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker does.

    Attributes:
        models: the models to load.
        device: torch device.
        batch: patches encoded together, at most; 0 for one on the CPU and four on a GPU.
        cache_mib, host_cache_mib: those of `TorchPredictor` on a GPU; on other devices the second counts alone.
            Shared by the models.
        threads: threads of a CPU, at most; 0 for as many as there are processors.
        load: makes of these settings, in the process, what it works with.
    """

    models: tuple[ModelSpec, ...]
    device: str = "auto"
    batch: int = 0
    cache_mib: int = 256
    host_cache_mib: int = 256
    threads: int = 0
    load: Callable[[WorkerSettings], Loaded] = field(default_factory=lambda: load_models)


@dataclass(frozen=True, eq=False)
class Loaded:
    """Models in memory.

    Attributes:
        device: torch's name of the device that they run on.
        batch: patches encoded together, at most.
        predictors: predictors by the model's name.
    """

    device: str
    batch: int
    predictors: dict[str, EncodingPredictor]


@dataclass(frozen=True)
class Started:
    """What a worker says of itself when it is ready.

    Attributes:
        device: torch's name of it.
        presets: preprocessing, by the model's name.
        capabilities: capabilities by the model's name.
    """

    device: str
    presets: dict[str, Preset]
    capabilities: dict[str, Capabilities]


@dataclass(frozen=True)
class Held:
    """The memory that a worker has in use, in bytes.

    Attributes:
        device: memory on its GPU.
        resident: memory of its process.
        caches: bytes held and bound, by the cache's name, all models together.
    """

    device: int = 0
    resident: int = 0
    caches: dict[str, tuple[int, int]] = field(default_factory=dict)


NOTHING = Held()


@dataclass(frozen=True, eq=False)
class Asked:
    """A job on its way through the pipe.

    Attributes:
        number, model, prompts, alone, user, session, candidates: those of `Job`.
        digest: digest of its patch.
        voxels: its patch's voxels; None where the process has had them, or may ask for them when their turn comes.
        again: whether it did ask.
    """

    number: int
    model: str
    digest: str
    voxels: Float32 | None
    prompts: PatchPrompts
    alone: bool
    user: str
    session: str
    candidates: bool
    again: bool


class _PatchNeededError(Exception):
    """The patch was not sent along, and its embedding is gone."""


class _SentBefore:
    """Stands for a patch that the process had before; only its digest is known."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    @property
    def voxels(self) -> Float32:
        raise _PatchNeededError


def patch_of(voxels: Float32, digest: str) -> Patch:
    """Make a patch of voxels alone; where it lies in the patient is nobody's business here."""
    shape = voxels.shape[0], voxels.shape[1], voxels.shape[2]
    patch = Patch(voxels, Box((0, 0, 0), shape), Grid(shape, np.eye(4)))
    patch.__dict__["digest"] = digest  # the value of the cached property
    return patch


def main(connection: Connection, settings: WorkerSettings) -> None:
    """Run in the process: load models, then work on what is sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    share_heap()
    with contextlib.suppress(BrokenPipeError):  # the parent was stopped meanwhile, and nobody is there to work for
        try:
            loaded = _in_passing(partial(settings.load, settings))
        except SAMMed3DError as error:
            connection.send(str(error))
            return
        models = loaded.predictors.items()
        started = Started(loaded.device, {n: p.preset for n, p in models}, {n: p.capabilities for n, p in models})
        connection.send(started)
        _Child(connection, loaded).run()


def _in_passing(load: Callable[[], Loaded]) -> Loaded:
    """Load models in a thread that ends with it, and its helpers in parallel computations (OpenMP) with it.

    Each thread that computes has helpers of its own. Where there are more than processors, as there would be beside
    those of the scheduler's thread, they sleep between computations instead of waiting for the next one, and a further
    click of the default model takes a tenth longer.
    """
    with ThreadPoolExecutor(1, "load") as thread:
        return thread.submit(load).result()


def load_models(settings: WorkerSettings) -> Loaded:
    """Load models from their files.

    Raises:
        ModelError: one of them, or the device, cannot be used.
    """
    from sammed3d.predictors.device import choose_device, limit_threads  # noqa: PLC0415 - torch is needed in workers alone
    from sammed3d.zoo import load_predictor  # noqa: PLC0415

    device = choose_device(settings.device)
    if device.type == "cpu":
        limit_threads(settings.threads)
    share = max(1, len(settings.models))
    near = settings.cache_mib if device.type == "cuda" else settings.host_cache_mib
    predictors: dict[str, EncodingPredictor] = {
        spec.name: load_predictor(
            spec.path,
            device=settings.device,
            family=spec.family,
            cache_mib=near // share,
            host_cache_mib=settings.host_cache_mib // share,
        )
        for spec in settings.models
    }
    return Loaded(str(device), settings.batch or (1 if device.type == "cpu" else 4), predictors)


class _Child:
    """The process's side of the conversation."""

    def __init__(self, connection: Connection, loaded: Loaded) -> None:
        self._connection = connection
        self._outbox = Outbox(connection)
        self._jobs: dict[int, Job] = {}
        self._predictors = list(loaded.predictors.values())
        self._new_patches, self._has_encoded = 0, False
        self._scheduler = Scheduler(loaded.predictors, loaded.batch, self._say_started)

    def run(self) -> None:
        """Answer until the parent says that it is enough, or is gone.

        This thread reads and never waits for the parent to read, who may be sending.
        """
        while True:
            try:
                while not self._connection.poll(IDLE):
                    self._when_idle()
                kind, *rest = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            if kind == "close":
                break
            if kind == "cancel":
                if (job := self._jobs.get(rest[0])) is not None:
                    self._scheduler.cancel(job)
                continue
            asked: Asked = rest[0]
            voxels = asked.voxels
            patch: Any = _SentBefore(asked.digest) if voxels is None else patch_of(voxels, asked.digest)
            job = Job(
                asked.model,
                patch,
                asked.prompts,
                asked.number,
                asked.alone,
                asked.user,
                asked.session,
                asked.candidates,
            )
            self._jobs[job.number] = job
            self._scheduler.submit(job, asked.again).add_done_callback(partial(self._answer, job.number))
        self._scheduler.close()
        self._outbox.close()

    def _say_started(self, job: Job) -> None:
        self._outbox.put("started", job.number)

    def _answer(self, number: int, future: Future[Prediction]) -> None:
        self._jobs.pop(number, None)
        error = future.exception()
        if error is None:
            if "encode" in future.result().seconds:  # which takes much memory
                self._when_encoded()
            self._outbox.put("done", number, future.result(), self._held())
        elif isinstance(error, PredictionCancelled):
            self._outbox.put("cancelled", number)
        elif isinstance(error, _PatchNeededError):
            self._outbox.put("patch", number)
        elif isinstance(error, SAMMed3DError):
            self._outbox.put("refused", number, str(error))
        else:
            self._outbox.put(
                "failed", number, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
            self._outbox.close()
            os._exit(1)  # after an error of CUDA nothing in this process can be trusted any more

    def _when_encoded(self) -> None:
        """Give freed memory back to the system after some new patches; what the last one took may be in use still."""
        self._new_patches += 1
        self._has_encoded = True
        if self._new_patches >= PATCHES:
            self._new_patches = 0
            give_back()

    def _when_idle(self) -> None:
        """Give back what is left of new patches; end where answers cannot be sent any more."""
        if not self._outbox.is_working:
            os._exit(1)
        if self._has_encoded:
            self._new_patches, self._has_encoded = 0, False
            give_back()

    def _held(self) -> Held:
        caches: dict[str, tuple[int, int]] = {}
        for predictor in self._predictors:
            for name, numbers in getattr(predictor, "cache_bytes", dict)().items():
                held, most = caches.get(name, (0, 0))
                caches[name] = held + numbers[0], most + numbers[1]
        return Held(_device_bytes(), resident_bytes(), caches)


def _device_bytes() -> int:
    torch = sys.modules.get("torch")  # loaded long since, unless a model does without
    return int(torch.cuda.memory_reserved()) if torch is not None and torch.cuda.is_available() else 0
