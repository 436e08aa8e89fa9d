"""Whose turn it is: users take turns, and so do the sessions of one user."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

REMEMBERED = 4096
"""Users and sessions whose last turn is known."""


class Request(Protocol):
    """Something that waits for its turn.

    Attributes:
        user: whose it is.
        session: which of the user's; each has one request at a time, as a rule.
        arrival: time of its arrival, from `Turns.now`.
    """

    @property
    def user(self) -> str: ...

    @property
    def session(self) -> str: ...

    @property
    def arrival(self) -> int: ...


Waiting = TypeVar("Waiting", bound=Request)


class Turns:
    """Choose what is done next. Not thread-safe.

    The user whose last turn is longest ago goes first, so that whoever asks now and then waits for what runs and for
    nothing else, however much others ask for. Among one user's sessions a quick request may go before a slow one, once.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[Hashable, int] = OrderedDict()
        self._clock = 0

    def now(self) -> int:
        """Return the next number of a clock that counts what happens."""
        self._clock += 1
        return self._clock

    def took(self, request: Request) -> None:
        """Note that it was a request's turn."""
        now = self.now()
        for who in (request.user, (request.user, request.session)):
            self._last[who] = now
            self._last.move_to_end(who)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)

    def next(self, waiting: Sequence[Waiting], is_quick: Callable[[Waiting], bool]) -> Waiting:
        """Choose one of those that wait, of which there is at least one."""
        user = min(waiting, key=lambda r: (self._last.get(r.user, 0), r.arrival)).user
        own = sorted((r for r in waiting if r.user == user), key=self._of_session)
        first = own[0]
        if is_quick(first):
            return first
        return next((r for r in own if self._of_session(r)[0] < first.arrival and is_quick(r)), first)

    def in_order(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Return all that wait, as if all were equally quick: one of each user, then the next of each."""
        rounds: dict[str, int] = {}
        keys: dict[int, tuple[int, int, int]] = {}
        for request in sorted(waiting, key=self._of_session):
            rounds[request.user] = rounds.get(request.user, 0) + 1
            keys[id(request)] = rounds[request.user], self._last.get(request.user, 0), request.arrival
        return sorted(waiting, key=lambda r: keys[id(r)])

    def _of_session(self, request: Request) -> tuple[int, int]:
        return self._last.get((request.user, request.session), 0), request.arrival
