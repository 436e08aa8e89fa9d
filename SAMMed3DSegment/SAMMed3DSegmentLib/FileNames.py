"""Names of files that are made from the names of nodes, which may be anything: "2: Thorax", "CT/MR", "nul"."""

from __future__ import annotations

import re

from sammed3d.files.outputs import RESERVED

LONGEST = 120
"""Bytes in UTF-8: two names with an ending are within what Linux takes, one with a folder within what Windows does."""


def fileNameFor(text: str, otherwise: str = "Segmentation") -> str:
    """Return a name, without ending, that is a file's on every system.

    A colon would name an alternate stream on Windows, and the file would seem empty; slashes would name folders.
    """
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]+', "_", text)
    name = name.encode(errors="replace")[:LONGEST].decode(errors="ignore").strip().rstrip(". ")
    if not name.strip("_. "):
        return otherwise
    return f"_{name}" if name.split(".")[0].strip().lower() in RESERVED else name
