"""What the C library does with memory that was freed: kept for the next click, or given back to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

CLICK_MIB = 128
"""What a click of the default model lets go at the end of glibc's heap."""
LARGEST_MIB = 32
"""Blocks up to this size come from the heap; glibc's own rule comes to this as soon as such a block was freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables of the environment by which a user tells glibc the same."""
USERS_HEAPS = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""Variables by which a user tells it how many heaps there are."""


def keep_freed(most_mib: int = CLICK_MIB, largest_mib: int = LARGEST_MIB) -> bool:
    """Let the C library keep what a click frees for the next one; returns whether it does, which glibc alone can.

    By its own rule it gives back freed blocks within a click, and the system hands out the same pages again, each with
    an interrupt and cleared: 20,000 times in a further click of the default model, a seventh of its time. What the user
    has set in the environment stays.

    Args:
        most_mib: how much freed memory is kept, at most, at the end of its heap.
        largest_mib: up to which size blocks are.
    """
    if any(name in os.environ for name in USERS_OWN):
        return False
    option = c_function("mallopt")
    if option is None:
        return False
    return bool(option(_MMAP_THRESHOLD, largest_mib << 20)) and bool(option(_TRIM_THRESHOLD, most_mib << 20))


def share_heap() -> bool:
    """Let threads that begin from now on take memory from the first one's heap; returns whether glibc does so.

    By its own rule each has a heap of its own, which goes back to the system as it empties, whatever `keep_freed` says:
    a further click of the default model is handed 13,000 pages anew in a thread. This is for processes that are ours
    alone: in Slicer other threads would wait for one another. What the user has set in the environment stays.
    """
    if any(name in os.environ for name in USERS_HEAPS):
        return False
    option = c_function("mallopt")
    return option is not None and bool(option(_ARENA_MAX, 1))


def give_back() -> None:
    """Give memory that was freed back to the system; glibc would keep it between what is still in use."""
    trim = c_function("malloc_trim")
    if trim is not None:
        trim(0)


def c_function(name: str) -> Any | None:
    """A function of the C library; None where it has no such thing, as on Windows and macOS."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
