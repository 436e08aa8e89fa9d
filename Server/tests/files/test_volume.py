import gzip
import os
import sys
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings

from ct_slices import write_slices
from helpers import grids, make_affine, phantom, write_image
from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.volume import Volume, grid_of, image_on

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha"]


# Reading


def nifti_with(path, sform, qform, codes=(1, 1)):
    """A NIfTI file whose header holds two positions."""
    image = nibabel.Nifti1Image(phantom((7, 8, 9)), sform)
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nibabel.save(image, path)
    return path


def test_two_positions_that_disagree_are_said(tmp_path):
    """ITK, and 3D Slicer with it, takes the sform for scanner coordinates, else the qform."""
    here, there = make_affine((2, 2, 3), (0, 0, 0.1), (1, 2, 3)), make_affine((2, 2, 3), (0, 0, 0.1), (31, 42, 3))
    for codes, expected, taken in (((1, 1), here, "sform"), ((2, 1), there, "qform")):
        file = nifti_with(tmp_path / "two.nii.gz", here, there, codes)
        with pytest.warns(VolumeWarning, match=rf"two positions .* up to 50\.0 mm apart. The {taken} is used"):
            volume = Volume.read(file)
        assert np.abs(volume.grid.index_to_world - expected).max() < 1e-3
    for angle in (-0.3, 2.0):
        affine = make_affine((2, 2, 3), (0.2, angle, 0.1), (1, 2, 3))
        affine[:3, 2] *= -1  # left-handed, which the header says in a place of its own
        Volume.read(nifti_with(tmp_path / "one.nii.gz", affine, affine))  # agreeing ones are no warning
    Volume.read(nifti_with(tmp_path / "one.nii.gz", here, there, (1, 0)))


def test_negative_voxel_sizes_are_refused(tmp_path):
    """ITK would mirror such an image."""
    affine = make_affine((2, 2, 3))
    file = nifti_with(tmp_path / "image.nii", affine, affine)
    content = bytearray(file.read_bytes())
    content[80:84] = np.float32(-2).tobytes()  # pixdim[1]
    file.write_bytes(content)
    with pytest.raises(VolumeError, match=r"image\.nii: a voxel size in its header is negative \(-2, 2, 3 mm\)"):
        Volume.read(file)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_give_their_voxels_and_geometry(tmp_path, suffix):
    array = phantom((7, 8, 9))
    affine = make_affine((0.7, 1.2, 3.3), (0.3, 0.2, -0.5), (10, -20, 30))
    volume = Volume.read(write_image(tmp_path / f"image{suffix}", array, affine))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, array)
    assert np.abs(volume.grid.index_to_world - affine).max() < 1e-4
    assert volume.name == f"image{suffix}"


def test_nibabel_agrees_on_voxels_and_world(tmp_path):
    import nibabel

    array = phantom((5, 6, 7))
    affine = make_affine((-1.5, 2.0, 2.5), (0.1, -0.2, 0.3), (4, 5, 6))
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "nib.nii.gz")
    volume = Volume.read(tmp_path / "nib.nii.gz")
    assert np.array_equal(volume.array, array)
    assert np.abs(volume.grid.index_to_world - affine).max() < 1e-4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grids(max_voxels=6))
def test_a_grid_survives_an_itk_image(grid):
    assert np.abs(grid_of(image_on(grid, sitk.sitkUInt8)).index_to_world - grid.index_to_world).max() < 1e-9 * 2000


@pytest.mark.parametrize("code", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("scaling", [(1, 0), (0, 0), (0.5, -100), (2, 0)])
def test_nifti_types_byte_orders_and_scaling_are_those_of_nibabel(tmp_path, code, scaling):
    import nibabel

    array = phantom((5, 6, 7)) // 10
    image = nibabel.Nifti1Image(
        array.astype(code), make_affine((1, 2, 3)), nibabel.Nifti1Header(endianness=">"[: ">" in code] or "<")
    )
    image.header.set_data_dtype(code)
    image.header.set_slope_inter(*(scaling if scaling[0] else (1, 0)))
    nibabel.save(image, tmp_path / "x.nii.gz")
    expected = nibabel.load(tmp_path / "x.nii.gz")
    volume = Volume.read(tmp_path / "x.nii.gz")
    assert np.abs(volume.array - np.asanyarray(expected.dataobj)).max() < 1e-3
    assert volume.array.dtype.isnative
    if expected.dataobj.slope == 1 and expected.dataobj.inter == 0:
        assert volume.array.dtype == np.dtype(code).newbyteorder("=")


def test_damaged_gzip_data_are_noticed(tmp_path):
    path = write_image(tmp_path / "image.nii.gz", phantom((30, 30, 30)), make_affine((1, 1, 1)))
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # the checksum
    path.write_bytes(data)
    with pytest.raises(VolumeError, match=r"image\.nii\.gz.*damaged"):
        Volume.read(path)


def test_a_file_that_is_not_compressed_though_its_name_says_so_is_read(tmp_path):
    affine = make_affine((1, 2, 3), (0.1, 0.2, 0.3), (4, 5, 6))
    file = nifti_with(tmp_path / "plain.nii", affine, affine).rename(tmp_path / "plain.nii.gz")
    volume = Volume.read(file)
    assert np.array_equal(volume.array, phantom((7, 8, 9)))
    assert np.abs(volume.grid.index_to_world - affine).max() < 1e-4


def test_the_array_lives_as_long_as_the_volume(tmp_path):
    volume = Volume.read(write_image(tmp_path / "image.nii", phantom((30, 30, 30)), make_affine((1, 1, 1))))
    [np.full(50_000, n) for n in range(50)]
    assert np.array_equal(volume.array, phantom((30, 30, 30)))


# Refusing


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VolumeError, match=r"nothing\.nii: there is no such file"):
        Volume.read(tmp_path / "nothing.nii")


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes in folders")
def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    with pytest.raises(VolumeError, match=r"/dev/null: is a pipe or a device, .* Write them into a file"):
        Volume.read("/dev/null")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(VolumeError, match=r"pipe\.nii\.gz: is a pipe or a device"):
        Volume.read(tmp_path / "pipe.nii.gz")


