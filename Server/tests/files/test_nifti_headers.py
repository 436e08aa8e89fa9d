"""NIfTI images in two files, and headers that say too little of the image or contradict themselves."""

import gzip
import warnings

import nibabel
import numpy as np
import pytest
from nibabel.analyze import AnalyzeImage

from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.volume import Volume

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 8, 9), dtype=np.int16)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -20], [0, 2.5, 0, 10], [0, 0, 0, 1]])


def pair(folder, end=""):
    nibabel.save(nibabel.Nifti1Pair(VOXELS, AFFINE), folder / f"ct.img{end}")
    return folder


def changed_header(path, **fields):
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.set_qform(None, 0)
    image.header["vox_offset"] = 352
    for name, value in fields.items():
        image.header[name] = value
    data = image.header.binaryblock + b"\0" * 4 + VOXELS.tobytes(order="F")
    path.write_bytes(data[:344] + b"n+1\0" + data[348:])
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("named", ["hdr", "img"])
def test_a_pair_of_files_is_the_image_by_either_name(tmp_path, named, end):
    volume = Volume.read(pair(tmp_path, end) / f"ct.{named}{end}")
    assert np.array_equal(volume.array, VOXELS)
    assert np.allclose(volume.grid.index_to_world, AFFINE)


@pytest.mark.parametrize("named", ["hdr", "img"])
def test_a_pair_that_ends_early_is_refused(tmp_path, named):
    """ITK fills what is missing with whatever is in memory."""
    voxels = pair(tmp_path) / "ct.img"
    voxels.write_bytes(voxels.read_bytes()[:-2])
    with pytest.raises(VolumeError, match=rf"ct\.{named}: the file is damaged or incomplete"):
        Volume.read(tmp_path / f"ct.{named}")


def test_half_of_a_pair_names_the_other_file(tmp_path):
    (pair(tmp_path) / "ct.img").rename(tmp_path / "alone.img")
    with pytest.raises(VolumeError, match=r"ct\.hdr: one of two files; ct\.img is missing"):
        Volume.read(tmp_path / "ct.hdr")
    with pytest.raises(VolumeError, match=r"alone\.img: the voxels of an image without its header"):
        Volume.read(tmp_path / "alone.img")


def test_analyze_files_which_have_no_left_side_are_refused(tmp_path):
    AnalyzeImage(VOXELS, AFFINE).to_filename(tmp_path / "ct.img")
    with pytest.raises(VolumeError, match=r"ct\.hdr: an ANALYZE file, which does not say which side"):
        Volume.read(tmp_path / "ct.hdr")


def test_voxels_of_no_size_are_refused_not_taken_for_1_mm(tmp_path):
    path = changed_header(tmp_path / "ct.nii", pixdim=[1, 2, 0, 3, 0, 0, 0, 0])
    with pytest.raises(VolumeError, match=r"ct\.nii: a voxel size in its header is 0"):
        Volume.read(path)


