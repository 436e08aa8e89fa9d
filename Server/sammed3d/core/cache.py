"""A cache bounded by bytes that forgets what was used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """A mapping that drops its least recently used entries when it grows above `max_bytes`. Not thread-safe.

    Args:
        max_bytes: the bound.
        size_of: bytes that a value occupies.
        on_drop: called with key and value of what is dropped for want of space.
    """

    def __init__(
        self,
        max_bytes: int,
        size_of: Callable[[Value], int],
        on_drop: Callable[[Hashable, Value], None] = lambda _key, _value: None,
    ) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._size_of = size_of
        self._on_drop = on_drop
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return a value and mark it as used, or None."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Store a value. One that alone exceeds the bound is not kept, and what is there stays."""
        self.pop(key)
        size = self._size_of(value)
        if size > self.max_bytes:
            self._on_drop(key, value)
            return
        self._entries[key] = value
        self.bytes += size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def pop(self, key: Hashable) -> Value | None:
        """Take a value out, or None."""
        value = self._entries.pop(key, None)
        if value is not None:
            self.bytes -= self._size_of(value)
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: Hashable) -> None:
        value = self._entries.pop(key)
        self.bytes -= self._size_of(value)
        self._on_drop(key, value)
