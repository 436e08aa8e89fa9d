"""Folders that one run at a time writes into."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sammed3d.core.file_locks import try_lock
from sammed3d.errors import ModelError
from sammed3d.files.outputs import make_folder, not_written

IN_USE = ".in_use.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder while something is written into it; a folder that was made for that and stayed empty is removed.

    A program that is killed holds nothing.

    Raises:
        ModelError: another run holds it.
        VolumeError: nothing can be written there.
    """
    was_there = folder.is_dir()
    make_folder(folder)
    try:
        with contextlib.ExitStack() as stack:
            try:
                ours = stack.enter_context(try_lock(folder / IN_USE))
            except OSError as error:
                raise not_written(folder / IN_USE) from error
            if not ours:
                raise ModelError(
                    f"{folder}: another run writes into it. Wait until that has ended, or choose another folder."
                )
            yield
    finally:
        if not was_there:
            with contextlib.suppress(OSError):  # something was written
                folder.rmdir()
