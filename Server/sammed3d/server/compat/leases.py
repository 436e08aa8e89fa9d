"""Volumes that other products' clients upload, each behind a lease that ends when nobody uses it."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sammed3d.errors import VolumeError

SWEEP = 15.0
"""Seconds between two looks for leases that ended."""


class NoRoomError(Exception):
    """As many leases as allowed are taken."""


class NoMemoryError(VolumeError):
    """As much memory as allowed is taken."""


class LeaseEndedError(Exception):
    """There is no such lease (any more), or it is somebody else's."""


@dataclass(eq=False)
class Lease:
    """A client's place on the server.

    Attributes:
        token: names it.
        user: whose it is; for others it is not there.
        idle: seconds without an action of the user after which it ends.
        silence: seconds without any request after which it ends; 0 for never.
        state: the facade's own notes on it.
        bytes: memory that counts for it.
        lock: held while its state is worked on; who waits for it takes no thread from others.
        acted, heard: when the user did something, and when the program last asked anything; monotonic seconds.
    """

    token: str
    user: str
    idle: float
    silence: float
    state: Any = None
    bytes: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    acted: float = 0.0
    heard: float = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until it ends if the user does nothing."""
        return max(0.0, self.idle - (time.monotonic() - self.acted))

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        silent = bool(self.silence) and time.monotonic() - self.heard > self.silence
        return self.remaining == 0 or silent


class Leases:
    """All leases of a server.

    Args:
        most: leases at once.
        max_bytes: memory that all of them take together.
    """

    def __init__(self, most: int, max_bytes: int) -> None:
        self.most, self.max_bytes = most, max_bytes
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()

    def claim(self, user: str, idle: float, silence: float = 0.0, state: Any = None) -> Lease:
        """Make a lease.

        Where all are taken, the one used longest ago of the user who holds most ends, if others hold fewer than that:
        nobody keeps everybody else out.

        Raises:
            NoRoomError: all are taken, and nobody holds two more than this user.
        """
        self.sweep()
        with self._lock:
            if len(self._leases) >= self.most:
                self._make_room(user)
            now = time.monotonic()
            lease = Lease(secrets.token_urlsafe(32), user, idle, silence, state, acted=now, heard=now)
            self._leases[lease.token] = lease
        return lease

    def _make_room(self, user: str) -> None:
        held = Counter(lease.user for lease in self._leases.values())
        heaviest = max(held, key=lambda name: held[name])
        if held[heaviest] <= held[user] + 1:
            raise NoRoomError("All sessions of this server are taken. Try again later.")
        oldest = min((lease for lease in self._leases.values() if lease.user == heaviest), key=lambda one: one.acted)
        del self._leases[oldest.token]

    def get(self, token: str, user: str, acts: bool = True, holds: type = object) -> Lease:
        """Find a lease.

        Args:
            token: names it.
            user: whose it is.
            acts: whether the user did something.
            holds: what its state is; leases of another protocol are not there for this one.

        Raises:
            LeaseEndedError: there is none.
        """
        with self._lock:
            lease = self._leases.get(token)
        if lease is None or lease.user != user or lease.is_over or not isinstance(lease.state, holds):
            raise LeaseEndedError("This session has ended. Start a new one; the mask in your program is not lost.")
        lease.heard = time.monotonic()
        if acts:
            lease.acted = lease.heard
        return lease

    def take_memory(self, lease: Lease, count: int) -> None:
        """Let a lease take so many bytes, instead of what it had.

        Raises:
            NoMemoryError: there is not so much left.
        """
        with self._lock:
            others = sum(each.bytes for each in self._leases.values() if each is not lease)
            if others + count > self.max_bytes:
                raise NoMemoryError("The server has no memory left for this volume. Try again later, or crop it.")
            lease.bytes = count

    @contextmanager
    def room_for(self, lease: Lease, count: int) -> Iterator[None]:
        """Let a lease take so many bytes, instead of what it had, before a block makes use of them.

        Where the block fails, the lease has what it had before.

        Raises:
            NoMemoryError: there is not so much left.
        """
        before = lease.bytes
        self.take_memory(lease, max(before, count))
        try:
            yield
        except BaseException:
            lease.bytes = before
            raise
        self.take_memory(lease, count)

    def held_bytes(self) -> int:
        """Memory that all leases take."""
        with self._lock:
            return sum(each.bytes for each in self._leases.values())

    def holds(self, token: str) -> bool:
        """Whether there is such a lease."""
        with self._lock:
            return token in self._leases

    def release(self, token: str, user: str, holds: type = object) -> None:
        """End a lease, if there is one; see `get`."""
        with self._lock:
            lease = self._leases.get(token)
            if lease is not None and lease.user == user and isinstance(lease.state, holds):
                del self._leases[token]

    def sweep(self) -> None:
        """Forget leases that ended."""
        with self._lock:
            for token in [token for token, lease in self._leases.items() if lease.is_over]:
                del self._leases[token]

    async def sweep_forever(self) -> None:
        """Forget leases that ended, every now and then."""
        while True:
            await asyncio.sleep(SWEEP)
            self.sweep()
