"""What users sent and may refer to by its digest: bounded for all together and for each, and nobody sees another's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from sammed3d.core.cache import LRUCache

Value = TypeVar("Value")


class UserCache(Generic[Value]):
    """Values by user and digest; what was used longest ago goes first. Not thread-safe.

    Args:
        max_bytes: bound of all users together.
        size_of: bytes that a value occupies.
        share_of: bound of a user, in bytes: who fills it loses what is their own, and others nothing.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[Value], int], share_of: Callable[[str], int]) -> None:
        self._size_of, self._share_of = size_of, share_of
        self._all: LRUCache[Value] = LRUCache(max_bytes, size_of, self._dropped)
        self._of_user: dict[str, LRUCache[Value]] = {}

    @property
    def bytes(self) -> int:
        """Bytes that are held."""
        return self._all.bytes

    @property
    def max_bytes(self) -> int:
        """Bytes that may be held."""
        return self._all.max_bytes

    def get(self, user: str, digest: str) -> Value | None:
        """Return a value of a user and mark it as used, or None."""
        found = self._all.get((user, digest))
        if found is not None:
            self._of_user[user].get(digest)
        return found

    def put(self, user: str, digest: str, value: Value) -> None:
        """Keep a value whose digest was checked."""
        if user not in self._of_user:
            self._of_user[user] = self._share(user)
        self._of_user[user].put(digest, value)
        if digest in self._of_user[user]:
            self._all.put((user, digest), value)

    def _share(self, user: str) -> LRUCache[Value]:
        def drop(digest: Hashable, _: Value) -> None:
            self._all.pop((user, digest))

        return LRUCache(self._share_of(user), self._size_of, drop)

    def _dropped(self, key: Hashable, _: Value) -> None:
        user, digest = cast(tuple[str, str], key)
        self._of_user[user].pop(digest)