def test_a_file_holds_no_further_series(tmp_path):
    file = write_image(tmp_path / "image.nii.gz", phantom((7, 8, 9)), np.eye(4))
    assert Volume.read(file, series=0).grid.shape == (7, 8, 9)
    with pytest.raises(VolumeError, match=r"image\.nii\.gz: there is no series 2 in it"):
        Volume.read(file, series=2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_named_with_a_remedy(tmp_path, suffix):
    path = write_image(tmp_path / f"image{suffix}", phantom((30, 30, 30)), make_affine((1, 1, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VolumeError, match=rf"image\{suffix}.*damaged or incomplete"):
        Volume.read(path)


def test_a_file_that_is_no_image_is_named_with_a_remedy(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "fake.nii.gz").write_bytes(gzip.compress(b"hello"))
    with pytest.raises(VolumeError, match=r"notes\.txt: not an image file.*Use NIfTI"):
        Volume.read(tmp_path / "notes.txt")
    with pytest.raises(VolumeError, match=r"fake\.nii\.gz"):
        Volume.read(tmp_path / "fake.nii.gz")


def test_other_dimensions_and_colours_are_refused(tmp_path):
    sitk.WriteImage(sitk.Image([4, 5, 6, 3], sitk.sitkInt16), str(tmp_path / "series.nii"))
    with pytest.raises(
        VolumeError, match=r"series\.nii: this image has 4 dimensions.*Extract one 3-D frame.*`sammed3d propagate`"
    ):
        Volume.read(tmp_path / "series.nii")
    sitk.WriteImage(sitk.Image([4, 5], sitk.sitkInt16), str(tmp_path / "slice.mha"))
    with pytest.raises(VolumeError, match=r"slice\.mha: this is a 2-D image"):
        Volume.read(tmp_path / "slice.mha")
    sitk.WriteImage(sitk.Image([4, 5, 6], sitk.sitkVectorUInt8, 3), str(tmp_path / "colour.nrrd"))
    with pytest.raises(VolumeError, match=r"colour\.nrrd: every voxel has 3 values"):
        Volume.read(tmp_path / "colour.nrrd")


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_single_frame_with_four_axes_is_a_volume(tmp_path, suffix):
    import nibabel

    array, affine = phantom((5, 6, 7)), make_affine((1, 2, 3), (0.1, 0.2, 0.3), (4, 5, 6))
    path = tmp_path / f"frame{suffix}"
    if suffix == ".nii":
        nibabel.save(nibabel.Nifti1Image(array[..., None], affine), path)
    else:
        image = sitk.JoinSeries([sitk.ReadImage(write_image(tmp_path / "x.nrrd", array, affine))])
        sitk.WriteImage(image, str(path))
    volume = Volume.read(path)
    assert np.array_equal(volume.array, array)
    assert np.abs(volume.grid.index_to_world - affine).max() < 1e-4


def test_sheared_nifti_headers_are_refused_with_a_remedy(tmp_path):
    import nibabel

    affine = np.eye(4)
    affine[0, 1] = 0.4
    nibabel.save(nibabel.Nifti1Image(phantom((5, 6, 7)), affine), tmp_path / "sheared.nii")
    with pytest.raises(VolumeError, match=r"sheared\.nii: the image axes.*not perpendicular.*Resample"):
        Volume.read(tmp_path / "sheared.nii")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 4), np.int16), "all voxels have the same value"),
        (np.full((4, 4, 4), np.nan, np.float32), "no voxel has a finite value"),
        (np.zeros((4, 4), np.int16), "expected a 3-D array"),
        (np.zeros((4, 4, 4), complex), "complex128 cannot be used"),
        (np.zeros((4, 4, 4), object), "object cannot be used"),
    ],
)
def test_arrays_that_cannot_be_segmented_are_refused(array, message):
    with pytest.raises(VolumeError, match=f"scan: .*{message}"):
        Volume(array, Grid((4, 4, 4), np.eye(4)), "scan")


