"""What a panel hears of its widgets: connected together, and let go of together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Connections:
    """Connect signals with functions. A module that is reloaded keeps its old widgets: `close` undoes it.

    Args:
        connections: sender, signal and function of each.
    """

    def __init__(self, *connections: tuple[Any, str, Callable[..., object]]) -> None:
        self._made = connections
        for sender, signal, function in connections:
            sender.connect(signal, function)

    def close(self) -> None:
        """Connect them no longer; a second time nothing happens."""
        for sender, signal, function in self._made:
            sender.disconnect(signal, function)
        self._made = ()
