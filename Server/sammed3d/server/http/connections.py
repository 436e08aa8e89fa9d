"""Who may stay connected: connections without a key hold a small share, and only for seconds.

A connection is a stranger's until a request with a valid key came over it (or any request, where no keys are needed).
Strangers never keep others out: where their share is used up, the oldest of the address that holds most has to go, and
the newcomer gets in. Of those who have shown a key, nobody holds more than a share either; what they lose first is what
they do not use.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


class Connection(Protocol):
    """What is counted."""

    @property
    def address(self) -> str:
        """Of the other side, without its port."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way on it."""
        ...

    def end(self) -> None:
        """Close it at once."""
        ...


@dataclass(frozen=True)
class Shares:
    """How many connections there may be.

    Attributes:
        strangers: connections that have not shown a key.
        of_address: those among them of one address.
        users: connections that have shown a key, all users together.
        of_user: connections of one user.
        seconds: time after which a stranger has to go, whatever it is doing.
    """

    strangers: int = 128
    of_address: int = 64
    users: int = 512
    of_user: int = 96
    seconds: float = 10.0


@dataclass(eq=False)
class Connections:
    """All connections of a server. Used in its event loop only.

    Args:
        shares: the largest numbers of connections.
    """

    shares: Shares = field(default_factory=Shares)
    _strangers: dict[Connection, None] = field(default_factory=dict)
    _users: dict[Connection, str] = field(default_factory=dict)

    def made(self, connection: Connection) -> None:
        """Count a new connection; an older one without a key may have to go for it."""
        self._strangers[connection] = None
        by_address = Counter(each.address for each in self._strangers)
        if by_address[connection.address] > self.shares.of_address:
            self._end_oldest(connection.address)
        elif len(self._strangers) > self.shares.strangers:
            self._end_oldest(by_address.most_common(1)[0][0])

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._strangers.pop(connection, None)
        self._users.pop(connection, None)

    def is_stranger(self, connection: Connection) -> bool:
        """Whether it has not shown a key."""
        return connection in self._strangers

    @property
    def of_users(self) -> list[Connection]:
        """Those over which a key was shown, the one used longest ago first."""
        return list(self._users)

    def shown_key(self, connection: Connection, user: str) -> bool:
        """Take a connection for a user's; False where the user, or all of them, hold as many as they may.

        For that, a connection that is not in use has to go if there is one.
        """
        if connection not in self._strangers and connection not in self._users:
            return True  # it has just been lost
        others = [each for each, owner in self._users.items() if owner == user and each is not connection]
        if len(others) >= self.shares.of_user and not self._end_idle(others):
            return False
        if connection not in self._users and len(self._users) >= self.shares.users:
            all_others = [each for each in self._users if each is not connection]
            if not self._end_idle(all_others):
                return False
        self._strangers.pop(connection, None)
        self._users.pop(connection, None)
        self._users[connection] = user  # the last one is the one used last
        return True

    def __len__(self) -> int:
        return len(self._strangers) + len(self._users)

    def _end_oldest(self, address: str) -> None:
        oldest = next(each for each in self._strangers if each.address == address)
        self.lost(oldest)
        oldest.end()

    def _end_idle(self, connections: list[Connection]) -> bool:
        """End the one that was not used for longest; whether there was one."""
        for each in connections:
            if each.is_idle:
                self.lost(each)
                each.end()
                return True
        return False
