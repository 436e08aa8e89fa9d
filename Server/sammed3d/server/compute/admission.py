"""Who may ask for another prediction, and when who may not should ask again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sammed3d.server.http.keys import NO_QUOTA, Quota

LONGEST = 60.0
"""Seconds after which asking again is worth while in any case."""
MEMORY = 0.9
"""Weight of what was before, in the mean time of a prediction."""


class BusyError(Exception):
    """Too many predictions wait already, or this user asked for too many; says which.

    Attributes:
        seconds: after which asking again makes sense.
    """

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.seconds = min(LONGEST, max(0.0, seconds))

    @property
    def headers(self) -> dict[str, str]:
        """For the answer: whole seconds, at least one."""
        return {"Retry-After": str(max(1, math.ceil(self.seconds)))}


class Buckets:
    """The predictions per minute of users: buckets that empty with time; each prediction costs a share of a minute.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.monotonic())  # noqa: PLW0108 - looked up at each call
        self._spent: dict[str, float] = {}

    def take(self, user: str, per_minute: int) -> float:
        """Take a prediction; returns 0, or the seconds after which there is room for one. 0 a minute is no limit."""
        if not per_minute:
            return 0.0
        now, cost = self._clock(), 60.0 / per_minute
        spent = max(self._spent.get(user, 0.0), now - 60.0)
        if spent + cost > now + 1e-6:
            return spent + cost - now
        self._spent[user] = spent + cost
        return 0.0


class Shared(Protocol):
    """Quotas that several servers keep together; see `Ledger.charge`."""

    def charge(self, user: str, running: int, quota: Quota) -> tuple[int, float]: ...


class Admission:
    """Let predictions in. Not thread-safe.

    Args:
        queue: predictions that may wait or run.
        quotas: quotas by user; a user who is not named has none.
        devices: number of devices that work on them.
        shared: quotas that are kept together with other servers; None for a server alone.
    """

    def __init__(self, queue: int, quotas: Mapping[str, Quota], devices: int, shared: Shared | None = None) -> None:
        self.queue = queue
        self._quotas, self._devices = dict(quotas), max(1, devices)
        self._shared, self._buckets = shared, Buckets()
        self._seconds = 1.0

    def quota(self, user: str) -> Quota:
        """Return what a user may ask for."""
        return self._quotas.get(user, NO_QUOTA)

    def took(self, seconds: float) -> None:
        """Note how long a prediction took, its waiting left out."""
        self._seconds = MEMORY * self._seconds + (1 - MEMORY) * seconds

    def enter(self, user: str, running: Mapping[str, int]) -> str | None:
        """Let a user's prediction in.

        Args:
            user: name of the user who asks.
            running: predictions that wait or run, by user; none is 0.

        Returns:
            A user whose newest prediction has to make room, if there is no other: one who has two more than this one.

        Raises:
            BusyError: there is no room, or a quota is used up.
        """
        makes_room = None
        if sum(running.values()) >= self.queue:
            makes_room = max(running, key=lambda name: running[name])
            if running[makes_room] <= running.get(user, 0) + 1:
                raise self.refusal(sum(running.values()))
        self._charge(user, running.get(user, 0))
        return makes_room

    def refusal(self, depth: int) -> BusyError:
        """Say that the server is busy, and until when: what waits now is half done by then."""
        return BusyError("The server is busy.", self._seconds * depth / (2 * self._devices))

    def _charge(self, user: str, running: int) -> None:
        quota = self.quota(user)
        if quota == NO_QUOTA:
            return
        elsewhere, wait = 0, 0.0
        if self._shared is not None:
            elsewhere, wait = self._shared.charge(user, running, quota)
        if running + elsewhere >= quota.waiting:
            raise BusyError("Too many predictions of this key are under way.", self._seconds)
        if self._shared is None:
            wait = self._buckets.take(user, quota.per_minute)
        if wait:
            raise BusyError("The predictions per minute of this key are used up.", wait)
