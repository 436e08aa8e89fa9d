"""Who has which process: a place for each user, as long as there are places, until it is left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sammed3d.errors import SAMMed3DError

PAUSE = 0.5
"""Seconds between two looks at the processes."""
WARNING = 600.0
"""Seconds before the end of a page in which nothing is done, or a quarter of its time: then its user is warned."""
REMEMBERED = 1000
"""Ended sessions of which it is known why."""
GIB = 1 << 30
NOT_STARTED = "The server cannot start a page at the moment. Try again later, or ask whoever runs it; its log says why."
log = logging.getLogger(__name__)


class FullError(SAMMed3DError):
    """All places are taken."""


class Process(Protocol):
    """What a place needs of a process; see `process.UserProcess`."""

    address: str
    headers: dict[str, str]
    error: str

    @property
    def ended(self) -> bool: ...
    @property
    def ending(self) -> bool: ...
    @property
    def status(self) -> int | None: ...
    @property
    def memory(self) -> int: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    """What users may take.

    Attributes:
        users: at a time.
        memory: bytes for each process.
        idle: seconds after which a page that was closed gives its place back.
        untouched: the same for one that is open, in which nothing is done.
    """

    users: int
    memory: int = 4 * GIB
    idle: float = 900.0
    untouched: float = 14400.0


@dataclass
class Place:
    """A user's process and when it was last used.

    Attributes:
        number: what the log calls it.
        process: started by who enters.
        open: requests and websockets under way.
        left: when the last of them ended.
        touched: when the user last did something.
    """

    number: int
    process: Process
    open: int = 0
    began: float = field(default_factory=time.monotonic)
    left: float = field(default_factory=time.monotonic)
    touched: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        """Whether its page answers."""
        return bool(self.process.address) and not (self.process.ending or self.process.ended)

    def touch(self) -> None:
        """Note that the user did something."""
        self.touched = time.monotonic()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Note that something is under way."""
        self.open += 1
        self.touch()
        try:
            yield
        finally:
            self.open -= 1
            self.left = time.monotonic()


class Users:
    """All places.

    Args:
        limits: how many, and what each may take.
        new_process: makes the process of a place from its number; not started yet.
    """

    def __init__(self, limits: Limits, new_process: Callable[[int], Process]) -> None:
        self._limits, self._new_process = limits, new_process
        self._places: dict[str, Place] = {}
        self._endings: OrderedDict[str, str] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._entered = 0
        self._closed = False

    def place(self, user: str) -> Place | None:
        """Return a user's place; None if there is none."""
        return self._places.get(user)

    def ending(self, user: str) -> str:
        """Return why a user's last process ended; "" if that is not known."""
        return self._endings.get(user, "")

    def enter(self, user: str) -> Place:
        """Return a user's place, a new one whose process starts if there is none.

        Raises:
            FullError: all places are taken, or the server stops.
        """
        place = self._places.get(user)
        if place is not None:
            return place
        if self._closed:
            raise FullError("This server is being stopped. Try again later.")
        if len(self._places) >= self._limits.users:
            log.warning("all %d places are taken", self._limits.users)
            raise FullError(f"All {self._limits.users} places are taken. Try again later.")
        self._entered += 1
        place = self._places[user] = Place(self._entered, self._new_process(self._entered))
        self._endings.pop(user, None)
        log.info("user %d: enters, %d of %d", place.number, len(self._places), self._limits.users)
        self._do(self._start(user, place))
        return place

    def ends_in(self, place: Place) -> float:
        """Seconds until a page in which nothing is done gives its place back."""
        return max(self._limits.untouched - (time.monotonic() - place.touched), 0.0)

    @property
    def warning(self) -> float:
        """Seconds before that from which its user is warned."""
        return min(WARNING, self._limits.untouched / 4)

    def end(self, user: str) -> None:
        """Give a user's place back at once, because the user asks for it."""
        place = self._places.get(user)
        if place is not None and place.ready:
            self._leave(user, place, "You ended your page, and nothing of it is left.", "ended by its user")

    async def watch(self) -> None:
        """End what is over its limits or was left, as long as this runs."""
        while True:
            for user, place in list(self._places.items()):
                self._check(user, place)
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """End all processes; nobody enters any more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(place.process.stop() for place in self._places.values()))
        self._places.clear()

    async def _start(self, user: str, place: Place) -> None:
        try:
            await place.process.start()
        except Exception as error:  # of the system, mostly; whatever it is, the place must not stay taken
            log.error("user %d: the page cannot be started: %s", place.number, error)
            await place.process.stop()
            self._free(user, place, NOT_STARTED)
            return
        place.left = place.touched = time.monotonic()
        if place.process.error:
            self._free(user, place, place.process.error)
        else:
            log.info("user %d: ready after %.1f s", place.number, time.monotonic() - place.began)

    def _check(self, user: str, place: Place) -> None:
        process, limits, now = place.process, self._limits, time.monotonic()
        if not process.address or process.ending:
            return
        if process.ended:
            lost = "Your page ended unexpectedly, and with it what was not downloaded."
            self._leave(user, place, lost, f"exit status {process.status}")
        elif process.memory > limits.memory:
            most = f"{limits.memory / GIB:.3g} GiB"
            words = f"Your page needed more than {most} of memory and was ended. Open a smaller image."
            self._leave(user, place, words, f"more than {most}")
        elif not place.open and now - place.left > limits.idle:
            words = f"Your page was closed for more than {_minutes(limits.idle)} and has ended."
            self._leave(user, place, words, "idle")
        elif now - place.touched > limits.untouched:
            words = f"Nothing was done in your page for more than {_minutes(limits.untouched)}, and it has ended."
            self._leave(user, place, words, "untouched")

    def _leave(self, user: str, place: Place, words: str, cause: str) -> None:
        minutes = (time.monotonic() - place.began) / 60
        log.info("user %d: ends after %.1f minutes: %s", place.number, minutes, cause)
        self._do(self._stop(user, place, words))

    async def _stop(self, user: str, place: Place, words: str) -> None:
        await place.process.stop()
        self._free(user, place, words)

    def _free(self, user: str, place: Place, words: str) -> None:
        if self._places.get(user) is place:
            del self._places[user]
        self._endings[user] = words
        while len(self._endings) > REMEMBERED:
            self._endings.popitem(last=False)

    def _do(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.3g} minute{'' if seconds == 60 else 's'}"