def test_array_and_grid_must_agree():
    with pytest.raises(VolumeError, match=r"\(4, 5, 6\) but its grid is \(4, 5, 7\)"):
        Volume(phantom((4, 5, 6)), Grid((4, 5, 7), np.eye(4)))


def test_non_finite_voxels_become_the_minimum_with_a_warning():
    array = phantom((6, 6, 6)).astype(np.float32)
    low = array.min()
    array[0, 0, 0], array[1, 2, 3], array[5, 5, 5] = np.nan, np.inf, -np.inf
    given = array.copy()
    with pytest.warns(VolumeWarning, match="scan: 3 NaN or infinite voxels"):
        volume = Volume(array, Grid((6, 6, 6), np.eye(4)), "scan")
    assert volume.array[0, 0, 0] == volume.array[1, 2, 3] == volume.array[5, 5, 5] == low
    assert np.array_equal(array, given, equal_nan=True), "the caller's array is not touched"
    assert volume.non_finite == volume.apart("copy").non_finite == 3


def test_finite_volumes_give_no_warning_and_no_copy():
    array = phantom((6, 6, 6)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = Volume(array, Grid((6, 6, 6), np.eye(4)))
    assert volume.array is array
    assert volume.non_finite == 0


@pytest.mark.parametrize(
    ("spacing", "said"), [(0.001, r"0\.012 x 0\.01 x 0\.008 mm large"), (400, r"4800 x 4000 x 3200 mm large")]
)
def test_sizes_that_are_no_patients_are_said(tmp_path, spacing, said):
    path = tmp_path / "ct.nrrd"
    write_image(path, phantom((12, 10, 8)), np.diag([spacing, spacing, spacing, 1]))
    with pytest.warns(VolumeWarning, match=rf"ct\.nrrd: the image is .*{said} by its header\. Check"):
        Volume.read(path)
    write_image(path, phantom((12, 10, 8)), np.diag([0.1, 0.1, 200, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Volume.read(path)


# DICOM


def test_a_folder_of_dicom_slices_is_a_volume(tmp_path):
    array = phantom((12, 10, 8))
    volume = Volume.read(write_slices(tmp_path / "ct", array))
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.grid.spacing, (0.8, 0.9, 2.5))
    assert np.allclose(volume.grid.to_world((0, 0, 0)), (10, 20, 30))
    assert np.allclose(volume.grid.to_world((1, 2, 1)), (10 - 0.8, 20 - 1.8, 32.5))


def test_several_series_ask_which(tmp_path):
    """By what the department calls them, and not by whose they are, or of when."""

    def described(dataset, _k):
        dataset.SeriesDescription, dataset.SeriesDate, dataset.AccessionNumber = "portal\nvenous", "20200131", "A77"

    write_slices(tmp_path / "ct", phantom((12, 10, 8)), series="1.2.3.4", change=described)
    write_slices(tmp_path / "ct", phantom((12, 10, 5), 1), series="1.2.3.5")
    with pytest.raises(VolumeError) as caught:
        Volume.read(tmp_path / "ct")
    assert str(caught.value) == (
        "ct: this folder holds 2 series (0: CT, portal venous, 8 slices; 1: CT, 5 slices). Say which one to read "
        "(--series N; Volume.read(folder, series=N) in Python)."
    )
    assert {Volume.read(tmp_path / "ct", series=n).grid.shape[2] for n in (0, 1)} == {8, 5}
    with pytest.raises(VolumeError, match="no series 2"):
        Volume.read(tmp_path / "ct", series=2)


def test_missing_slices_and_tilted_gantries_are_refused_not_squeezed(tmp_path):
    with pytest.raises(VolumeError, match="gap: the slices are not evenly spaced"):
        Volume.read(write_slices(tmp_path / "gap", phantom((12, 10, 8)), skip=(3,)))
    with pytest.raises(VolumeError, match="tilt: the slices are shifted"):
        Volume.read(write_slices(tmp_path / "tilt", phantom((12, 10, 8)), shift=0.5))


def test_a_folder_without_dicom_and_damaged_slices_are_named(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="empty: this folder holds no DICOM slices"):
        Volume.read(tmp_path / "empty")
    assert capfd.readouterr().err == "", "GDCM says it in lines of its own"
    folder = write_slices(tmp_path / "broken", phantom((12, 10, 8)))
    victim = sorted(folder.iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-150])
    with pytest.raises(VolumeError, match="broken: "):
        Volume.read(folder)


def test_dicom_errors_do_not_name_the_patient(tmp_path):
    with pytest.raises(VolumeError) as caught:
        Volume.read(write_slices(tmp_path / "gap", phantom((12, 10, 8)), skip=(3,)))
    assert "Doe" not in str(caught.value)
    assert "12345" not in str(caught.value)
