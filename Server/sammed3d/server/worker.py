"""A process for each device: what goes wrong on a GPU ends there, and the server goes on.

The parent keeps every job until it is answered. When the process dies, or gives up after an error of the hardware,
another one is started and the jobs are sent again; one that was being worked on is tried a second time and no more.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sammed3d.errors import ModelError, PredictionCancelled, SAMMed3DError
from sammed3d.geometry import Box, Grid
from sammed3d.interpolation import Float32
from sammed3d.patch import Patch
from sammed3d.predictor import Prediction
from sammed3d.preset import Preset
from sammed3d.server.scheduler import EncodingPredictor, Job, Scheduler

log = logging.getLogger("sammed3d.server")

DEADLINE = 300.0
"""Seconds after which a job that runs means that the device hangs."""
ATTEMPTS = 2
MAX_PAUSE = 30.0
_KNOWN = 100_000


class WorkerError(Exception):
    """The device failed; the work was not done."""


@dataclass(frozen=True)
class ModelSpec:
    """A model to load in a worker.

    Attributes:
        name, title, sha256, licence: see `StoredModel`.
        path: the file of weights.
        family: how to read it, where the file does not tell.
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
        models: to load.
        device: torch device.
        batch: patches encoded together, at most; 0 for one on the CPU and four on a GPU.
        cache_mib, host_cache_mib: see `TorchPredictor`; shared by the models.
        load: makes of these settings, in the process, what it works with.
    """

    models: tuple[ModelSpec, ...]
    device: str = "auto"
    batch: int = 0
    cache_mib: int = 256
    host_cache_mib: int = 0
    load: Callable[[WorkerSettings], Loaded] = field(default_factory=lambda: load_models)


@dataclass(frozen=True, eq=False)
class Loaded:
    """Models in memory.

    Attributes:
        device: where they run.
        batch: patches encoded together, at most.
        predictors: by the model's name.
    """

    device: str
    batch: int
    predictors: dict[str, EncodingPredictor]


@dataclass(frozen=True)
class Started:
    """What a worker says of itself when it is ready: its device, and the models' presets by name."""

    device: str
    presets: dict[str, Preset]


@dataclass(eq=False)
class _Sent:
    job: Job
    future: Future[Prediction] = field(default_factory=Future)
    failures: int = 0
    started: float | None = None


class Worker:
    """A process that runs jobs on one device; starts it and waits until its models are loaded.

    Args:
        settings: for the process.
        on_restart: called whenever the process had to be replaced.

    Raises:
        ModelError: a model or the device cannot be used.
    """

    def __init__(self, settings: WorkerSettings, on_restart: Callable[[], None] = lambda: None) -> None:
        self._settings, self._on_restart = settings, on_restart
        self._lock = threading.Lock()
        self._sent: dict[int, _Sent] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._closed = threading.Event()
        self._ready = False
        self.device_bytes = 0
        self.started = self._start()
        self._reader = threading.Thread(target=self._read, name="worker", daemon=True)
        self._reader.start()
        atexit.register(self.close)  # the process does not listen to signals, so it must not be left to itself

    @property
    def is_ready(self) -> bool:
        """Whether jobs would be worked on now."""
        return self._ready

    @property
    def pid(self) -> int | None:
        """Process id."""
        return self._process.pid

    def submit(self, job: Job) -> Future[Prediction]:
        """Send a job; its future ends with WorkerError where the device failed."""
        entry = _Sent(job)
        with self._lock:
            self._sent[job.number] = entry
            self._send_job(entry)
        return entry.future

    def cancel(self, job: Job) -> None:
        """Stop a job; its future ends with PredictionCancelled."""
        with self._lock:
            self._send("cancel", job.number)

    def close(self) -> None:
        """Let the process finish what runs, and end."""
        atexit.unregister(self.close)
        self._closed.set()
        with self._lock:
            self._send("close")
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
        self._reader.join()

    # The process

    def _start(self) -> Started:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads and CUDA does not work
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, self._settings), name="sammed3d", daemon=True)
        self._process.start()
        theirs.close()
        try:
            said = self._connection.recv()
        except EOFError:
            self._process.join()
            raise ModelError(
                f"The process that runs the models ended (code {self._process.exitcode}) before they were loaded."
            ) from None
        if isinstance(said, str):
            raise ModelError(said)
        started: Started = said
        self._ready = True
        return started

    def _restart(self) -> None:
        """Replace a dead process and send it what was not answered; tries until that works or the server ends."""
        self._ready = False
        self._process.kill()
        self._process.join()
        self._connection.close()
        log.error("the worker on %s ended (code %s)", self.started.device, self._process.exitcode)
        pause = 0.5
        while not self._closed.is_set():
            self._on_restart()
            try:
                self._start()
                break
            except (ModelError, OSError) as error:
                log.error("the worker cannot be started again: %s", error)
                self._fail_all("The server's device cannot be used at the moment.")
                self._closed.wait(pause)
                pause = min(2 * pause, MAX_PAUSE)
        with self._lock:
            self._known.clear()
            for entry in list(self._sent.values()):
                entry.failures += entry.started is not None
                entry.started = None
                if entry.failures < ATTEMPTS:
                    entry.job = replace(entry.job, alone=entry.failures > 0)
                    self._send_job(entry)
                else:
                    self._sent.pop(entry.job.number)
                    entry.future.set_exception(WorkerError("The prediction failed twice on the server's device."))

    def _fail_all(self, why: str) -> None:
        with self._lock:
            entries = list(self._sent.values())
            self._sent.clear()
        for entry in entries:
            entry.future.set_exception(WorkerError(why))

    # Messages

    def _send_job(self, entry: _Sent, whole: bool = False) -> None:
        job = entry.job
        digest = job.patch.digest
        known = digest in self._known and not whole
        voxels = None if known else job.patch.voxels
        self._send("predict", job.number, job.model, digest, voxels, job.clicks, job.initial, job.alone)
        self._known[digest] = None
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _send(self, *message: Any) -> None:
        with contextlib.suppress(OSError, ValueError):  # it just died: the reader finds out, and sends again
            self._connection.send(message)

    def _read(self) -> None:
        while True:
            try:
                if self._connection.poll(1.0):
                    self._take(*self._connection.recv())
                    continue
            except (EOFError, OSError):
                if self._closed.is_set():
                    break
                self._restart()
                continue
            now = time.monotonic()
            with self._lock:
                if any(e.started is not None and now - e.started > DEADLINE for e in self._sent.values()):
                    log.error("the worker on %s hangs", self.started.device)
                    self._process.kill()
        self._fail_all("The server is shutting down.")

    def _take(self, kind: str, number: int, *rest: Any) -> None:
        with self._lock:
            entry = self._sent.get(number)
            if entry is None:
                return
            if kind == "started":
                entry.started = time.monotonic()
                return
            if kind == "patch":
                self._send_job(entry, whole=True)
                return
            if kind == "failed":  # the process ends now; the job stays, for its second attempt
                log.error("a prediction failed on %s: %s", self.started.device, rest[0])
                return
            self._sent.pop(number)
        if kind == "done":
            self.device_bytes = rest[1]
            entry.future.set_result(rest[0])
        elif kind == "cancelled":
            entry.future.set_exception(PredictionCancelled("The prediction was cancelled."))
        else:
            entry.future.set_exception(SAMMed3DError(rest[0]))


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


