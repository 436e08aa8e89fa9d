"""Whether a file that was just written is all there.

ITK writes NIfTI and PNG without a word to a disk that becomes full on the way (tried with ITK 5.4): what lies there
then ends somewhere, or is empty. Its writers of NRRD and MetaImage say so of large images alone: what waits in memory
until the file is closed, all of a small one, is lost in silence. Everything else here says so.

Source: the headers of NIfTI-1 and -2, NRRD and MetaImage; RFC 1952 (gzip), whose checksum is compared on the way; PNG,
chunk IEND.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

PNG_ENDS = b"\0\0\0\0IEND\xaeB`\x82"
CHUNK = 1 << 20
HEAD_BYTES = 1 << 24
"""Headers of NRRD hold the names of all segments."""
BYTES = {"char": 1, "short": 2, "int": 4, "float": 4, "double": 8, "int64_t": 8}
"""Of a voxel, by the last word of its type in NRRD."""
_NIFTI_1, _NIFTI_2 = 348, 540
"""Bytes of the headers, which they begin with."""


def is_whole(file: Path) -> bool:
    """Tell whether an image that ITK has written is all there, with the file of voxels that a header names.

    True for files of other kinds than NIfTI, PNG, and NRRD and MetaImage that are compressed by gzip.

    Raises:
        OSError: it cannot be read.
    """
    name = file.name.lower()
    if name.endswith(".png"):
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - len(PNG_ENDS)))
            return stream.read() == PNG_ENDS
    if name.endswith((".nii", ".nii.gz")):
        return _nifti_is_whole(file)
    if name.endswith((".nrrd", ".nhdr")):
        return _nrrd_is_whole(file)
    return _meta_is_whole(file) if name.endswith((".mha", ".mhd")) else True


def _nrrd_is_whole(file: Path) -> bool:
    with file.open("rb") as stream:
        head, ended, _ = stream.read(HEAD_BYTES).partition(b"\n\n")
    fields = dict(line.partition(b": ")[::2] for line in head.split(b"\n"))
    if not (fields.get(b"type") and fields.get(b"sizes")):
        return False
    size = BYTES.get(fields[b"type"].split()[-1].decode(), 0) * math.prod(map(int, fields[b"sizes"].split()))
    beside = fields.get(b"data file")
    if fields.get(b"encoding") != b"gzip":
        return True
    try:
        with (file if beside is None else file.with_name(beside.decode())).open("rb") as stream:
            stream.seek(0 if beside is not None else len(head + ended))
            return bool(ended or beside) and _unpacked_length(stream) >= max(size, 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False


def _unpacked_length(stream: BinaryIO) -> int:
    found = 0
    with gzip.open(stream) as unpacked:
        while part := unpacked.read(CHUNK):  # to the end, where the checksum is
            found += len(part)
    return found


def _meta_is_whole(file: Path) -> bool:
    with file.open("rb") as stream:
        head, last, _ = stream.read(HEAD_BYTES).partition(b"ElementDataFile = ")
        stream.seek(len(head + last))
        named = stream.readline().decode(errors="replace")
        begin = stream.tell()
    fields = dict(line.partition(b" = ")[::2] for line in head.split(b"\n"))
    if not named.endswith("\n"):
        return False
    if b"CompressedDataSize" not in fields:
        return True
    size = int(fields[b"CompressedDataSize"])
    if named.strip() == "LOCAL":
        return file.stat().st_size - begin >= size
    return file.with_name(named.strip()).stat().st_size >= size


def _nifti_is_whole(file: Path) -> bool:
    with file.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    try:
        with cast(BinaryIO, gzip.open(file, "rb")) if packed else file.open("rb") as stream:
            header = stream.read(_NIFTI_2)
            found, wanted = len(header), _bytes_of(header)
            while part := stream.read(CHUNK):  # to the end, where the checksum is
                found += len(part)
            return found >= wanted
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error):
        return False


def _bytes_of(header: bytes) -> int:
    """Return how long a file is, unpacked, by the sizes in its header: dimensions, bits of a voxel, begin of voxels."""
    order = "<" if struct.unpack_from("<i", header)[0] in (_NIFTI_1, _NIFTI_2) else ">"
    if struct.unpack_from(f"{order}i", header)[0] == _NIFTI_2:
        axes, *sizes = struct.unpack_from(f"{order}8q", header, 16)
        [bits], [begin] = struct.unpack_from(f"{order}h", header, 14), struct.unpack_from(f"{order}q", header, 168)
    else:
        axes, *sizes = struct.unpack_from(f"{order}8h", header, 40)
        [bits], [begin] = struct.unpack_from(f"{order}h", header, 72), struct.unpack_from(f"{order}f", header, 108)
    size: int = int(begin) + math.prod(sizes[:axes]) * bits // 8
    return size
