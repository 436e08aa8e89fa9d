"""Imports that do not wait for the garbage collector."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected(*, freeze: bool = False) -> Iterator[None]:
    """Import without the collector: it goes through all modules again and again, a sixth of the time of torch's import.

    In an application the collector would run in the thread that imports, too, and destroy there what belongs to others.

    Args:
        freeze: leave all that is there at the end out of later collections too; for a process that is ours alone.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if was_on:
            gc.enable()
