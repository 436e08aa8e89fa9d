"""Pools of processes that end with the one that started them, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor

MOST_PROCESSES = 61
"""Processes of a pool: Windows waits for no more of them at once, and Python refuses to."""


def process_pool(count: int, *, interrupted: bool = True) -> ProcessPoolExecutor:
    """Return a pool of new processes, which inherit neither threads nor a GPU's state.

    They end where this process is killed, too: Python's own go on with what they do, and then wait forever.

    Args:
        count: how many at most; the system's own limit, if that is lower.
        interrupted: whether Ctrl-C, which reaches all processes of a terminal, ends what they do.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(min(count, MOST_PROCESSES), context, _begin, (interrupted,))


def end_processes(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool with what they do, which the pool itself would wait for."""
    for process in list((pool._processes or {}).values()):  # noqa: SLF001 - public from Python 3.14 on
        process.terminate()


def _begin(interrupted: bool) -> None:
    """Run first in each process."""
    if not interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
