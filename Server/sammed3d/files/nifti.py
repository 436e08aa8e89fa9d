"""Voxels of NIfTI files, alone or in pairs (.hdr, .img), read in one pass into one array.

ITK takes geometry and types from the header, but its reader of voxels holds a NIfTI image twice, and fills the missing
part of a truncated file with whatever is in memory. So the voxels are read here, and a file that ends early is refused.
"""

from __future__ import annotations

import gzip
import itertools
import math
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.unreadable import DAMAGED

CHUNK = 2**24
PAIR = (".hdr", ".img")
"""Endings of the two files that an image may be in, perhaps with ".gz" behind: header, voxels."""
GZIP = b"\x1f\x8b"
"""The first bytes of compressed files."""
MOST_PACKED = 1100
"""A file of gzip is no smaller than what it holds, divided by this."""
SINGLE, BEGIN = b"n+1", 352
"""Mark of headers whose voxels are in the same file, and where those begin at the earliest."""
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NIfTI datatype code -> NumPy type; the others are no grey values."""


DISAGREEMENT = 0.1
"""Shares of a voxel by which the two positions in a header may differ unsaid."""


def is_nifti(path: Path) -> bool:
    """Whether ITK takes a file for NIfTI, alone or as one of a pair, and this module can read it."""
    return sitk.ImageFileReader.GetImageIOFromFileName(str(path)) == "NiftiImageIO" and path.suffix.lower() != ".nia"


def check_positions(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse headers that say too little of where the image lies, and say where what they say disagrees.

    Which of them counts is ITK's choice, which is 3D Slicer's too: the sform where its code says scanner coordinates or
    there is no qform, else the qform.

    Args:
        path: the file.
        reader: has read its header.

    Raises:
        VolumeError: a voxel size is negative or 0, a number is none, or the header is one of ANALYZE 7.5.
    """
    name, header = path.name, _header(path)
    _check_sides(name, header)
    sizes = np.array([float(reader.GetMetaData(f"pixdim[{axis}]")) for axis in (1, 2, 3)])
    sform_code, qform_code = (int(reader.GetMetaData(key)) for key in ("sform_code", "qform_code"))
    last = np.array(reader.GetSize()[:3]) - 1
    _check_finite(header, name, last, sform_code, qform_code)
    _check_sizes(name, sizes, _floats(header, 80, 3)[last > 0])
    if sform_code > 0 and qform_code > 0:
        _check_agreement(name, reader, sizes, last, _flip(header))
    elif sform_code > 0:
        _check_scale(name, sizes, np.linalg.norm(_sform(reader)[:, :3], axis=0), last)
    elif qform_code <= 0:
        warnings.warn(
            f"{name}: its header does not say where the image lies (it has neither sform nor qform), so which side is "
            "left is a guess, the one of 3D Slicer. Check the sides, and save it with one of them.",
            VolumeWarning,
            stacklevel=2,
        )


def _check_sides(name: str, header: bytes) -> None:
    """Refuse the format before NIfTI, which has no place for them."""
    if header[344:347] not in (SINGLE, b"ni1"):
        raise VolumeError(
            f"{name}: an ANALYZE file, which does not say which side of the image is left. Convert it to NIfTI with a "
            "tool that knows where it comes from, and check the sides."
        )


def _check_finite(header: bytes, name: str, last: Any, sform_code: int, qform_code: int) -> None:
    """Refuse numbers of a header that are none, in the place of which ITK takes others."""
    numbers = [_floats(header, 80, 3)[last > 0]]
    numbers += [_floats(header, 256, 6)] if qform_code > 0 else []
    numbers += [_floats(header, 280, 12)] if sform_code > 0 else []
    if not np.isfinite(np.concatenate(numbers)).all():
        raise VolumeError(
            f"{name}: its header is damaged: a voxel size, or a number that says where the image lies, is none (NaN or "
            "infinite). Export it again."
        )


