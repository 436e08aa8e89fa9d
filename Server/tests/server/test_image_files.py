"""NIfTI and NRRD files that MONAI Label's clients upload, whole and damaged."""

import gzip
import struct

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import by_name, make_affine
from peaks import peak_memory
from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume, read_image
from sammed3d.server.compat import image_files
from uploads import IMAGE, MIB, nifti, nrrd_file


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "uint16"])
def test_image_files_are_read_as_the_command_line_reads_them(tmp_path, suffix, dtype):
    array = IMAGE.astype(dtype)
    data = nrrd_file(array, encoding="gzip") if suffix == ".nrrd" else nifti(array)
    data = gzip.compress(data) if suffix == ".nii.gz" else data
    path = tmp_path / f"image{suffix}"
    path.write_bytes(data)
    mine, theirs = image_files.read(data, 64 * MIB), Volume.read(path)
    assert mine.grid.matches(theirs.grid)
    assert np.array_equal(mine.array, theirs.array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_masks_are_written_where_their_image_lies(tmp_path, suffix):
    mask = (IMAGE > 300).astype(np.uint8)
    grid = Grid(mask.shape, make_affine((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (5, 6, 7)))
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(image_files.write(mask, grid, suffix))
    found, voxels, _owner = read_image(path)
    assert found.matches(grid)
    assert np.array_equal(voxels, mask)
    with pytest.raises(VolumeError, match=r"\.nrrd, \.nii or \.nii\.gz"):
        image_files.write(mask, grid, "/../../etc/cron.d/x")


def test_scaled_voxels_are_read_as_the_command_line_reads_them_and_count_as_what_they_become(tmp_path):
    data = bytearray(nifti((IMAGE % 200).astype(np.uint8)))
    data[112:120] = struct.pack("<2f", 0.5, -3.0)  # slope and intercept
    path = tmp_path / "scaled.nii"
    path.write_bytes(data)
    volume = image_files.read(bytes(data), 4 * IMAGE.size)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, Volume.read(path).array)
    with pytest.raises(VolumeError, match="larger than"):
        image_files.read(bytes(data), 4 * IMAGE.size - 1)


def test_scaling_voxels_takes_the_memory_of_what_they_become():
    array = np.zeros((128, 128, 64), np.uint8)
    array[0] = 1
    data = bytearray(nifti(array))
    data[112:120] = struct.pack("<2f", 0.5, -3.0)
    with peak_memory() as peak:
        image_files.read(bytes(data), 64 * MIB)
        assert peak() < 7 * array.size, "4 for the voxels; the file, and what reading looks at"


def malformed_files():
    head = nifti()[:348]
    yield "nothing", b""
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(400)
    yield "cut", nifti()[:-100]
    yield "cut in the head", head[:200]
    yield "damaged gzip", gzip.compress(nifti())[:200]
    yield "no gzip", b"\x1f\x8b" + bytes(100)
    yield "huge", head[:40] + struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1) + head[56:] + bytes(100)
    yield "negative", head[:40] + struct.pack("<8h", 3, -5, 20, 20, 1, 1, 1, 1) + head[56:] + bytes(100)
    yield "colour", nifti(np.zeros((4, 4, 4, 3), np.uint8))
    yield "complex", nifti(np.ones((4, 4, 4), np.complex64))
    yield "NaN affine", nifti()[:280] + struct.pack("<12f", *[np.nan] * 12) + nifti()[328:]
    yield "a bomb", gzip.compress(head[:40] + struct.pack("<8h", 3, 999, 999, 999, 1, 1, 1, 1) + head[56:] + bytes(MIB))
    yield (
        "a detached file",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/passwd\n\n",
    )
    yield "unknown type", nrrd_file().replace(b"type: int16", b"type: block")
    yield "no space", nrrd_file().replace(b"space: left-posterior-superior\n", b"")
    yield "unknown encoding", nrrd_file().replace(b"encoding: raw", b"encoding: hex")
    yield "endless head", b"NRRD0004\n" + b"# x\n" * (1 << 19)
    yield "huge sizes", nrrd_file().replace(b"sizes: 20 22 18", b"sizes: 9999999999 22 18")
    yield "constant", nifti(np.ones((4, 4, 4), np.uint8))


@pytest.mark.parametrize(("name", "data"), by_name(malformed_files()))
def test_malformed_image_files_are_refused(name, data):
    before = psutil.Process().memory_info().rss
    with pytest.raises(VolumeError):
        image_files.read(data, 64 * MIB)
    assert psutil.Process().memory_info().rss - before < 300 * MIB


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_damaged_image_files_are_read_or_refused(data):
    good = bytearray(data.draw(st.sampled_from([nifti(IMAGE[:5, :5, :5]), nrrd_file(IMAGE[:5, :5, :5])])))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, min(400, len(good) - 1)))] = data.draw(st.integers(0, 255))
    try:
        volume = image_files.read(bytes(good), MIB)
    except VolumeError:
        return
    assert volume.array.ndim == 3
