"""A process for each device: what goes wrong on a GPU ends there, and the server goes on.

The parent keeps every job until it is answered. When the process dies, or gives up after an error of the hardware,
another one is started and the jobs are sent again; one that was being worked on is tried a second time and no more.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from sammed3d.errors import ModelError, PredictionCancelled, SAMMed3DError
from sammed3d.inference.predictor import Prediction
from sammed3d.server.compute import worker_process
from sammed3d.server.compute.outbox import Outbox
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker_process import NOTHING, Asked, Started, WorkerSettings

log = logging.getLogger("sammed3d.server")

DEADLINE = 300.0
"""Seconds after which a job that runs means that the device hangs."""
STARTING = 600.0
"""Seconds in which a process has to load its models."""
ATTEMPTS = 2
MAX_PAUSE = 30.0
_KNOWN = 100_000
CARRIED = 8
"""Patches that wait in the process, at most; for others it asks when their turn comes."""


class WorkerError(Exception):
    """The device failed twice at the same work; trying again would help nobody."""


class UnavailableError(WorkerError):
    """The device does not work at the moment; later it may."""


@dataclass(eq=False)
class _Sent:
    job: Job
    future: Future[Prediction] = field(default_factory=Future)
    failures: int = 0
    started: float | None = None
    cancelled: bool = False
    carries: bool = False


class Worker:
    """A process that runs jobs on one device; starts it and waits until its models are loaded.

    Args:
        settings: the process's settings.
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
        self.held = NOTHING
        self.started = self._start()
        self._outbox = Outbox(self._connection)
        self._ready = True
        self._reader = threading.Thread(target=self._read, name="worker", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
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
        """Send a job, without waiting for the process to take it.

        Its future ends with WorkerError or UnavailableError where the device failed.
        """
        entry = _Sent(job)
        with self._lock:
            self._sent[job.number] = entry
            self._send_job(entry)
        return entry.future

    def cancel(self, job: Job) -> None:
        """Stop a job; its future ends with PredictionCancelled."""
        with self._lock:
            if (entry := self._sent.get(job.number)) is not None:
                entry.cancelled = True
                self._outbox.put("cancel", job.number)

    def close(self) -> None:
        """Let the process finish what runs, and end."""
        atexit.unregister(self.close)
        self._closed.set()
        with self._lock:
            self._outbox.put("close")
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
        self._reader.join()
        self._outbox.close()
        self._connection.close()

    # The process

    def _start(self) -> Started:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads and CUDA does not work
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=worker_process.main, args=(theirs, self._settings), name="sammed3d", daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            if not self._connection.poll(STARTING):
                self._process.kill()
                self._process.join()
                raise ModelError(f"The process that runs the models has not loaded them within {STARTING:g} seconds.")
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise ModelError(
                f"The process that runs the models ended (code {self._process.exitcode}) before they were loaded."
            ) from None
        if isinstance(answer, str):
            raise ModelError(answer)
        started: Started = answer
        return started

    def _restart(self) -> None:
        """Replace a dead process and send it what was not answered; tries until that works or the server ends."""
        with self._lock:  # from now on the process is nothing to watch over
            self._ready = False
        self._process.kill()
        self._process.join()
        self._outbox.close()
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
        given_up: list[tuple[_Sent, Exception]] = []
        with self._lock:
            self._outbox = Outbox(self._connection)
            self._known.clear()
            for entry in list(self._sent.values()):
                entry.failures += entry.started is not None
                entry.started = None
                if entry.cancelled:
                    given_up.append((entry, PredictionCancelled("The prediction was cancelled.")))
                elif entry.failures >= ATTEMPTS:
                    given_up.append((entry, WorkerError("The prediction failed twice on the server's device.")))
                else:
                    entry.job = replace(entry.job, alone=entry.failures > 0)
                    self._send_job(entry)
            for entry, _ in given_up:
                self._sent.pop(entry.job.number)
            self._ready = True
            if self._closed.is_set():
                self._outbox.put("close")
        for entry, why in given_up:  # without the lock: whoever hears of it may ask for something else
            entry.future.set_exception(why)

    def _fail_all(self, why: str) -> None:
        with self._lock:
            entries = list(self._sent.values())
            self._sent.clear()
        for entry in entries:
            entry.future.set_exception(UnavailableError(why))

    # Messages

    def _send_job(self, entry: _Sent, whole: bool = False) -> None:
        job = entry.job
        digest = job.patch.digest
        known = digest in self._known and not whole
        entry.carries = False
        entry.carries = whole or (not known and sum(e.carries for e in self._sent.values()) < CARRIED)
        voxels = job.patch.voxels if entry.carries else None
        asked = Asked(
            job.number, job.model, digest, voxels, job.prompts, job.alone, job.user, job.session, job.candidates, whole
        )
        self._outbox.put("predict", asked)
        if voxels is None:
            return
        self._known[digest] = None
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                if self._closed.is_set():
                    break
                self._restart()
                continue
            self._take(*message)
        self._fail_all("The server is shutting down.")

    def _watch(self) -> None:
        """End a process that hangs, or that nothing can be sent to; who reads from it finds out, and replaces it."""
        while not self._closed.wait(1.0):
            now = time.monotonic()
            with self._lock:
                hangs = any(e.started is not None and now - e.started > DEADLINE for e in self._sent.values())
                if self._ready and hangs:
                    log.error("the worker on %s hangs", self.started.device)
                if self._ready and (hangs or not self._outbox.is_working):
                    self._process.kill()

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
            self.held = rest[1]
            entry.future.set_result(rest[0])
        elif kind == "cancelled":
            entry.future.set_exception(PredictionCancelled("The prediction was cancelled."))
        else:
            entry.future.set_exception(SAMMed3DError(rest[0]))


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