def _check_sizes(name: str, sizes: npt.NDArray[np.float64], stored: npt.NDArray[np.float32]) -> None:
    """Refuse voxel sizes that are negative, or 0 where they count: those `stored` of axes of more than one voxel."""
    if (sizes < 0).any():
        raise VolumeError(
            f"{name}: a voxel size in its header is negative ({', '.join(f'{s:g}' for s in sizes)} mm), so left and "
            "right cannot be trusted. Export the image again, or make them positive after checking the sides."
        )
    if (stored == 0).any():  # ITK would make them 1 mm
        raise VolumeError(
            f"{name}: a voxel size in its header is 0, so the image's size is not known. Export it again, or put the "
            "sizes in mm into the header."
        )


def _check_agreement(
    name: str, reader: sitk.ImageFileReader, sizes: npt.NDArray[np.float64], last: Any, flip: float
) -> None:
    """Say by how much sform and qform disagree at the image's corners, and which of them ITK has taken."""
    corners = np.array(list(itertools.product(*((0, n) for n in last))), float)
    sform, qform = _sform(reader), _qform(reader, sizes, flip)
    difference = sform - qform
    apart = corners @ difference[:, :3].T + difference[:, 3]
    largest = float(np.linalg.norm(apart, axis=1).max())
    if largest > DISAGREEMENT * sizes.min():
        found = _taken(reader)
        taken = min(("sform", sform), ("qform", qform), key=lambda each: np.abs(each[1] - found).max())[0]
        warnings.warn(
            f"{name}: its header holds two positions (sform and qform) that lie up to {largest:.1f} mm apart. The "
            f"{taken} is used, as in 3D Slicer. Check that the image lies where it should, and save it with one of "
            "them.",
            VolumeWarning,
            stacklevel=3,
        )


def _check_scale(name: str, sizes: npt.NDArray[np.float64], scale: npt.NDArray[np.float64], last: Any) -> None:
    """Say where a header has two sizes for its voxels: ITK, and 3D Slicer with it, takes those beside the sform."""
    largest = float((np.abs(scale - sizes) * last).max())
    if largest > DISAGREEMENT * sizes.min():
        here, there = (" x ".join(f"{s:.4g}" for s in each) for each in (sizes, scale))
        warnings.warn(
            f"{name}: its header has two sizes for its voxels, {here} mm (pixdim) and {there} mm (sform). Those of "
            "pixdim are used, as in 3D Slicer. Check which are right, and save it with them.",
            VolumeWarning,
            stacklevel=3,
        )


def _taken(reader: sitk.ImageFileReader) -> npt.NDArray[np.float64]:
    """Return the (3, 4) matrix, index to RAS mm, that ITK has made of a header."""
    size = len(reader.GetSize())
    axes = np.reshape(reader.GetDirection(), (size, size))[:3, :3] * reader.GetSpacing()[:3]
    matrix: npt.NDArray[np.float64] = np.column_stack([axes, reader.GetOrigin()[:3]]) * [[-1], [-1], [1]]
    return matrix


def _sform(reader: sitk.ImageFileReader) -> npt.NDArray[np.float64]:
    """Return the (3, 4) matrix of a header's rows: index to RAS mm. Source: nifti1.h, method 3."""
    return np.array([reader.GetMetaData(f"srow_{axis}").split() for axis in "xyz"], float)


def _flip(header: bytes) -> float:
    """Return the sign of the third axis in a header's qform, which ITK does not pass on (pixdim[0])."""
    return -1.0 if _floats(header, 76, 1)[0] < 0 else 1.0


def _floats(header: bytes, place: int, count: int) -> npt.NDArray[np.float32]:
    order = "<" if int.from_bytes(header[:4], "little") == 348 else ">"
    return np.frombuffer(header, f"{order}f4", count, place)


def _qform(reader: sitk.ImageFileReader, sizes: npt.NDArray[np.float64], flip: float) -> npt.NDArray[np.float64]:
    """Return the (3, 4) matrix of a header's quaternion and offsets: index to RAS mm. Source: nifti1.h, method 2."""
    b, c, d = (float(reader.GetMetaData(f"quatern_{letter}")) for letter in "bcd")
    a = max(0.0, 1 - b * b - c * c - d * d) ** 0.5
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    offset = [float(reader.GetMetaData(f"qoffset_{axis}")) for axis in "xyz"]
    return np.column_stack([turn * (sizes * (1, 1, flip)), offset])


