"""In which order one device works: users in turn, cheap clicks before new patches, those several at a time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import PredictionCancelled
from sammed3d.inference.patch import Patch
from sammed3d.inference.picture_candidates import weighed
from sammed3d.inference.predictor import PatchPrompts, Prediction, Predictor
from sammed3d.server.compute.turns import Turns

_numbers = itertools.count()


class EncodingPredictor(Predictor, Protocol):
    """A predictor whose encoder can be run ahead, on several patches at once; see `TorchPredictor`."""

    def is_encoded(self, digest: str) -> bool: ...

    def encode(self, patches: Sequence[Patch], cancellation: Cancellation | None = None) -> float: ...


@dataclass(frozen=True, eq=False)
class Job:
    """A prediction to make.

    Attributes:
        model: its name.
        patch, prompts: arguments of `Predictor.predict`.
        number: tells jobs of this process apart.
        alone: never encode its patch together with others, for it failed before.
        user, session: the user and the session that wait, for taking turns.
        candidates: whether all masks that the model weighs are wanted.
    """

    model: str
    patch: Patch
    prompts: PatchPrompts
    number: int = field(default_factory=_numbers.__next__)
    alone: bool = False
    user: str = ""
    session: str = ""
    candidates: bool = False


@dataclass(eq=False)
class _Waiting:
    job: Job
    arrival: int
    future: Future[Prediction] = field(default_factory=Future)
    cancellation: Cancellation = field(default_factory=Cancellation)
    since: float = field(default_factory=time.perf_counter)
    encoded: bool = False
    first: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def user(self) -> str:
        """Who waits."""
        return self.job.user

    @property
    def session(self) -> str:
        """Which of the user's sessions; a job without one is its own."""
        return self.job.session or str(self.job.number)


class Scheduler:
    """Run jobs on one device, in a thread of its own.

    Args:
        predictors: predictors by the model's name.
        batch: patches that are encoded together, at most. One on a CPU, where more gains nothing.
        on_start: called when work on a job begins, in the scheduler's thread.

    Users take turns, and the sessions of a user too; see `Turns`. Of one user's jobs, those whose patch is encoded
    already go first, since they take a hundredth of the time of the others.
    """

    def __init__(
        self,
        predictors: Mapping[str, EncodingPredictor],
        batch: int = 1,
        on_start: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self._predictors = dict(predictors)
        self._batch, self._on_start = batch, on_start
        self._turns = Turns()
        self._waiting: list[_Waiting] = []
        self._running: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether jobs would be worked on now."""
        return self._thread.is_alive() and not self._closed

    def submit(self, job: Job, first: bool = False) -> Future[Prediction]:
        """Queue a job; `first` where its turn has come already."""
        with self._changed:
            entry = _Waiting(job, self._turns.now(), first=first)
            self._waiting.append(entry)
            self._changed.notify()
        return entry.future

    def cancel(self, job: Job) -> None:
        """Stop a job; its future ends with PredictionCancelled, at once where it waits for its turn."""
        with self._changed:
            for entry in [*self._waiting, *self._running]:
                if entry.job.number == job.number:
                    entry.cancellation.cancel()
            dropped = self._drop_cancelled()
            self._changed.notify()
        _end_cancelled(dropped)

    def close(self) -> None:
        """Finish what runs, cancel what waits, and end."""
        with self._changed:
            self._closed = True
            for entry in self._waiting:
                entry.cancellation.cancel()
            dropped = self._drop_cancelled()
            self._changed.notify()
        _end_cancelled(dropped)
        self._thread.join()

    def _work(self) -> None:
        while (step := self._next_step()) is not None:
            entries, ready = step
            for entry in entries:
                self._on_start(entry.job)
            if ready:
                self._predict(entries[0])
            else:
                self._encode(entries)
            with self._changed:
                self._running = []

    def _next_step(self) -> tuple[list[_Waiting], bool] | None:
        """Wait for work; returns what to do next and whether it only needs the decoder. None at the end."""
        with self._changed:
            while True:
                if self._waiting:
                    break
                if self._closed:
                    return None
                self._changed.wait()
            begun = [entry for entry in self._waiting if entry.encoded or entry.first]  # its turn is not over
            first = begun[0] if begun else self._turns.next(self._waiting, self._is_encoded)
            if self._is_encoded(first):
                self._turns.took(first)
                self._waiting.remove(first)
                self._running = [first]
                return [first], True
            self._running = self._to_encode(first)
            for entry in self._running:
                self._turns.took(entry)
            return self._running, False

    def _to_encode(self, first: _Waiting) -> list[_Waiting]:
        """Choose jobs whose patches go through the encoder together: one, and its like."""
        chosen = {first.job.patch.digest: first}
        if not first.job.alone:
            for entry in self._turns.in_order(self._waiting):
                if entry.job.model == first.job.model and not entry.job.alone and len(chosen) < self._batch:
                    chosen.setdefault(entry.job.patch.digest, entry)
        return list(chosen.values())

    def _drop_cancelled(self) -> list[_Waiting]:
        """Take cancelled jobs out of those that wait; returns them, to be ended without the lock."""
        dropped = [entry for entry in self._waiting if entry.cancellation.is_cancelled]
        for entry in dropped:
            self._waiting.remove(entry)
        return dropped

    def _is_encoded(self, entry: _Waiting) -> bool:
        return entry.encoded or self._predictors[entry.job.model].is_encoded(entry.job.patch.digest)

    def _encode(self, entries: list[_Waiting]) -> None:
        """Encode the patches of some jobs, which go on waiting, with a short way to go."""
        try:
            patches = [entry.job.patch for entry in entries]
            together = _AllCancelled([entry.cancellation for entry in entries])
            seconds = self._predictors[entries[0].job.model].encode(patches, together)
        except PredictionCancelled:
            return
        except Exception as error:  # whoever waits has to know
            with self._changed:
                failed = [entry for entry in entries if entry in self._waiting]
                for entry in failed:
                    self._waiting.remove(entry)
            for entry in failed:
                entry.future.set_exception(error)
            return
        for entry in entries:
            entry.encoded = True
            entry.seconds["encode"] = seconds

    def _predict(self, entry: _Waiting) -> None:
        job = entry.job
        begin = time.perf_counter()
        try:
            predictor = self._predictors[job.model]
            if job.candidates:
                found = weighed(predictor, job.patch, job.prompts, entry.cancellation)
                done = replace(found[0], candidates=found)
            else:
                done = predictor.predict(job.patch, job.prompts, entry.cancellation)
        except BaseException as error:  # whoever waits has to know
            entry.future.set_exception(error)
            return
        seconds = entry.seconds | dict(done.seconds)
        seconds["queue"] = max(0.0, begin - entry.since - entry.seconds.get("encode", 0.0))
        entry.future.set_result(replace(done, seconds=seconds))


def _end_cancelled(entries: Sequence[_Waiting]) -> None:
    """Tell who waits; without the lock, for whoever hears of it may ask for something else."""
    for entry in entries:
        entry.future.set_exception(PredictionCancelled("The prediction was cancelled; nothing was changed."))


class _AllCancelled(Cancellation):
    """Cancelled once all of several are."""

    def __init__(self, members: Sequence[Cancellation]) -> None:
        super().__init__()
        self._members = members

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return all(member.is_cancelled for member in self._members)
