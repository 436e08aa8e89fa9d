"""Files that ITK wrote to a disk that became full, without a word, are no results."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import make_affine, phantom, write_image
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.errors import VolumeError
from sammed3d.files import outputs
from sammed3d.files.collection import _write_image
from sammed3d.files.outputs import written_whole
from sammed3d.files.picture import write_png
from sammed3d.files.segmentation import Segment, write_segments, write_whole
from sammed3d.files.volume import Volume
from sammed3d.files.written import is_whole

SHAPE = (20, 22, 18)


@pytest.fixture(params=["mask.nii.gz", "mask.nii", "mask.png"])
def file(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".png":
        write_png(np.random.default_rng(0).integers(0, 255, (30, 40)).astype(np.uint8), path)
    else:
        write_image(path, phantom(SHAPE, 3), make_affine((2.0, 2.0, 3.0)))
    return path


def test_what_lacks_its_end_is_not_whole(file):
    content = file.read_bytes()
    assert is_whole(file)
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        assert not is_whole(file), length


def test_a_hole_in_compressed_voxels_is_noticed(tmp_path):
    file = tmp_path / "mask.nii.gz"
    write_image(file, phantom(SHAPE, 3), make_affine((2.0, 2.0, 3.0)))
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    file.write_bytes(bytes(content))
    assert not is_whole(file)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_headers_of_both_versions_and_byte_orders_say_how_long_a_file_is(version, order, tmp_path):
    """4-D, 16 bits: 5 x 4 x 3 x 2 voxels, 240 bytes, after the header."""
    header = bytearray(544 if version == 2 else 352)
    struct.pack_into(f"{order}i", header, 0, 540 if version == 2 else 348)
    if version == 2:
        struct.pack_into(f"{order}hh", header, 12, 4, 16)
        struct.pack_into(f"{order}8q", header, 16, 4, 5, 4, 3, 2, 1, 1, 1)
        struct.pack_into(f"{order}q", header, 168, 544)
    else:
        struct.pack_into(f"{order}8h", header, 40, 4, 5, 4, 3, 2, 1, 1, 1)
        struct.pack_into(f"{order}hh", header, 70, 4, 16)
        struct.pack_into(f"{order}f", header, 108, 352.0)
    for name, pack in (("x.nii", bytes), ("x.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(bytes(header) + bytes(240)))
        assert is_whole(tmp_path / name)
        (tmp_path / name).write_bytes(pack(bytes(header) + bytes(239)))
        assert not is_whole(tmp_path / name)


def test_files_of_other_kinds_are_left_to_their_writers(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"")
    assert is_whole(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "mask.png"])
def test_a_result_that_ends_too_early_is_told_and_leaves_what_was_there(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"before")

    def silently(_image, place, useCompression=True):  # noqa: N803 - ITK's
        with open(place, "wb") as stream:  # noqa: PTH123
            stream.write(b"\x1f\x8b a part")

    monkeypatch.setattr(sitk, "WriteImage", silently)
    image = sitk.Image([4, 4], sitk.sitkUInt8)
    with pytest.raises(VolumeError, match=rf"{name}: cannot be written\. Check the folder, permissions and free space"):
        write_whole(image, tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"before"
    volume = Volume(phantom((4, 5, 6), 1), Volume.read(_saved(tmp_path, monkeypatch)).grid)
    monkeypatch.setattr(sitk, "WriteImage", silently)
    with pytest.raises(VolumeError, match="cannot be written"):
        _write_image(volume, tmp_path / "image.nii.gz")


def _saved(folder, monkeypatch):
    monkeypatch.undo()
    write_image(folder / "grid.nii", phantom((4, 5, 6), 1), make_affine((2.0, 2.0, 3.0)))
    return folder / "grid.nii"


def test_what_is_whole_becomes_the_file(file):
    content = file.read_bytes()
    with written_whole(file) as beside:
        beside.write_bytes(content)
    assert file.read_bytes() == content
    assert outputs.is_whole(file)


MASK = (np.indices(SHAPE).sum(0) > 30).astype(np.uint8)
FORMATS = ["mask.seg.nrrd", "mask.nrrd", "mask.nhdr", "mask.mha", "mask.mhd"]


def segments(count=1):
    return [Segment(f"organ {n}", BoxedMask.of(MASK)) for n in range(count)]


@pytest.mark.parametrize("name", FORMATS)
def test_nrrd_and_meta_image_that_lack_their_end_are_not_whole(tmp_path, name):
    """Also where it is the file beside the header that ends early."""
    write_segments(tmp_path / name, segments(), Grid(SHAPE, np.eye(4)))
    assert is_whole(tmp_path / name)
    for part in list(tmp_path.iterdir()):
        content = part.read_bytes()
        for length in (0, 20, len(content) // 2, len(content) - (1 if part.suffix not in (".nhdr", ".mhd") else 30)):
            part.write_bytes(content[:length])
            assert not is_whole(tmp_path / name), (part.name, length)
        part.write_bytes(content)
    assert is_whole(tmp_path / name)


@pytest.mark.parametrize(("name", "count"), [*((name, 1) for name in FORMATS), ("mask.seg.nrrd", 2)])
@pytest.mark.parametrize("left", [0, 50])
def test_a_small_mask_that_itk_lost_when_it_closed_the_file_replaces_nothing(tmp_path, monkeypatch, name, count, left):
    """All of it waits in memory until then, and where the disk is full by then, ITK does not look."""
    grid = Grid(SHAPE, np.eye(4))
    write_segments(tmp_path / name, segments(), grid)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    write = sitk.WriteImage

    def full(image, file, **options):
        write(image, file, **options)
        for part in Path(file).parent.glob("*" if Path(file).parent != tmp_path else Path(file).name):
            part.write_bytes(part.read_bytes()[:left])

    monkeypatch.setattr(sitk, "WriteImage", full)
    with pytest.raises(VolumeError, match=r"mask\.\S+: cannot be written\. Check .* free space"):
        write_segments(tmp_path / name, segments(count), grid)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
