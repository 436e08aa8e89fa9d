"""Trainings that clients ask for: `sammed3d learn` in a process of its own, one at a time, by each user's minutes.

The administrator says from which cases is learnt and how long; clients choose the model and the result's name. What
they are told of a training is its progress, never a path.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sammed3d.errors import SAMMed3DError
from sammed3d.files.outputs import RESERVED
from sammed3d.server.compute.admission import BusyError
from sammed3d.server.http.keys import Quota

log = logging.getLogger("sammed3d.training")

DAY = 86400.0
REMEMBERED = 16
"""Trainings that are told of after their end."""
LINES = 20
"""Of progress, of each training."""
GRACE = 20.0
"""Seconds in which a training may end by itself when it is stopped."""
NICENESS = 10
"""Predictions go before."""
PROGRESS = r"measuring |before: |[\d.]+ of [\d.]+ minutes"
"""What `sammed3d learn` says that clients are told."""
NAME = r"[a-z0-9_]{1,64}"


class TrainingError(SAMMed3DError):
    """A wish that cannot be fulfilled; says why."""


class NoTrainingError(SAMMed3DError):
    """There is none of which it is asked."""


@dataclass(eq=False)
class Training:
    """A training.

    Attributes:
        user: who asked for it.
        model, name, minutes: what it learns from, what the result is called, and for how long it learns.
        identity: a random word by which clients know it.
        began, ended: POSIX time, for people; None before the end.
        started, stopped: the same by a clock that is never set, for quotas.
        status: RUNNING, DONE, STOPPED or ERROR, as MONAI Label has them.
        progress: share of the minutes, 0..1.
        details: lines for people.
    """

    user: str
    model: str
    name: str
    minutes: float
    identity: str = field(default_factory=lambda: secrets.token_hex(16))
    began: float = field(default_factory=time.time)
    ended: float | None = None
    started: float = field(default_factory=time.monotonic)
    stopped: float | None = None
    status: str = "RUNNING"
    progress: float = 0.0
    details: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))

    @property
    def charged(self) -> float:
        """Minutes that count against the user's: those that it took, all that it may take while it runs."""
        return self.minutes if self.stopped is None else (self.stopped - self.started) / 60

    def described(self) -> dict[str, Any]:
        """Return what clients are told, as MONAI Label tells it."""
        request = {"model": self.model, "name": self.name, "minutes": self.minutes}
        told: dict[str, Any] = {"id": self.identity, "status": self.status, "request": request}
        told |= {"start_ts": _stamp(self.began), "progress": round(self.progress, 3), "details": list(self.details)}
        return told if self.ended is None else told | {"end_ts": _stamp(self.ended)}


