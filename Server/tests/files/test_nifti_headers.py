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
