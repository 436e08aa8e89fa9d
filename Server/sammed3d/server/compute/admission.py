"""Who may ask for another prediction, and when who may not should ask again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

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


class Admission:
    """Let predictions in. Not thread-safe.

    Args:
        queue: predictions that may wait or run.
        quotas: quotas by user; a user who is not named has none.
        devices: number of devices that work on them.
    """

    def __init__(self, queue: int, quotas: Mapping[str, Quota], devices: int) -> None:
        self.queue = queue
        self._quotas, self._devices = dict(quotas), max(1, devices)
        self._spent: dict[str, float] = {}
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
        if running >= quota.waiting:
            raise BusyError("Too many predictions of this key are under way.", self._seconds)
        now = time.monotonic()  # a bucket that empties with time: each prediction costs a share of a minute
        cost = 60.0 / quota.per_minute if quota.per_minute else 0.0
        spent = max(self._spent.get(user, 0.0), now - 60.0)
        if spent + cost > now + 1e-6 and cost:
            raise BusyError("The predictions per minute of this key are used up.", spent + cost - now)
        self._spent[user] = spent + cost
