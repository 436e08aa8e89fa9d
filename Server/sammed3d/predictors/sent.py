"""What a server was sent and may still have, or is known to have no longer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

REMEMBERED = 256
"""Patches, and mask prompts, of which it is remembered that the server has them."""


class Sent:
    """Names of what a server was sent; those of which least was heard of late are forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._keys: OrderedDict[Hashable, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._keys

    def add(self, key: Hashable) -> None:
        """Take note that it was sent."""
        with self._lock:
            self._keys[key] = None
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Take note that the server has it no longer."""
        with self._lock:
            self._keys.pop(key, None)
