"""Voxels of NIfTI files, read in one pass into one array.

ITK takes geometry and types from the header, but its reader of voxels holds a NIfTI image twice, and fills the missing
part of a truncated file with whatever is in memory. So the voxels are read here, and a file that ends early is refused.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.errors import VolumeError

CHUNK = 2**24
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NIfTI datatype code -> NumPy type; the others are no grey values."""


def read_voxels(path: Path, reader: sitk.ImageFileReader) -> npt.NDArray[np.generic]:
    """Read the voxels of a `.nii` or `.nii.gz` file whose header `reader` has read.

    Returns:
        (I, J, K) in Fortran order: in the stored type, or float32 (float64 for wide types) where the header rescales.

    Raises:
        VolumeError: the file ends early, its compressed data are damaged, or its voxels are no grey values.
    """
    code = DTYPES.get(int(reader.GetMetaData("datatype")))
    if code is None:
        raise VolumeError(f"{path.name}: its voxels are no grey values. Convert it to integers or reals.")
    with _open(path) as file:
        try:
            byte_order = "<" if int.from_bytes(file.read(4), "little") in (348, 540) else ">"
            file.seek(int(float(reader.GetMetaData("vox_offset"))))
            array = np.empty(reader.GetSize()[:3], np.dtype(byte_order + code), order="F")
            _fill(array.reshape(-1, order="F").view(np.uint8).data, file)
        except (EOFError, OSError, zlib.error) as error:
            raise VolumeError(
                f"{path.name}: the file is damaged or incomplete and cannot be read. Copy or export it again."
            ) from error
    slope, intercept = (float(reader.GetMetaData(key)) for key in ("scl_slope", "scl_inter"))
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not np.isfinite([slope, intercept]).all() or slope == 0 or (slope, intercept) == (1, 0):
        return native
    wide = array.dtype.itemsize > 2 and code != "f4"
    scaled: npt.NDArray[np.floating] = native.astype(np.float64 if wide else np.float32)
    np.multiply(scaled, slope, out=scaled)
    np.add(scaled, intercept, out=scaled)
    return scaled


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _fill(buffer: memoryview, file: BinaryIO) -> None:
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done : done + CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"{len(buffer) - done} bytes are missing")
        done += count
    while file.read(CHUNK):  # to the end, where gzip compares its checksum
        pass
