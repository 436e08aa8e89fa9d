"""Paths that ITK does not find: on Windows it takes letters beyond ASCII for others, unless all is UTF-8 there.

3D Slicer declares that for itself; a plain Python does not. Elsewhere it is paths that are no UTF-8: SimpleITK ends the
whole process at one.
"""

from __future__ import annotations

import locale
import sys
from pathlib import Path

from sammed3d.errors import VolumeError

UTF8 = ("utf-8", "utf8", "cp65001")
HINT = (
    " On Windows it may also be that its path has letters beyond A to Z, such as umlauts, which ITK does not find: "
    "move it to a folder, under a name, without them, or turn on UTF-8 in Windows' settings of the region."
)


def check(path: Path) -> None:
    """Refuse a path that SimpleITK would end the process at.

    Raises:
        VolumeError: it has bytes that are no UTF-8, as those of old archives and of disks of other systems.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="surrogateescape").decode(errors="replace")
        raise VolumeError(
            f"{shown}: this path has letters that are not in UTF-8, and cannot be opened. Rename file and folders."
        ) from error


def hint(path: Path) -> str:
    """Return what to add to the words about a file or folder that ITK could not read; "" where that is not the reason.

    Args:
        path: as it was given to ITK.
    """
    hidden = sys.platform == "win32" and not str(path).isascii() and locale.getencoding().lower() not in UTF8
    return HINT if hidden else ""
