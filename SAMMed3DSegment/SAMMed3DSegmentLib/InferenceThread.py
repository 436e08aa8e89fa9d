"""One persistent thread that evaluates prompts, while the main thread stays free.

It touches neither MRML nor Qt: jobs go in, the same jobs come out with a mask or an error. A newer job for the same
segment replaces one that still waits. One thread for everything keeps what torch has tuned for it. In Slicer it runs
only while the main thread gives it time; see ThreadTime.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from sammed3d import Cancellation, PredictionCancelled, Predictor, SAMMed3DError
from sammed3d.errors import ModelReplacedError
from sammed3d.inference.follow_limits import Followed, can_follow, follow
from sammed3d.inference.prompt_translation import TranslatingInferer
from sammed3d.inference.session import inferer_for
from SAMMed3DSegmentLib.Job import Job

INFERERS = 2
"""Volumes (with a model each) whose patches and logits are kept."""


class InferenceThread:
    """Evaluate jobs one after the other in the background.

    Args:
        loadPredictor: from a job's `model` to a predictor; called in the thread, when a model is first used.

    Example:
        >>> thread = InferenceThread(lambda name: load_predictor(name))
        >>> thread.submit(Job("liver", volume, digest, "default", PromptState((click,))))
        >>> [job] = thread.finished()   # from a timer of the main thread; empty while it works
    """

    def __init__(self, loadPredictor: Callable[[Hashable], Predictor]) -> None:
        self._loadPredictor = loadPredictor
        self._waiting: OrderedDict[Hashable, Job] = OrderedDict()
        self._running: Job | None = None
        self._abandoned, self._began = False, 0.0
        self._done: deque[Job] = deque()
        self._condition = threading.Condition()
        self._loading = threading.Lock()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._predictor: tuple[Hashable, Predictor] | None = None
        self._inferers: OrderedDict[tuple[str, Hashable], TranslatingInferer] = OrderedDict()
        self._retired: list[object] = []  # kept until the main thread drops them, for the images that they hold

    def submit(self, job: Job) -> None:
        """Evaluate a job as soon as those before it are done."""
        with self._condition:
            if self._stopped:
                return
            self._waiting.pop(job.key, None)
            self._waiting[job.key] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="SAMMed3DSegment", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def cancel(self, key: tuple[str, ...] = ()) -> None:
        """Stop the jobs whose keys begin like one, or all; they come out at once, cancelled or with what was followed.

        What the network is in the middle of goes on to the end of its layer; nobody waits for that but the next job.
        """
        with self._condition:
            for job in [job for job in self._waiting.values() if job.key[: len(key)] == key]:
                del self._waiting[job.key]
                self._handOutCancelled(job)
            running = self._running
            if running is not None and not self._abandoned and running.key[: len(key)] == key:
                self._abandoned = True
                self._handOutCancelled(running)
            self._condition.notify_all()

    def stopFollowing(self, key: Hashable) -> bool:
        """Stop the job of a key if it follows an object; tells whether it did. It comes out with what was followed."""
        with self._condition:
            running = self._running
            if running is None or self._abandoned or running.key != key or running.followed is None:
                return False
            self._abandoned = True
            self._handOutCancelled(running)
            return True

    def finished(self) -> list[Job]:
        """Return the jobs that ended since the last call, in order; also what jobs that go on have reached."""
        with self._condition:
            jobs = list(self._done)
            self._done.clear()
            self._retired.clear()
        return jobs

    @property
    def busy(self) -> bool:
        """Whether a job runs, waits, or was not fetched yet."""
        with self._condition:
            return bool(self._waiting or self._done or (self._running and not self._abandoned))

    @property
    def working(self) -> bool:
        """Whether the thread needs time: it is busy, or on its way out of a job that was cancelled."""
        with self._condition:
            return bool(self._waiting or self._done or self._running)

    def wait(self, seconds: float) -> bool:
        """Wait until a job can be fetched, that long at most; tells whether one can. Gives up Python's lock."""
        with self._condition:
            return self._condition.wait_for(lambda: bool(self._done), seconds)

    @property
    def keys(self) -> list[Any]:
        """Keys of the jobs that run or wait, in the order in which they are evaluated."""
        with self._condition:
            running = [] if self._running is None or self._abandoned else [self._running.key]
            return [*running, *(key for key in self._waiting if key not in running)]

    @property
    def progress(self) -> tuple[float | None, float]:
        """Which share of its stage the running job has done, if that is known, and for how many seconds it has run."""
        running = self._running
        if running is None or running.cancellation.is_cancelled:
            return None, 0.0
        return running.cancellation.share, time.monotonic() - self._began

    @property
    def stage(self) -> str:
        """What the running job is doing: "load", "cut", "encode", "decode", "paint"; "" if none runs."""
        running = self._running
        return "" if running is None or running.cancellation.is_cancelled else running.cancellation.stage

    @property
    def patches(self) -> tuple[int, int]:
        """Which further patch the running job follows an object into, and of how many at most; else (0, 0)."""
        running = self._running
        return (0, 0) if running is None or running.cancellation.is_cancelled else running.cancellation.patches

    def predictorFor(self, model: Hashable, cancellation: Cancellation) -> Predictor:
        """Return the predictor of a model, loaded if it is not; from any thread. Predictions wait for it meanwhile."""
        cancellation.enter("load")
        with self._loading:  # another thread may be loading it already
            with self._condition:
                known = self._predictor
            if known is None or known[0] != model:
                known = model, self._loadPredictor(model)
                with self._condition:
                    self._predictor = known
            return known[1]

    @property
    def hasModel(self) -> bool:
        """Whether a model is loaded."""
        return self._predictor is not None

    def release(self) -> None:
        """Let go of the images that were forgotten; on the main thread, since VTK objects go with them."""
        with self._condition:
            self._retired.clear()

    def forgetModel(self) -> None:
        """Load the model anew at the next job (the device was changed, or a file replaced)."""
        with self._condition:
            self._predictor = None
            self._retired.extend(self._inferers.values())
            self._inferers.clear()

    def forgetImage(self, volumeDigest: str) -> None:
        """Let go of an image that is not needed any more."""
        with self._condition:
            for name in [name for name in self._inferers if name[0] == volumeDigest]:
                self._retired.append(self._inferers.pop(name))

    def stop(self, timeout: float = 5.0) -> None:
        """Cancel everything and end the thread."""
        self.cancel()
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopped:
                    self._condition.wait()
                if self._stopped:
                    return
                _, self._running = self._waiting.popitem(last=False)
                self._began = time.monotonic()
            self._evaluate(self._running)
            with self._condition:
                # The main thread gets the job back, and with it the last reference to the image: VTK objects must not
                # be destroyed here.
                if self._abandoned:  # it has it already
                    self._retired.append(self._running)
                else:
                    self._done.append(self._running)
                self._running, self._abandoned = None, False
                self._condition.notify_all()

    def _handOutCancelled(self, job: Job) -> None:
        job.cancelled = job.followed is None
        if job.followed is not None:
            job.followed = replace(job.followed, cancelled=True, goes_on=True)
        job.cancellation.cancel()
        self._done.append(job)

    def _evaluate(self, job: Job) -> None:
        try:
            inferer = self._infererFor(job)
            if job.question is not None:
                job.answer = job.question(inferer, job.state, job.cancellation)
                return
            job.mask, seconds = inferer.mask_of(job.state, job.cancellation)
            job.seconds |= seconds
            self._follow(job, inferer)
        except PredictionCancelled:
            job.cancelled = True
        except SAMMed3DError as error:
            if isinstance(error, ModelReplacedError):  # the next click asks the new one, about all clicks
                self.forgetModel()
            self._fail(job, str(error))
        except MemoryError:
            text = "There is not enough memory for this prediction. Close other volumes or choose a smaller model."
            self._fail(job, text)
        except Exception as error:  # whatever a driver or library throws must not end the thread
            logging.exception("A prediction failed")
            self._fail(job, f"The prediction failed: {error or type(error).__name__}")

    def _fail(self, job: Job, text: str) -> None:
        with self._condition:
            if not self._abandoned:
                job.error = text

    def _follow(self, job: Job, inferer: TranslatingInferer) -> None:
        """Follow the object beyond the patch of its last click, unless a newer click of the user's waits."""
        settings = job.following.settings
        if settings is None or not can_follow(job.state):
            return
        known = Followed(job.state, job.mask, seconds=dict(job.seconds))
        with self._condition:
            if self._abandoned or job.key in self._waiting:
                return
            job.followed = known
            if settings.mode == "always" and not job.following.alone:
                self._done.append(replace(job, partial=True))  # the click's own answer is not kept waiting
                self._condition.notify_all()
        followed = follow(inferer, known, settings, job.cancellation, lambda now: self._reached(job, now))
        self._reached(job, followed, ended=True)

    def _reached(self, job: Job, followed: Followed, ended: bool = False) -> None:
        with self._condition:
            if self._abandoned:  # it was handed out with what there was
                return
            job.followed, job.mask, job.seconds = followed, followed.mask, followed.seconds
            if not ended:
                self._done.append(replace(job, partial=True))
                self._condition.notify_all()

    def _infererFor(self, job: Job) -> TranslatingInferer:
        name = (job.volumeDigest, job.model)
        with self._condition:
            inferer, known = self._inferers.get(name), self._predictor
        if inferer is None:
            begin = time.perf_counter()
            inferer = inferer_for(job.volume, self.predictorFor(job.model, job.cancellation))
            if known is None or known[0] != job.model:
                job.seconds["load"] = time.perf_counter() - begin
        with self._condition:
            self._inferers[name] = inferer
            self._inferers.move_to_end(name)
            while len(self._inferers) > INFERERS:
                self._retired.append(self._inferers.popitem(last=False))
        return inferer
