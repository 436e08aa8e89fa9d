"""DICOM slices that are cut off, which GDCM reads as if they were whole, or leaves out, without a word.

Only those of the series that is read count: a damaged slice of another one does not matter.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from sammed3d.errors import VolumeError, VolumeWarning

PIXEL_DATA, SEQUENCE_END = bytes.fromhex("e07f1000"), bytes.fromhex("feffdde0")
"""Tags (7FE0,0010) and (FFFE,E0DD) as they stand in a little-endian file."""
IMPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2\0"
"""The transfer syntax whose elements do not say their type."""
STUDY, SERIES = bytes.fromhex("20000d00"), bytes.fromhex("20000e00")
"""Tags (0020,000D) and (0020,000E): UIDs of study and series, one behind the other in a file's own header alone."""
DIRECTORY = b"1.2.840.10008.1.3.10"
"""The class of a DICOMDIR, which belongs to no series."""
UNDEFINED_LENGTH = 0xFFFFFFFF


def check_whole(folder: Path, files: Iterable[str], others: Iterable[str], uid: str) -> None:
    """Refuse a series of which a slice is cut off, also one that GDCM left out because it could not read it.

    Args:
        folder: the folder.
        files: of the series, in that folder; of their paths, which GDCM writes in its own way, the names count.
        others: of the other series, which do not matter.
        uid: of the series.

    Raises:
        VolumeError: says how many.

    Warns:
        VolumeWarning: files are cut off before they say which series they belong to.
    """
    damaged = unknown = 0
    own, foreign = ({Path(file).name for file in each} for each in (files, others))
    endings = {Path(file).suffix for file in own}
    for path in folder.iterdir():
        if path.name in foreign or not path.is_file():
            continue
        data = path.read_bytes()
        if path.name in own:
            damaged += is_truncated(data)
        elif data[128:132] == b"DICM" and DIRECTORY not in data[:1024]:
            named = _series_of(data)
            damaged += named == uid
            unknown += named is None
        elif len(data) <= 132 and path.suffix in endings and not path.name.startswith("."):
            unknown += b"DICM".startswith(data[128:]) and not any(data[:128])
    name = folder.name or str(folder)
    if damaged:
        raise VolumeError(f"{name}: {_counted(damaged, 'of this series')} incomplete. Export the series again.")
    if unknown:
        warnings.warn(
            f"{name}: {_counted(unknown, 'in this folder')} cut off before it is said which series that belongs to. "
            "Where slices of this one are missing at an end, export it again.",
            VolumeWarning,
            stacklevel=6,
        )


def _counted(count: int, where: str) -> str:
    return f"{count} DICOM file{'s' * (count > 1)} {where} {'are' if count > 1 else 'is'}"


def is_truncated(data: bytes) -> bool:
    """Tell whether a file ends within its pixel data, or within an icon's; GDCM would fill the rest silently."""
    if data[128:132] != b"DICM":
        return False
    implicit = IMPLICIT_LITTLE_ENDIAN in data[:2048]
    start = data.find(PIXEL_DATA)
    while start >= 0:
        at = start + (4 if implicit else 8)
        end = at + 4
        if implicit or data[start + 4 : start + 6] in (b"OW", b"OB"):
            length = int.from_bytes(data[at:end], "little")
            if length == UNDEFINED_LENGTH:  # compressed: fragments, then an end mark
                return SEQUENCE_END not in data[end:]
            end += length
        if end > len(data):
            return True
        start = data.find(PIXEL_DATA, end)
    return False


def _series_of(data: bytes) -> str | None:
    """Return the UID of the series that a file says it belongs to; None where it does not come so far."""
    implicit = IMPLICIT_LITTLE_ENDIAN in data[:2048]
    at = data.find(STUDY)
    while at >= 0:
        following = _end_of(data, at, implicit)
        end = _end_of(data, following, implicit)
        if data[following : following + 4] == SERIES and end <= len(data):
            return data[following + 8 : end].decode("ascii", "replace").strip("\0 ")
        at = data.find(STUDY, at + 4)
    return None


def _end_of(data: bytes, at: int, implicit: bool) -> int:
    """Return where an element of a UID ends that begins at a place."""
    return at + 8 + int.from_bytes(data[at + (4 if implicit else 6) : at + 8], "little")