class Trainings:
    """All trainings of a server.

    Args:
        data: dataset of the cases; see `sammed3d learn`.
        folder: folder for the runs; each goes on where one of the same name stopped.
        models: what is learnt from by the names that clients use; names of installed models, or files.
        minutes: how long a training may take at most.
        quota: tells what a user may ask for.
        device: torch device.
        command: makes the command line of a training; that of `sammed3d learn` if left out.
    """

    def __init__(
        self,
        data: Path,
        folder: Path,
        models: Mapping[str, str],
        minutes: float,
        quota: Callable[[str], Quota],
        device: str = "auto",
        command: Callable[[Training], Sequence[str]] | None = None,
    ) -> None:
        self._data, self._folder, self.models, self.minutes = data, folder, dict(models), minutes
        self._quota, self._device, self._command = quota, device, command or self.learn_command
        self._known: deque[Training] = deque(maxlen=REMEMBERED)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._spent: deque[Training] = deque()  # within a day, by whose charge quotas are judged
        self._lock = threading.Lock()

    def start(self, user: str, model: str, wishes: Mapping[str, Any]) -> dict[str, Any]:
        """Start a training, and describe it.

        Args:
            user: who asks.
            model: one of `models`.
            wishes: "name" of the result and "minutes"; the rest of what MONAI Label's clients send means nothing here.

        Raises:
            NoTrainingError: there is no such model.
            TrainingError: a wish cannot be fulfilled.
            BusyError: one is running, or the user's minutes of the day are used up.
        """
        if model not in self.models:
            raise NoTrainingError("There is no such model. See 'trainers' in /info/.")
        now = datetime.now(UTC)
        name, minutes = wishes.get("name") or f"learnt_{now:%Y%m%d_%H%M%S}", wishes.get("minutes", self.minutes)
        if not isinstance(name, str) or not re.fullmatch(NAME, name) or name in RESERVED:
            raise TrainingError("'name' is no name of a model: up to 64 lower-case letters, digits and underscores.")
        if type(minutes) not in (int, float) or not 0 < minutes <= self.minutes:
            raise TrainingError(f"'minutes' is a number above 0 and at most {self.minutes:g} here.")
        training = Training(user, model, name, float(minutes))
        with self._lock:
            if self._running is not None:
                raise BusyError("A training is running already; there is one at a time.", 60 * self._running.minutes)
            self._charge(training)
            self._process = self._started(training)
            self._known.append(training)
            self._spent.append(training)
            self._reader = threading.Thread(target=self._follow, args=(training, self._process), daemon=True)
            self._reader.start()
        log.info("training %s of %s, %g minutes", training.identity, model, training.minutes)
        return training.described()

    def status(self, user: str, *, every: bool = False, running: bool = False) -> dict[str, Any] | list[dict[str, Any]]:
        """Describe the user's last training; or all of them, or the one that runs, whoever asked for it.

        Raises:
            NoTrainingError: there is none.
        """
        if running:
            current = self._running
            if current is None:
                raise NoTrainingError("No training is running.")
            mine = current.user == user
            return current.described() if mine else {"id": current.identity, "status": current.status, "details": []}
        own = [each.described() for each in list(self._known) if each.user == user]  # one may be added meanwhile
        if not own:
            raise NoTrainingError("There was no training.")
        return own if every else own[-1]

    def stop(self, user: str) -> dict[str, Any]:
        """Stop the training that runs, and describe it; the same name goes on from there later.

        Raises:
            NoTrainingError: the user has none that runs.
        """
        with self._lock:
            training, process, reader = self._running, self._process, self._reader
        if training is None or process is None or reader is None or training.user != user:
            raise NoTrainingError("No training of yours is running.")
        _end(training, process, reader)
        return training.described()

    def close(self) -> None:
        """Stop what runs."""
        with self._lock:
            training, process, reader = self._running, self._process, self._reader
        if training is not None and process is not None and reader is not None:
            _end(training, process, reader)

    @property
    def _running(self) -> Training | None:
        return self._known[-1] if self._known and self._known[-1].ended is None else None

    def _charge(self, training: Training) -> None:
        """Refuse a training for which a user has no minutes left."""
        now = time.monotonic()
        while self._spent and self._spent[0].started < now - DAY:
            self._spent.popleft()
        own = [each for each in self._spent if each.user == training.user]
        allowed = self._quota(training.user).training_minutes
        left = allowed - sum(each.charged for each in own)
        if training.minutes > left:
            wait = own[0].started + DAY - now if own else DAY
            raise BusyError(f"Of this key's {allowed} minutes of training a day {max(0.0, left):.0f} are left.", wait)

    def learn_command(self, training: Training) -> list[str]:
        """Return the command line of a training."""
        options = {
            "--name": training.name,
            "--model": self.models[training.model],
            "--minutes": str(training.minutes),
            "--run": str(self._folder / training.name),
            "--device": self._device,
        }
        words = [word for option in options.items() for word in option]
        return [sys.executable, "-m", "sammed3d.server.compute.learning_process", "learn", str(self._data), *words]

    def _started(self, training: Training) -> subprocess.Popen[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(  # noqa: S603 - no shell, and the words of clients were checked
            self._command(training),
            stdin=subprocess.PIPE,  # closes with this process, by which a training notices
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"COLUMNS": "1000", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        return process

    def _follow(self, training: Training, process: subprocess.Popen[str]) -> None:
        """Read what a training says until it ends."""
        failure = ""
        for line in process.stderr or ():
            text = line.strip()
            if text.startswith("Error: "):
                failure = text.removeprefix("Error: ")
            elif re.match(PROGRESS, text):
                training.details.append(text)
                if found := re.match(r"([\d.]+) of ([\d.]+) minutes", text):
                    training.progress = min(1.0, float(found[1]) / max(float(found[2]), 1e-9))
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if training.status == "RUNNING":
            training.status = "DONE" if code == 0 else "ERROR"
            training.progress = 1.0 if code == 0 else training.progress
            training.details.append(_told(training, code, failure))
        if failure:
            log.warning("training %s: %s", training.identity, failure)
        log.info("training %s: %s", training.identity, training.status)
        training.stopped = time.monotonic()
        training.ended = time.time()


def _end(training: Training, process: subprocess.Popen[str], reader: threading.Thread) -> None:
    """Stop a training and wait until it has ended, and was taken note of."""
    if process.poll() is None:
        training.status = "STOPPED"
        training.details.append(f"Stopped. The name {training.name!r} goes on from here.")
    for kill, patience in ((False, GRACE), (True, None)):
        _signal(process, kill)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    reader.join()


def _signal(process: subprocess.Popen[str], kill: bool) -> None:
    """Ask a process to stop, which keeps what it has learnt, or end it with those that it started.

    Without POSIX it is ended at once.
    """
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    else:
        process.kill()


def _told(training: Training, code: int, failure: str) -> str:
    """Say how a training ended; reasons are told where they are about the model, not about the server's files."""
    if code == 0:
        return f"Installed as {training.name}; the administrator serves it with --model {training.name}."
    if failure.startswith("Not installed: "):
        return failure.split(". ", 1)[0] + "."
    if "nothing did better than" in failure:
        return "Not installed: nothing did better than the model that it began with."
    if failure.startswith("There is a model named "):
        return failure
    return "It failed; the server's log says why."


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
