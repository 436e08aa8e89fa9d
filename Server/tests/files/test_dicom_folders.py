"""Folders of DICOM slices that look like a volume and are none, and slices that are rescaled each in its own way."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume

SHAPE = (12, 10, 6)


def stored(seed=0):
    return np.random.default_rng(seed).integers(0, 1000, SHAPE, dtype=np.int16)


def write_series(folder, slices, change=lambda _dataset, _k: None):
    """Write slices 2.5 mm apart, with pixels of 0.8 x 0.9 mm, after a change of each."""
    folder.mkdir()
    series = generate_uid()
    for k in range(slices.shape[2]):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = series, "1.2.3", "CT"
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2.5 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.9, 0.8], 2.5
        ds.Rows, ds.Columns = slices.shape[1], slices.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.InstanceNumber = 1, 0, k + 1
        ds.PixelData = np.ascontiguousarray(slices[:, :, k].T).tobytes()
        change(ds, k)
        ds.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
    return folder


def from_the_middle_on(keyword, value):
    def change(dataset, k):
        if k >= SHAPE[2] // 2:
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        from_the_middle_on("ImageOrientationPatient", [-1, 0, 0, 0, -1, 0]),
        from_the_middle_on("ImageOrientationPatient", [0, 1, 0, 1, 0, 0]),
        from_the_middle_on("PixelSpacing", [0.9, 0.85]),
    ],
)
def test_slices_that_are_turned_or_scaled_against_each_other_are_refused(tmp_path, change):
    with pytest.raises(VolumeError, match=r"ct: its slices are not parallel, or their pixels not of one size"):
        Volume.read(write_series(tmp_path / "ct", stored(), change))


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_that_do_not_say_where_they_lie_are_refused_not_taken_for_cubes_of_1_mm(tmp_path, keyword):
    with pytest.raises(VolumeError, match=r"ct: its slices do not say where they lie or how large their pixels are"):
        Volume.read(write_series(tmp_path / "ct", stored(), lambda dataset, _: delattr(dataset, keyword)))


@pytest.mark.parametrize("count", [2, 6])
def test_slices_of_one_place_in_time_are_no_volume(tmp_path, count):
    def at_one_place(dataset, _):
        dataset.ImagePositionPatient = [0, 0, 5]

    with pytest.raises(VolumeError, match=rf"ct: all {count} slices lie at the same place"):
        Volume.read(write_series(tmp_path / "ct", stored()[:, :, :count], at_one_place))


def test_a_tilted_gantry_is_noticed_in_two_slices(tmp_path):
    def tilted(dataset, k):
        dataset.ImagePositionPatient = [0, 2.0 * k, 2.5 * k]

    with pytest.raises(VolumeError, match=r"tilted gantry"):
        Volume.read(write_series(tmp_path / "ct", stored()[:, :, :2], tilted))


def test_numbers_rounded_in_the_header_make_no_other_stack(tmp_path):
    def rounded(dataset, k):
        dataset.ImageOrientationPatient = [1, 1e-6 * k, 0, -1e-6 * k, 1, 0]
        dataset.PixelSpacing = [0.9, 0.8 + 1e-6 * k]

    volume = Volume.read(write_series(tmp_path / "ct", stored(), rounded))
    assert np.array_equal(volume.array, stored())


def test_a_slice_of_whole_numbers_before_others_does_not_cut_their_fractions(tmp_path):
    """PET series have a slope for each slice, and 1 where a slice holds nothing."""

    def rescaled(dataset, k):
        dataset.RescaleSlope = 1 if k == 0 else 0.25 * k + 0.125

    volume = Volume.read(write_series(tmp_path / "pet", stored(), rescaled))
    slopes = [1, *(0.25 * k + 0.125 for k in range(1, SHAPE[2]))]
    assert np.array_equal(volume.array, stored() * np.array(slopes))


def test_slices_that_are_all_rescaled_alike_keep_their_type(tmp_path):
    assert Volume.read(write_series(tmp_path / "ct", stored())).array.dtype == np.int16
