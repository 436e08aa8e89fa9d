"""Folders of DICOM slices that look like a volume and are none, and slices that are rescaled each in its own way."""

import functools
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ct_slices import write_slices
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.dicom_slices import volume_of
from sammed3d.files.volume import Volume

SHAPE = (12, 10, 6)


def stored(seed=0):
    return np.random.default_rng(seed).integers(0, 1000, SHAPE, dtype=np.int16)


write_series = functools.partial(write_slices, intercept=0)


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
        Volume.read(write_series(tmp_path / "ct", stored(), change=change))


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_that_do_not_say_where_they_lie_are_refused_not_taken_for_cubes_of_1_mm(tmp_path, keyword):
    with pytest.raises(VolumeError, match=r"ct: its slices do not say where they lie or how large their pixels are"):
        Volume.read(write_series(tmp_path / "ct", stored(), change=lambda dataset, _: delattr(dataset, keyword)))


@pytest.mark.parametrize("count", [2, 6])
def test_slices_of_one_place_in_time_are_no_volume(tmp_path, count):
    def at_one_place(dataset, _):
        dataset.ImagePositionPatient = [0, 0, 5]

    with pytest.raises(VolumeError, match=rf"ct: all {count} slices lie at the same place"):
        Volume.read(write_series(tmp_path / "ct", stored()[:, :, :count], change=at_one_place))


def test_a_tilted_gantry_is_noticed_in_two_slices(tmp_path):
    def tilted(dataset, k):
        dataset.ImagePositionPatient = [0, 2.0 * k, 2.5 * k]

    with pytest.raises(VolumeError, match=r"tilted gantry"):
        Volume.read(write_series(tmp_path / "ct", stored()[:, :, :2], change=tilted))


def test_numbers_rounded_in_the_header_make_no_other_stack(tmp_path):
    def rounded(dataset, k):
        dataset.ImageOrientationPatient = [1, 1e-6 * k, 0, -1e-6 * k, 1, 0]
        dataset.PixelSpacing = [0.9, 0.8 + 1e-6 * k]

    volume = Volume.read(write_series(tmp_path / "ct", stored(), change=rounded))
    assert np.array_equal(volume.array, stored())


def test_a_slice_of_whole_numbers_before_others_does_not_cut_their_fractions(tmp_path):
    """PET series have a slope for each slice, and 1 where a slice holds nothing."""

    def rescaled(dataset, k):
        dataset.RescaleSlope = 1 if k == 0 else 0.25 * k + 0.125

    volume = Volume.read(write_series(tmp_path / "pet", stored(), change=rescaled))
    slopes = [1, *(0.25 * k + 0.125 for k in range(1, SHAPE[2]))]
    assert np.array_equal(volume.array, stored() * np.array(slopes))


def test_slices_that_are_all_rescaled_alike_keep_their_type(tmp_path):
    assert Volume.read(write_series(tmp_path / "ct", stored())).array.dtype == np.int16


def test_pixels_of_no_size_are_refused_not_taken_for_1_mm(tmp_path):
    def no_size(dataset, _):
        dataset.PixelSpacing = [0, 0]

    with pytest.raises(VolumeError, match=r"ct: a pixel of its slices is 0 mm large"):
        Volume.read(write_series(tmp_path / "ct", stored(), change=no_size))


def test_slices_that_are_there_twice_are_told(tmp_path):
    folder = write_series(tmp_path / "ct", stored())
    (folder / "copy.dcm").write_bytes(next(folder.iterdir()).read_bytes())
    with pytest.raises(VolumeError, match=r"not evenly spaced \(some are missing or there twice"):
        Volume.read(folder)


def test_slices_with_bright_and_dark_exchanged_are_said(tmp_path):
    def exchanged(dataset, _):
        dataset.PhotometricInterpretation = "MONOCHROME1"

    with pytest.warns(VolumeWarning, match=r"ct: its slices are stored with bright and dark exchanged"):
        volume = Volume.read(write_series(tmp_path / "ct", stored(), change=exchanged))
    assert np.array_equal(volume.array, -1 - stored()), "of signed numbers"


