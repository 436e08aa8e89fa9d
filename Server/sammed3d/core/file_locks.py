"""Locks on files, which the system takes back from a program that dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Make and lock a file that is removed in the end; yields False where another program, or thread, has it.

    Raises:
        OSError: it cannot be written.
    """
    while True:
        with path.open("ab") as file:
            if not _is_ours(file):
                yield False
                return
            if not _is_at(file, path):  # who had it has removed it meanwhile
                continue
            try:
                yield True
            finally:
                with contextlib.suppress(OSError):  # Windows removes no file that is open
                    path.unlink()
            return


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_ours(file: IO[bytes]) -> bool:
    """Lock a file, unless another has done so; where the system locks none, all goes on without."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True
