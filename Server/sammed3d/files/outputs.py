"""Files that are written: never over what was read, over anything else only when asked for, and whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sammed3d.errors import VolumeError
from sammed3d.files import path_letters
from sammed3d.files.written import is_whole

DATA_SUFFIXES = {".mhd": (".raw", ".zraw"), ".nhdr": (".raw", ".raw.gz")}
"""Headers, and the files beside them that hold the voxels."""
NIFTI = (".nii.gz", ".nii")
KEPT_LETTERS = 40
"""Letters of a name, from its end, that what is written beside it has: it must not get longer than names may be."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
"""Names of devices on Windows, in small letters: no file's or folder's there, whatever its ending."""


def check_output(output: Path, inputs: Iterable[Path | None], force: bool = False) -> None:
    """Refuse to write a file, before any work is done for it.

    Args:
        output: the file to be written.
        inputs: files and folders that were read or will be; None stands for one that was not given.
        force: whether other existing files may be replaced.

    Raises:
        VolumeError: it is an input, also by another spelling or through a link, or lies in an input folder; it is a
            folder; it exists and `force` was not said, or on Windows a program has it open; its name is too long; or
            nothing can be written there.
    """
    path_letters.check(output)
    written = [path for path in with_data(output) if os.path.exists(path)]  # noqa: PTH110 - False where it is hidden
    for source in inputs:
        if source is None or not source.exists():
            continue
        for path in written:
            in_folder = source.is_dir() and any(_same(parent, source) for parent in path.resolve().parents)
            if in_folder or any(_same(path, part) for part in with_data(source)):
                raise VolumeError(
                    f"{output}: is what is read ({source}), and would be lost. Choose another name for the result."
                )
    if output in written and output.is_dir():
        raise VolumeError(f"{output}: is a folder. Name a file for the result.")
    if written and not force:
        raise VolumeError(f"{output}: exists already. Choose another name, or replace it with --force.")
    if sys.platform == "win32" and any(_is_held(path) for path in written):
        raise VolumeError(
            f"{output}: a program has it open, or it is read-only. Close it there, or choose another name."
        )
    _check_length(output)
    place = next(parent for parent in output.absolute().parents if os.path.exists(parent))  # noqa: PTH110
    if not place.is_dir():
        raise VolumeError(f"{output}: cannot be written in {place}, which is a file. Choose another folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise VolumeError(f"{output}: cannot be written in {place}. Check its permissions, or choose another place.")


def _check_length(output: Path) -> None:
    """Refuse a name, or a path, that the system has no room for.

    Raises:
        VolumeError: it is too long.
    """
    try:
        os.lstat(output)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise VolumeError(f"{output}: its name is too long for this place. Choose a shorter one.") from error


def check_apart(outputs: Iterable[Path | None]) -> None:
    """Refuse results that would be written over each other, before any work is done for them.

    Args:
        outputs: the files to be written; None stands for one that was not asked for.

    Raises:
        VolumeError: two are one file, also by another spelling or through a link.
    """
    known: set[str] = set()
    for output in outputs:
        files = set() if output is None else {os.path.normcase(path.resolve()) for path in with_data(output)}
        if known & files:
            raise VolumeError(
                f"{output}: two results would be written to this file. Choose another name for one of them."
            )
        known |= files


def not_written(path: Path) -> VolumeError:
    """Return the error to raise where a file could not be written."""
    return VolumeError(
        f"{path}: cannot be written. Check the folder, permissions and free space, and close it in other programs."
    )


def check_written(file: Path) -> None:
    """Refuse a file that its writer has not written to its end, without a word.

    Raises:
        OSError: it is one.
    """
    if not is_whole(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a place beside a file to write to, which becomes the file in the end; where that fails, nothing is left.

    The place is this call's own, so of several that write the same file at once, each writes it whole.

    Raises:
        VolumeError: it cannot be written, or not to its end.
    """
    path_letters.check(path)
    name = f".{path.name[-KEPT_LETTERS:]}"
    if ending := next((end for end in NIFTI if path.name.lower().endswith(end)), ""):
        # of a name with ".nii" before its ending, ITK writes another file
        stem = path.name[: -len(ending)][-KEPT_LETTERS:].replace(".", "_")
        name = f"_{stem}{path.name[-len(ending) :]}"
    beside = path.with_name(f".writing.{uuid4().hex[:8]}{name}")
    try:
        yield beside
        check_written(beside)
        beside.replace(path)
    except (RuntimeError, OSError) as error:  # SimpleITK's own are RuntimeErrors
        raise not_written(path) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it; one that is there already stays.

    Raises:
        VolumeError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VolumeError(f"{folder}: cannot be made. Check its name, permissions and free space.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file and the folders above it, whole or not at all; line ends stay as they are.

    Raises:
        VolumeError: it cannot be written.
    """
    make_folder(path.parent)
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table as CSV, with a line of titles, and the folders above it; whole or not at all.

    Raises:
        VolumeError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def with_data(path: Path) -> Iterator[Path]:
    """Yield a file, and the files of voxels that belong to it as a header."""
    yield path
    for suffix in DATA_SUFFIXES.get(path.suffix.lower(), ()):
        yield path.with_suffix(suffix)


def _is_held(path: Path) -> bool:
    """Tell whether a file cannot be replaced on Windows, which keeps those that a program has open."""
    try:
        with path.open("r+b"):
            return False
    except PermissionError:
        return True


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