def test_a_header_that_gdcm_chokes_on_is_one_line(tmp_path):
    folder = write_series(
        tmp_path / "ct", stored(), change=lambda dataset, _: dataset.add_new(0x00280030, "LO", "a\\b")
    )
    with pytest.raises(VolumeError, match=r"^ct: one of its DICOM files has a header that cannot be read"):
        Volume.read(folder)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_order_of_bytes_gives_the_same_values(tmp_path, syntax):
    def swapped(dataset, _):
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()

    volume = Volume.read(write_series(tmp_path / "ct", stored(), syntax=syntax, change=swapped))
    assert np.array_equal(volume.array, stored())


@pytest.mark.parametrize(
    ("said", "thick"), [({}, 2.5), ({"SpacingBetweenSlices": 3}, 3), ({"SliceThickness": None}, 1)]
)
def test_a_single_slice_is_as_thick_as_it_says(tmp_path, said, thick):
    """ITK takes 1 mm where nothing says how far slices lie apart, so volumes of segments would be wrong."""

    def change(dataset, _):
        for keyword, value in said.items():
            setattr(dataset, keyword, value)

    folder = write_series(tmp_path / "ct", stored()[..., :1], change=change)
    [file] = folder.iterdir()
    for path in (folder, file):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            volume = Volume.read(path)
        assert np.allclose(volume.grid.spacing, (0.8, 0.9, thick))
        assert np.allclose(volume.grid.to_world((0, 0, 0)), (10, 20, 30))
        expected = [] if thick > 1 else [f"{path.name}: its header does not say how thick its slice is (1 mm is taken)"]
        assert [str(each.message).partition(". ")[0] for each in told] == expected


@pytest.mark.parametrize("slices", [1, 6])
def test_slices_0_mm_apart_are_refused_by_what_their_header_says(tmp_path, slices):
    def change(dataset, _):
        dataset.SpacingBetweenSlices = 0

    with pytest.raises(VolumeError, match=r"ct: its header says that slices lie 0 mm apart \(Spacing Between Slices\)"):
        Volume.read(write_series(tmp_path / "ct", stored()[..., :slices], change=change))


def with_table(dataset, _=0):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [1000, 0, 16], "US"
    table.LUTData = np.arange(1000, dtype="<u2").tobytes()
    dataset.ModalityLUTSequence = [table]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("slices", [1, 6])
def test_values_that_go_through_a_table_are_refused(tmp_path, slices, syntax):
    folder = write_series(tmp_path / "ct", stored()[..., :slices], change=with_table, syntax=syntax)
    for path in (folder, sorted(folder.iterdir())[0]):
        with pytest.raises(
            VolumeError, match=rf"^{path.name}: .* \(Modality LUT Sequence\), which is not applied here"
        ):
            Volume.read(path)


def test_a_table_of_any_slice_is_found(tmp_path):
    folder = write_series(tmp_path / "ct", stored(), change=lambda dataset, k: with_table(dataset) if k == 4 else None)
    with pytest.raises(VolumeError, match=r"^ct: .* \(Modality LUT Sequence\), which is not applied here"):
        Volume.read(folder)


def test_an_empty_sequence_of_tables_is_none(tmp_path):
    def change(dataset, _):
        dataset.ModalityLUTSequence = []

    for name, syntax in {"plain": ExplicitVRLittleEndian, "deflated": DeflatedExplicitVRLittleEndian}.items():
        folder = write_series(tmp_path / name, stored(), change=change, syntax=syntax)
        assert np.array_equal(Volume.read(folder).array, stored())


def test_slices_in_memory_keep_their_thickness_and_are_refused_with_a_table(tmp_path):
    def of(*slices, **said):
        for each in slices:
            for keyword, value in said.items():
                setattr(each, keyword, value)
        return volume_of(slices, "the series")

    files = sorted(write_series(tmp_path / "ct", stored()).iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    assert of(slices[0]).grid.spacing[2] == pytest.approx(2.5)
    assert of(slices[0], SpacingBetweenSlices=3).grid.spacing[2] == pytest.approx(3)
    assert of(*slices, SpacingBetweenSlices=0).grid.spacing[2] == pytest.approx(2.5), "which their places say"
    with_table(slices[3])
    with pytest.raises(VolumeError, match=r"the series: .* \(Modality LUT Sequence\), which is not applied here"):
        of(*slices)