def _main(connection: Connection, settings: WorkerSettings) -> None:
    """Run in the process: load models, then work on what is sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        loaded = settings.load(settings)
    except SAMMed3DError as error:
        connection.send(str(error))
        return
    connection.send(Started(loaded.device, {name: p.preset for name, p in loaded.predictors.items()}))
    _Child(connection, loaded).run()


def load_models(settings: WorkerSettings) -> Loaded:
    """Load models from their files.

    Raises:
        ModelError: one of them, or the device, cannot be used.
    """
    from sammed3d.local import choose_device  # noqa: PLC0415 - torch is needed in workers alone
    from sammed3d.zoo import load_predictor  # noqa: PLC0415

    device = choose_device(settings.device)
    share = max(1, len(settings.models))
    predictors: dict[str, EncodingPredictor] = {
        spec.name: load_predictor(
            spec.path,
            device=settings.device,
            family=spec.family,
            cache_mib=settings.cache_mib // share,
            host_cache_mib=settings.host_cache_mib // share,
        )
        for spec in settings.models
    }
    return Loaded(str(device), settings.batch or (1 if device.type == "cpu" else 4), predictors)


class _Child:
    """The process's side of the conversation."""

    def __init__(self, connection: Connection, loaded: Loaded) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._scheduler = Scheduler(loaded.predictors, loaded.batch, self._say_started)

    def run(self) -> None:
        """Answer until the parent says that it is enough, or is gone."""
        while True:
            try:
                kind, *rest = self._connection.recv()
            except EOFError:
                os._exit(0)
            if kind == "close":
                break
            if kind == "cancel":
                if (job := self._jobs.get(rest[0])) is not None:
                    self._scheduler.cancel(job)
                continue
            number, model, digest, voxels, clicks, initial, alone = rest
            patch: Any = _SentBefore(digest) if voxels is None else patch_of(voxels, digest)
            job = Job(model, patch, clicks, initial, number, alone)
            self._jobs[number] = job
            self._scheduler.submit(job).add_done_callback(partial(self._answer, number))
        self._scheduler.close()

    def _say_started(self, job: Job) -> None:
        self._say("started", job.number)

    def _answer(self, number: int, future: Future[Prediction]) -> None:
        self._jobs.pop(number, None)
        error = future.exception()
        if error is None:
            self._say("done", number, future.result(), _device_bytes())
        elif isinstance(error, PredictionCancelled):
            self._say("cancelled", number)
        elif isinstance(error, _PatchNeededError):
            self._say("patch", number)
        elif isinstance(error, SAMMed3DError):
            self._say("refused", number, str(error))
        else:
            self._say("failed", number, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            os._exit(1)  # after an error of CUDA nothing in this process can be trusted any more

    def _say(self, *message: Any) -> None:
        with self._lock:
            self._connection.send(message)


def _device_bytes() -> int:
    torch = sys.modules.get("torch")  # loaded long since, unless a model does without
    return int(torch.cuda.memory_reserved()) if torch is not None and torch.cuda.is_available() else 0


def start_workers(settings: Sequence[WorkerSettings], on_restart: Callable[[], None] = lambda: None) -> list[Worker]:
    """Start several workers.

    Raises:
        ModelError: one cannot be started; those that could are ended.
    """
    workers: list[Worker] = []
    try:
        for each in settings:
            workers.append(Worker(each, on_restart))
    except ModelError:
        for worker in workers:
            worker.close()
        raise
    return workers
