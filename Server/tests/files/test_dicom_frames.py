"""DICOM files of many frames: an even stack is a volume, and what is none is refused with a remedy."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from helpers import phantom
from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume

ARRAY = phantom((12, 10, 8))
EVEN = [2.5 * k for k in range(8)]
REFUSED = r"ct\.dcm: its 8 frames are not evenly spaced .* Convert it to NIfTI"


def of(**values):
    made = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def write_frames(path, heights, syntax=ExplicitVRLittleEndian, spacing=(0.9, 0.8), turned=()):
    """Write an enhanced CT whose frames lie at these heights; those that are named are turned."""
    ds = of(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.Modality = generate_uid(), "CT"
    ds.Rows, ds.Columns, ds.NumberOfFrames = ARRAY.shape[1], ARRAY.shape[0], ARRAY.shape[2]
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
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = np.ascontiguousarray(ARRAY.T).tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("heights", [EVEN, [-z for z in EVEN]], ids=["up", "down"])
def test_an_even_stack_of_frames_is_a_volume(tmp_path, syntax, heights):
    volume = Volume.read(write_frames(tmp_path / "ct.dcm", heights, syntax))
    assert np.array_equal(volume.array, ARRAY)
    assert np.allclose(volume.grid.spacing, (0.8, 0.9, 2.5))
    for k in (0, 7):
        assert np.allclose(volume.grid.to_world((1, 2, k)), (10 - 0.8, 20 - 1.8, 30 + heights[k]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
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
        Volume.read(write_frames(tmp_path / "ct.dcm", EVEN, DeflatedExplicitVRLittleEndian))


def test_frames_without_places_of_their_own_are_left_to_itk(tmp_path):
    image = sitk.GetImageFromArray(ARRAY.T.astype(np.uint16))
    image.SetSpacing((1.5, 1.5, 2.5))
    sitk.WriteImage(image, str(tmp_path / "plain.dcm"))
    volume = Volume.read(tmp_path / "plain.dcm")
    assert np.array_equal(volume.array, ARRAY)
    assert np.allclose(volume.grid.spacing, (1.5, 1.5, 2.5))


def test_a_folder_with_a_file_of_many_frames_says_to_give_the_file(tmp_path):
    (tmp_path / "scan").mkdir()
    write_frames(tmp_path / "scan" / "ct.dcm", EVEN)
    with pytest.raises(VolumeError, match=r"scan: each file .* several slices. Give the file instead of the folder"):
        Volume.read(tmp_path / "scan")
