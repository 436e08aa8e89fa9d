"""Whether a file that was just written is all there.

ITK writes NIfTI and PNG without a word to a disk that becomes full on the way (tried with ITK 5.4): what lies there
then ends somewhere, or is empty. Its writers of NRRD and MetaImage say so, and so does everything else here.

Source: the headers of NIfTI-1 and -2; RFC 1952 (gzip), whose checksum is compared on the way; PNG, chunk IEND.
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
_NIFTI_1, _NIFTI_2 = 348, 540
"""Bytes of the headers, which they begin with."""


def is_whole(file: Path) -> bool:
    """Tell whether a NIfTI or PNG file is all there; True for files of other kinds.

    Raises:
        OSError: it cannot be read.
    """
    name = file.name.lower()
    if name.endswith(".png"):
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - len(PNG_ENDS)))
            return stream.read() == PNG_ENDS
    return _nifti_is_whole(file) if name.endswith((".nii", ".nii.gz")) else True


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
