"""What ITK reads wrongly of picture files without a word, found before.

It fills up what a JPEG or BMP file lacks of the pixels that it declares, and takes the transparencies of a grey TIFF
file for pixels between the others. (Those of a grey PNG file it cannot read at all: see `image_lists`.)

Source: ITU-T T.81 (JPEG), annex B; the structures BITMAPFILEHEADER, BITMAPINFOHEADER and BITMAPCOREHEADER (BMP);
TIFF 6.0, section 2, with the longer numbers of BigTIFF.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

from sammed3d.errors import VolumeError

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""In a JPEG file's pixels; those that are left out belong to the pixels."""
_START, _END = 0xD8, 0xD9
_UNCOMPRESSED = (0, 3, 6)
"""Compressions of BMP that have all rows at their full length: none, and colours by masks."""
_CORE = 12
"""Bytes of the header of old BMP files."""
_TIFF = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
"""How TIFF files begin, and in which order the bytes of their numbers are; those with + are BigTIFF."""
_SAMPLES = 277
"""The tag that says how many values a pixel has."""


def check_whole(file: Path) -> None:
    """Refuse a JPEG or BMP file that was cut off; files of other kinds are not looked at.

    Raises:
        VolumeError: it was.
    """
    with file.open("rb") as stream:
        kind = stream.read(2)
        if kind not in (b"\xff\xd8", b"BM"):
            return
        content = kind + stream.read()
    if not (_jpeg_ends(content) if kind == b"\xff\xd8" else _bmp_is_whole(content)):
        raise VolumeError(f"{file}: the file is damaged; its end is missing. Copy or export it again.")


def has_transparent_grey(file: Path) -> bool:
    """Tell whether this is a grey TIFF file with transparency; False for other files, and for damaged ones."""
    try:
        with file.open("rb") as stream:
            return _tiff_has_two(stream)
    except (OSError, struct.error):  # whoever reads it says what is wrong
        return False


def _tiff_has_two(stream: BinaryIO) -> bool:
    """Tell whether pixels of the first image have two values."""
    head = stream.read(16)
    order = _TIFF.get(head[:4])
    if order is None:
        return False
    big = b"+" in head[:4]
    stream.seek(*struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4))
    [entries] = struct.unpack(f"{order}Q" if big else f"{order}H", stream.read(8 if big else 2))
    for _ in range(min(entries, 0xFFFF)):
        entry = stream.read(20 if big else 12)
        if struct.unpack_from(f"{order}H", entry)[0] == _SAMPLES:
            return bool(struct.unpack_from(f"{order}H", entry, 12 if big else 8)[0] == 2)
    return False


def _jpeg_ends(content: bytes) -> bool:
    """Go from marker to marker, as pictures may lie inside one another; tell whether the outer one ends."""
    place = 0
    while found := _MARKER.search(content, place):
        marker, place = found[1][0], found.end()
        if marker == _END:
            return True
        if marker not in (_START, 0x01):  # all others say how long they are
            place += int.from_bytes(content[place : place + 2], "big")
    return False


def _bmp_is_whole(content: bytes) -> bool:
    try:
        begin, header = struct.unpack_from("<II", content, 10)
        if header == _CORE:
            width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
            compression, size = 0, 0
        else:
            width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", content, 18)
    except struct.error:
        return False
    if compression in _UNCOMPRESSED:
        size = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return len(content) >= int(begin + size)
