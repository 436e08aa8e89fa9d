"""DICOM slices that are cut off: they cost the series that they belong to, and no other one."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from ct_slices import write_slices
from helpers import phantom
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.damaged_slices import PIXEL_DATA, SEQUENCE_END, UNDEFINED_LENGTH, is_truncated
from sammed3d.files.volume import Volume

LINES = ("1.2.3.4", "1.2.3.5")


def two_series(folder, syntax=ExplicitVRLittleEndian):
    """Write two series into a folder; returns the files of the first one in the order of their places."""
    write_slices(folder, phantom((12, 10, 8)), series=LINES[0], syntax=syntax)
    first = sorted(folder.iterdir(), key=lambda file: pydicom.dcmread(file).InstanceNumber)
    write_slices(folder, phantom((12, 10, 5), 1), series=LINES[1], syntax=syntax)
    return first


def cut_before(file, tag):
    """Cut a file off where an element begins."""
    data = file.read_bytes()
    file.write_bytes(data[: data.index(tag)])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("last", [3, -1])
@pytest.mark.parametrize("within", ["the pixels", "the header"])
def test_a_slice_that_is_cut_off_costs_its_own_series_alone(tmp_path, syntax, last, within):
    """Cut off in the header, the last one would be missing without a word: the others are an even stack."""
    victim = two_series(tmp_path / "ct", syntax)[last]
    if within == "the header":
        cut_before(victim, b"\x28\x00\x10\x00")  # rows
    else:
        victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(VolumeError, match=r"^ct: 1 DICOM file of this series is incomplete\. Export the series again"):
        Volume.read(tmp_path / "ct", series=0)
    assert np.array_equal(Volume.read(tmp_path / "ct", series=1).array, phantom((12, 10, 5), 1))


def test_a_reference_to_a_series_is_no_slice_of_it(tmp_path):
    """A structured report, say, which names the images that it is about before its own series; and a DICOMDIR."""
    two_series(tmp_path / "ct")
    report = pydicom.Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID = "1.2.3.9.1"
    named = pydicom.Dataset()
    named.SeriesInstanceUID = LINES[0]
    report.ReferencedSeriesSequence = [named]
    report.StudyInstanceUID, report.SeriesInstanceUID = "1.2.3", "1.2.3.9"
    report.save_as(tmp_path / "ct" / "report.dcm", enforce_file_format=True)
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = "1.2.840.10008.1.3.10"
    report.SeriesInstanceUID = LINES[0]
    report.save_as(tmp_path / "ct" / "DICOMDIR", enforce_file_format=True)
    assert Volume.read(tmp_path / "ct", series=0).grid.shape == (12, 10, 8)


@pytest.mark.parametrize("length", [0, 60, 132, 400])
def test_files_that_are_cut_off_before_they_name_a_series_are_said(tmp_path, length):
    victim = two_series(tmp_path / "ct")[-1]
    victim.write_bytes(victim.read_bytes()[:length])
    for series, slices in enumerate((7, 5)):
        with pytest.warns(VolumeWarning, match=r"^ct: 1 DICOM file in this folder is cut off before it is said which"):
            assert Volume.read(tmp_path / "ct", series).grid.shape[2] == slices


def test_what_else_lies_in_the_folder_is_no_slice(tmp_path, recwarn):
    two_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").touch()
    (tmp_path / "ct" / ".hidden.dcm").touch()
    (tmp_path / "ct" / "short.dcm").write_bytes(b"not DICOM")
    Volume.read(tmp_path / "ct", series=1)
    assert not [each for each in recwarn if issubclass(each.category, VolumeWarning)]


def test_a_damaged_slice_of_another_series_does_not_matter_in_whatever_way_the_folder_is_named(tmp_path, monkeypatch):
    folder = write_slices(tmp_path / "ct", phantom((12, 10, 8)), series="1.2.3.4")
    whole = set(folder.iterdir())
    write_slices(folder, phantom((12, 10, 5), 1), series="1.2.3.5")
    victim = min(set(folder.iterdir()) - whole)
    slice_of_other = pydicom.dcmread(victim)
    slice_of_other.compress(RLELossless, generate_instance_uid=False)
    slice_of_other.save_as(victim)
    victim.write_bytes(victim.read_bytes()[:-8])  # GDCM does without the end mark
    monkeypatch.chdir(folder)
    for name in (folder, ".", "../ct", f"{folder}/"):
        assert Volume.read(name, series=0).grid.shape == (12, 10, 8)
    with pytest.raises(VolumeError, match=r"^\.: this folder holds 2 series"):
        Volume.read(".")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("cut", [0, 1, 150])
def test_truncated_slices_are_noticed_in_every_syntax(tmp_path, syntax, cut):
    folder = write_slices(tmp_path / "ct", phantom((12, 10, 8)), syntax=syntax)
    for path in folder.iterdir():
        whole = path.read_bytes()
        assert not is_truncated(whole)
        assert is_truncated(whole[: len(whole) - cut]) == (cut > 0)


def test_an_icon_hides_no_truncated_image_and_compressed_data_may_be_followed_by_more():
    def element(length, there):
        return PIXEL_DATA + b"OW\0\0" + length.to_bytes(4, "little") + b"x" * there

    head = bytes(128) + b"DICM" + bytes(100)
    for body, truncated in (
        (element(20, 20) + element(50, 50), False),
        (element(20, 20) + element(50, 49), True),
        (element(UNDEFINED_LENGTH, 30) + SEQUENCE_END + bytes(500), False),
        (element(UNDEFINED_LENGTH, 30), True),
        (b"", False),
    ):
        assert is_truncated(head + body) == truncated