def read_voxels(path: Path, reader: sitk.ImageFileReader, axes: int = 3) -> npt.NDArray[np.generic]:
    """Read the voxels of a NIfTI file, or of a pair of files, whose header `reader` has read.

    Args:
        path: the file.
        reader: has read its header.
        axes: how many of the image's axes are read: 4 for all frames of a series in time.

    Returns:
        (I, J, K), or (I, J, K, T), in Fortran order: in the stored type, or float32 (float64 for wide types) where the
        header rescales.

    Raises:
        VolumeError: the file ends early, its compressed data are damaged, or its voxels are no grey values.
    """
    code = DTYPES.get(int(reader.GetMetaData("datatype")))
    if code is None:
        raise VolumeError(f"{path.name}: its voxels are no grey values. Convert it to integers or reals.")
    header = _header(path)
    byte_order = "<" if int.from_bytes(header[:4], "little") == 348 else ">"
    begin, shape, kind = float(_floats(header, 108, 1)[0]), reader.GetSize()[:axes], np.dtype(byte_order + code)
    if not (BEGIN if header[344:347] == SINGLE else 0) <= begin < np.inf:
        raise VolumeError(f"{path.name}: its header says that its voxels begin within it. Export the image again.")
    place = _part(path, 1)
    with _open(place) as file:
        try:
            if begin + math.prod(shape) * kind.itemsize > place.stat().st_size * (
                MOST_PACKED if _is_packed(place) else 1
            ):
                raise EOFError("voxels are missing")  # said before memory is taken for them
            file.seek(int(begin))
            array = np.empty(shape, kind, order="F")
            _fill(array.reshape(-1, order="F").view(np.uint8).data, file)
        except MemoryError as error:
            size = f"{math.prod(shape) * kind.itemsize / 2**30:.0f} GiB"
            raise VolumeError(
                f"{path.name}: its voxels take {size}, more memory than there is. Cut out the part that is needed."
            ) from error
        except (EOFError, OSError, zlib.error) as error:
            raise VolumeError(f"{path.name}: {DAMAGED}") from error
    slope, intercept = (float(reader.GetMetaData(key)) for key in ("scl_slope", "scl_inter"))
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not np.isfinite([slope, intercept]).all() or slope == 0 or (slope, intercept) == (1, 0):
        return native
    wide = array.dtype.itemsize > 2 and code != "f4"
    scaled: npt.NDArray[np.floating] = native.astype(np.float64 if wide else np.float32)
    np.multiply(scaled, slope, out=scaled)
    np.add(scaled, intercept, out=scaled)
    return scaled


def _header(path: Path) -> bytes:
    with _open(_part(path, 0)) as file:
        return file.read(348)


def _part(path: Path, which: int) -> Path:
    """Return the file of the header (0) or of the voxels (1): of one file that file, of a pair one of the two.

    Raises:
        VolumeError: it is not there.
    """
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    if not name.lower().endswith(PAIR):
        return path
    stem, wanted = name[: -len(PAIR[0])], {PAIR[which], PAIR[which] + ".gz"}
    of_pair = (each for each in path.parent.iterdir() if each.name.startswith(stem))
    found = sorted(each for each in of_pair if each.name[len(stem) :].lower() in wanted)
    if not found:
        raise VolumeError(f"{path.name}: one of two files; {stem}{PAIR[which]} is missing. Put both into one folder.")
    return found[0]


def _open(path: Path) -> BinaryIO:
    """Open a file by what it holds: some are called `.nii.gz` and are not compressed, which ITK reads too."""
    return cast(BinaryIO, gzip.open(path, "rb")) if _is_packed(path) else path.open("rb")


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _fill(buffer: memoryview, file: BinaryIO) -> None:
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done : done + CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"{len(buffer) - done} bytes are missing")
        done += count
    while file.read(CHUNK):  # to the end, where gzip compares its checksum
        pass
