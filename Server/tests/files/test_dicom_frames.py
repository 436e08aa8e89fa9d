"""DICOM files of many frames: an even stack is a volume, and what is none is refused with a remedy."""

import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    RTDoseStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from helpers import phantom
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.volume import Volume

ARRAY = phantom((12, 10, 8))
EVEN = [2.5 * k for k in range(8)]
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
REFUSED = r"ct\.dcm: its 8 frames are not evenly spaced .* Convert it to NIfTI"


def of(**values):
    made = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def write_frames(path, heights, syntax=ExplicitVRLittleEndian, spacing=(0.9, 0.8), turned=(), slopes=(), preamble=True):
    """Write an enhanced CT whose frames lie at these heights; those that are named are turned, or have slopes."""
    ds = of(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.Modality = generate_uid(), "CT"
    ds.Rows, ds.Columns, ds.NumberOfFrames = ARRAY.shape[1], ARRAY.shape[0], len(heights)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    shared = of(PixelMeasuresSequence=[of(PixelSpacing=list(spacing), SliceThickness=2.5)])
    if not turned:
        shared.PlaneOrientationSequence = [of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = [of(PlanePositionSequence=[of(ImagePositionPatient=[-10, -20, 30 + height])]) for height in heights]
    for n in range(len(frames) if turned else 0):
        axes = [0, 1, 0, 1, 0, 0] if n in turned else [1, 0, 0, 0, 1, 0]
        frames[n].PlaneOrientationSequence = [of(ImageOrientationPatient=axes)]
    for n, slope in enumerate(slopes):
        frames[n].PixelValueTransformationSequence = [of(RescaleSlope=slope, RescaleIntercept=-9, RescaleType="US")]
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = np.ascontiguousarray(ARRAY.T[: len(heights)]).tobytes()
    ds.save_as(path, enforce_file_format=preamble)
    return path


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("heights", [EVEN, [-z for z in EVEN]], ids=["up", "down"])
def test_an_even_stack_of_frames_is_a_volume(tmp_path, syntax, heights):
    volume = Volume.read(write_frames(tmp_path / "ct.dcm", heights, syntax))
    assert np.array_equal(volume.array, ARRAY)
    assert np.allclose(volume.grid.spacing, (0.8, 0.9, 2.5))
    for k in (0, 7):
        assert np.allclose(volume.grid.to_world((1, 2, k)), (10 - 0.8, 20 - 1.8, 30 + heights[k]))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "heights",
    [[*EVEN[:4], *(z + 10 for z in EVEN[4:])], [EVEN[3 * k % 8] for k in range(8)], EVEN[:4] * 2],
    ids=["gap", "shuffled", "twice"],
)
def test_frames_that_are_no_even_stack_are_refused(tmp_path, syntax, heights):
    with pytest.raises(VolumeError, match=REFUSED):
        Volume.read(write_frames(tmp_path / "ct.dcm", heights, syntax))


def test_frames_that_are_turned_or_whose_places_cannot_be_looked_up_are_refused(tmp_path):
    with pytest.raises(VolumeError, match=REFUSED):
        Volume.read(write_frames(tmp_path / "ct.dcm", EVEN, turned=(5,)))
    with pytest.raises(VolumeError, match=REFUSED):
        Volume.read(write_frames(tmp_path / "ct.dcm", EVEN, ExplicitVRBigEndian))


def test_frames_without_places_of_their_own_are_left_to_itk(tmp_path):
    image = sitk.GetImageFromArray(ARRAY.T.astype(np.uint16))
    image.SetSpacing((1.5, 1.5, 2.5))
    sitk.WriteImage(image, str(tmp_path / "plain.dcm"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = Volume.read(tmp_path / "plain.dcm")
    assert np.array_equal(volume.array, ARRAY)
    assert np.allclose(volume.grid.spacing, (1.5, 1.5, 2.5))


def test_a_folder_with_a_file_of_many_frames_says_to_give_the_file(tmp_path):
    (tmp_path / "scan").mkdir()
    write_frames(tmp_path / "scan" / "ct.dcm", EVEN)
    with pytest.raises(VolumeError, match=r"scan: each file .* several slices. Give the file instead of the folder"):
        Volume.read(tmp_path / "scan")


def test_frames_that_are_all_rescaled_alike_are_rescaled_and_others_refused(tmp_path):
    alike = Volume.read(write_frames(tmp_path / "alike.dcm", EVEN, slopes=[2] * 8))
    assert np.array_equal(alike.array, 2 * ARRAY - 9)
    with pytest.raises(
        VolumeError, match=r"pet\.dcm: the values of its frames are rescaled each in its own way.*NIfTI"
    ):
        Volume.read(write_frames(tmp_path / "pet.dcm", EVEN, slopes=[2] * 7 + [3]))


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES[:2])
def test_a_single_frame_is_as_thick_as_it_says(tmp_path, syntax, preamble):
    volume = Volume.read(write_frames(tmp_path / "ct.dcm", [7.0], syntax, preamble=preamble))
    assert np.array_equal(volume.array, ARRAY[..., :1])
    assert np.allclose(volume.grid.spacing, (0.8, 0.9, 2.5))
    assert np.allclose(volume.grid.to_world((1, 2, 0)), (10 - 0.8, 20 - 1.8, 37))


def test_frames_without_a_preamble_are_looked_at_like_others(tmp_path):
    assert np.array_equal(Volume.read(write_frames(tmp_path / "even.dcm", EVEN, preamble=False)).array, ARRAY)
    with pytest.raises(VolumeError, match=REFUSED):
        Volume.read(write_frames(tmp_path / "ct.dcm", EVEN[:4] * 2, preamble=False))


def write_plain(path, kind, **more):
    """Write frames of an older kind, which have no places of their own."""
    ds = of(SOPClassUID=kind, SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = kind, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.Modality = generate_uid(), "OT"
    ds.Rows, ds.Columns, ds.NumberOfFrames = ARRAY.shape[1], ARRAY.shape[0], ARRAY.shape[2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    ds.PixelData = np.ascontiguousarray(ARRAY.T).astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("step", [3, -3])
def test_the_frames_of_a_dose_lie_where_they_say_or_are_refused(tmp_path, step):
    lies = {
        "PixelSpacing": [2, 2],
        "ImagePositionPatient": [0, 0, 10],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "DoseGridScaling": 0.01,
        "FrameIncrementPointer": pydicom.tag.Tag("GridFrameOffsetVector"),
    }
    offsets = [step * k for k in range(8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        even = Volume.read(write_plain(tmp_path / "even.dcm", RTDoseStorage, **lies, GridFrameOffsetVector=offsets))
    assert np.allclose(even.grid.to_world((0, 0, 7)), (0, 0, 10 + 7 * step))
    offsets[5] += 1
    with pytest.raises(VolumeError, match=REFUSED):
        Volume.read(write_plain(tmp_path / "ct.dcm", RTDoseStorage, **lies, GridFrameOffsetVector=offsets))


def test_frames_that_do_not_say_how_far_they_lie_apart_are_told(tmp_path):
    scan = write_plain(tmp_path / "nm.dcm", NuclearMedicineImageStorage, PixelSpacing=[2, 2], SliceThickness=4)
    with pytest.warns(VolumeWarning, match=r"nm\.dcm: .* not say how far its 8 frames lie apart \(4 mm is taken"):
        assert np.allclose(Volume.read(scan).grid.spacing, (2, 2, 4))
    film = write_plain(tmp_path / "us.dcm", UltrasoundMultiFrameImageStorage)
    with pytest.warns(VolumeWarning, match=r"how large its pixels are \(1 mm .*, nor how far its 8 frames .*\(1 mm is"):
        assert np.allclose(Volume.read(film).grid.spacing, (1, 1, 1))
