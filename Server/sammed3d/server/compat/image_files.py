"""Image files that strangers sent, read from memory: NIfTI and NRRD, with nothing but Python and NumPy.

Sizes are checked before memory is taken, and compressed voxels are inflated to the size that the header claims and not
a byte further. No file name is looked at, and nothing is written to disk.
"""

from __future__ import annotations

import io
import logging
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import nibabel
import nibabel.imageglobals
import nrrd
import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import LPS_TO_RAS, Grid
from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume

nibabel.imageglobals.logger.setLevel(logging.CRITICAL)  # what it thinks of strangers' headers fills logs
TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
LONGEST_HEADER = 1 << 20
_NRRD_TYPES = {
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "signed char": "i1", "int8": "i1", "int8_t": "i1",
    "short": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2",
    "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "float": "f4", "double": "f8",
}  # fmt: skip
_SPACES = {
    "left-posterior-superior": LPS_TO_RAS, "lps": LPS_TO_RAS,
    "right-anterior-superior": np.eye(4), "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]), "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}  # fmt: skip
Array = npt.NDArray[np.generic]
Reserve = Callable[[int], None]
"""Told of the bytes that voxels will take, before they are taken; refuses with a VolumeError."""


def read(data: bytes, most_bytes: int, reserve: Reserve = lambda _: None) -> Volume:
    """Read an image file.

    Args:
        data: the file.
        most_bytes: that its voxels may take.
        reserve: called once the header is read.

    Raises:
        VolumeError: it is no such file, or too large, or `reserve` refused.
    """
    try:
        with np.errstate(all="ignore"):  # numbers that make no sense are refused, and nothing is printed
            return _read(data, most_bytes, reserve)
    except (VolumeError, MemoryError):
        raise
    except Exception as error:  # whatever nibabel and pynrrd make of it, it is the data's fault
        raise VolumeError("The image file is damaged. Export it again, as NIfTI or NRRD.") from error


def _read(data: bytes, most_bytes: int, reserve: Reserve) -> Volume:
    if data[:2] == b"\x1f\x8b":
        return _read_nifti(_gunzipped(data, LONGEST_HEADER), lambda end: _gunzipped(data, end), most_bytes, reserve)
    if data[:4] == b"NRRD":
        return _read_nrrd(data, most_bytes, reserve)
    return _read_nifti(data, lambda end: data[:end], most_bytes, reserve)


def write(mask: npt.NDArray[np.uint8], grid: Grid, suffix: str) -> bytes:
    """Write a mask as a file of this kind, on the grid of its image.

    Raises:
        VolumeError: there is no such kind here.
    """
    if suffix in (".nii", ".nii.gz"):
        image = nibabel.Nifti1Image(mask, grid.index_to_world, dtype=np.uint8)  # type: ignore[no-untyped-call]
        data: bytes = image.to_bytes()
        return _gzipped(data) if suffix == ".nii.gz" else data
    if suffix == ".nrrd":
        lps = LPS_TO_RAS @ grid.index_to_world
        header = {
            "space": "left-posterior-superior",
            "space directions": lps[:3, :3].T,
            "space origin": lps[:3, 3],
            "encoding": "raw",
        }
        file = io.BytesIO()
        nrrd.write(file, mask, header, index_order="F")
        return file.getvalue()
    raise VolumeError("Results are written as .nrrd, .nii or .nii.gz.")