def test_two_sizes_of_voxels_in_one_header_are_said(tmp_path):
    path = changed_header(tmp_path / "ct.nii", pixdim=[1, 2, 2.5, 1, 0, 0, 0, 0])
    with pytest.warns(VolumeWarning, match=r"ct\.nii: .* 2 x 2\.5 x 1 mm \(pixdim\) and 2 x 2\.5 x 3 mm \(sform\)"):
        assert np.allclose(Volume.read(path).grid.spacing, (2, 2.5, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Volume.read(changed_header(tmp_path / "same.nii", pixdim=[1, 2, 2.5, 3, 0, 0, 0, 0]))


@pytest.mark.parametrize(
    "number", [{"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, {"quatern_c": np.nan}, {"qoffset_x": np.inf}]
)
def test_numbers_that_are_none_are_refused_not_replaced(tmp_path, number):
    """ITK would take 1 or 0 for them: another size, or another place."""
    file = changed_header(tmp_path / "ct.nii", sform_code=0, qform_code=1, **number)
    with pytest.raises(VolumeError, match=r"ct\.nii: its header is damaged: a voxel size, or a number that says where"):
        Volume.read(file)
    Volume.read(changed_header(tmp_path / "ct.nii", quatern_c=np.nan))  # of no use beside an sform


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_size_that_no_voxel_has_names_the_file(tmp_path, size):
    file = changed_header(tmp_path / "ct.nii", sform_code=0, qform_code=1, pixdim=[1, size, 1, 1, 0, 0, 0, 0])
    with pytest.raises(VolumeError, match=r"^ct\.nii: where its voxels lie is damaged .* too small or too large"):
        Volume.read(file)


def test_a_header_without_a_position_says_that_sides_are_a_guess(tmp_path):
    file = changed_header(tmp_path / "ct.nii", sform_code=0)
    with pytest.warns(VolumeWarning, match=r"neither sform nor qform\), so which side is left is a guess"):
        assert np.array_equal(Volume.read(file).array, VOXELS)


@pytest.mark.parametrize("begin", [0, 348, -5, np.nan, np.inf])
def test_voxels_that_would_begin_within_the_header_are_refused(tmp_path, begin):
    with pytest.raises(VolumeError, match=r"ct\.nii: its header says that its voxels begin within it"):
        Volume.read(changed_header(tmp_path / "ct.nii", vox_offset=begin))


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_that_no_file_of_that_length_has_take_no_memory(tmp_path, packed, monkeypatch):
    file = changed_header(tmp_path / "ct.nii", dim=[3, 20000, 20000, 20000, 1, 1, 1, 1])
    if packed:
        file = tmp_path / "ct.nii.gz"
        file.write_bytes(gzip.compress((tmp_path / "ct.nii").read_bytes()))
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(VolumeError, match=r"ct\.nii.*: the file is damaged or incomplete"):
        Volume.read(file)


def test_more_voxels_than_memory_are_said(tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(VolumeError, match=r"ct\.nii: its voxels take 0 GiB, more memory than there is"):
        Volume.read(changed_header(tmp_path / "ct.nii"))


def test_a_line_of_voxels_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VOXELS[:, 0, 0], AFFINE), tmp_path / "line.nii")
    with pytest.raises(VolumeError, match=r"line\.nii: this is a 1-D image"):
        Volume.read(tmp_path / "line.nii")


def test_of_two_positions_with_one_origin_the_one_that_is_used_is_named(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    turned = AFFINE @ np.diag([1, -1, -1, 1])
    for codes, taken, expected in (((1, 1), "sform", AFFINE), ((2, 1), "qform", turned)):
        image.set_sform(AFFINE, codes[0])
        image.set_qform(turned, codes[1])
        nibabel.save(image, tmp_path / "ct.nii")
        with pytest.warns(VolumeWarning, match=rf"The {taken} is used"):
            assert np.allclose(Volume.read(tmp_path / "ct.nii").grid.index_to_world, expected, atol=1e-4)


def nifti(version=nibabel.Nifti1Image):
    return version(VOXELS, AFFINE).to_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ct.nii.gz", b"", r"the file is empty"),
        ("ct.nii", gzip.compress(nifti()), r"compressed NIfTI by what it holds.* end in \.nii\.gz"),
        ("ct", nifti(), r"NIfTI by what it holds, but not by its name\. Rename it to end in \.nii\."),
        ("ct.nii.gz", b"NRRD0005\n# a header", r"NRRD by what it holds.* end in \.nrrd"),
        ("ct.nrrd", b"ObjectType = Image\nNDims = 3\n", r"MetaImage by what it holds.* end in \.mha"),
        ("ct.nii", nifti(nibabel.Nifti2Image), r"a file of NIfTI-2, which cannot be read\. Convert"),
        ("ct.nii.gz", gzip.compress(nifti(nibabel.Nifti2Image)), r"a file of NIfTI-2"),
        ("ct.nii.gz", b"PK\x03\x04rest", r"a zip archive\. Unpack it"),
        ("ct.nii.gz", b"\n<!DOCTYPE html><html>", r"a web page"),
        ("ct.nii.gz", b"version https://git-lfs.github.com/spec/v1\n", r"not the image, .*git lfs pull"),
        ("ct.nii.gz", gzip.compress(nifti())[:20], r"the file is damaged or incomplete"),
        ("ct.nrrd", b"NRRD9", r"the file is damaged or incomplete"),
        ("notes.txt", b"some words", r"not an image file that can be read"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_file_that_no_reader_takes_is_told_by_what_it_holds(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VolumeError, match=rf"{name}: {message}"):
        Volume.read(tmp_path / name)