def _read_nifti(head: bytes, up_to: Any, most_bytes: int, reserve: Reserve) -> Volume:
    if len(head) < 348:
        raise VolumeError("This is no image file that can be read. Send NIfTI or NRRD.")
    kind = nibabel.Nifti2Header if int.from_bytes(head[:4], "little") == 540 else nibabel.Nifti1Header
    header = kind.from_fileobj(io.BytesIO(head[:540]), check=True)  # type: ignore[no-untyped-call]
    shape = tuple(int(n) for n in header.get_data_shape())
    shape, rest = shape[:3], shape[3:]
    if len(shape) != 3 or any(n != 1 for n in rest):
        raise VolumeError(f"The image has the shape {(*shape, *rest)}; one 3-D image is expected.")
    slope, intercept = header.get_slope_inter()
    scaled = slope is not None and (slope, intercept) != (1, 0)
    dtype = _checked(header.get_data_dtype(), shape, most_bytes, np.dtype(np.float32).itemsize if scaled else 1)
    offset = int(header.get_data_offset())
    if not 0 <= offset <= LONGEST_HEADER:
        raise VolumeError("The image file's header is damaged.")
    reserve(math.prod(shape) * max(dtype.itemsize, np.dtype(np.float32).itemsize if scaled else 1))
    array = _array(up_to(offset + math.prod(shape) * dtype.itemsize)[offset:], dtype, shape)
    if scaled:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dealt with by Volume
            values = array.astype(np.float32)
            values *= np.float32(slope)
            values += np.float32(intercept)
        array = values
    return Volume(array, Grid(shape, np.asarray(header.get_best_affine(), np.float64)), "the image")


def _read_nrrd(data: bytes, most_bytes: int, reserve: Reserve) -> Volume:
    end = min((n + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (n := data.find(mark)) >= 0), default=-1)
    if not 0 < end <= LONGEST_HEADER:
        raise VolumeError("The image file's header is damaged.")
    header: Mapping[str, Any] = nrrd.read_header(io.BytesIO(data[:end]))
    if "data file" in header or "datafile" in header:
        raise VolumeError("The image's voxels are in another file. Save it as one file (.nrrd).")
    shape = tuple(int(n) for n in header["sizes"])
    if len(shape) != 3:
        raise VolumeError(f"The image has the shape {shape}; one 3-D image is expected.")
    order = ">" if header.get("endian") == "big" else "<"
    dtype = _checked(np.dtype(order + _NRRD_TYPES[header["type"]]), shape, most_bytes)
    total = math.prod(shape) * dtype.itemsize
    encoding = header["encoding"]
    if encoding not in ("raw", "gzip", "gz"):
        raise VolumeError("The image's voxels are encoded in a way that is not read here. Save it raw or with gzip.")
    reserve(total)
    body = data[end:] if encoding == "raw" else _gunzipped(data[end:], total)
    axes = np.eye(4)
    axes[:3, :3] = np.asarray(header["space directions"], np.float64).T
    axes[:3, 3] = np.asarray(header.get("space origin", (0, 0, 0)), np.float64)
    return Volume(_array(body, dtype, shape), Grid(shape, _SPACES[header["space"].lower()] @ axes), "the image")


def _checked(dtype: np.dtype[Any], shape: tuple[int, ...], most_bytes: int, least_itemsize: int = 1) -> np.dtype[Any]:
    """Return the type of the voxels, of which each takes so many bytes in memory at least."""
    if dtype.str[1:] not in TYPES:
        raise VolumeError("The image's voxels are no grey values.")
    itemsize = max(dtype.itemsize, least_itemsize)
    if not all(1 <= n <= 1 << 14 for n in shape) or math.prod(shape) * itemsize > most_bytes:
        raise VolumeError(f"The image is empty or larger than {most_bytes >> 20} MiB.")
    return dtype


def _array(body: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if len(body) < math.prod(shape) * dtype.itemsize:
        raise VolumeError("The image file ends early. Copy or export it again.")
    array = np.frombuffer(body, dtype, math.prod(shape)).reshape(shape, order="F")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _gunzipped(data: bytes, most: int) -> bytes:
    """Inflate at most so many bytes."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, most)
    except zlib.error as error:
        raise VolumeError("The image file is damaged. Export it again.") from error


def _gzipped(data: bytes) -> bytes:
    deflate = zlib.compressobj(1, wbits=31)
    return deflate.compress(data) + deflate.flush()
