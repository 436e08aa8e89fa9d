"""DICOM SEG for a volume that came from DICOM."""

import types

import numpy as np
import pydicom
import pytest
import slicer
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from helpers import phantom
from mrmlNodes import addVolume, drawByHand, linearTransform
from sammed3d import Box, Cancellation, PredictionCancelled, VolumeError
from SAMMed3DSegmentLib import DicomSeg

SHAPE = (20, 24, 9)


@pytest.fixture
def series(tmp_path):
    """Write a CT series; returns its files by instance UID, and its IJK-to-RAS matrix."""
    array = phantom(SHAPE)
    study, seriesUid, frame = generate_uid(), generate_uid(), generate_uid()
    files = {}
    for k in range(SHAPE[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, seriesUid, frame
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test^Phantom", "1", "19700101", "O"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "120000", "1", ""
        ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "CT", 1, k + 1
        ds.Manufacturer, ds.PositionReferenceIndicator = "Test", ""
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-20, -30, 40 + 3 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [2.5, 2.0], 3
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = SHAPE[1], SHAPE[0], 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        file = tmp_path / f"{k}.dcm"
        ds.save_as(file, enforce_file_format=True)
        files[str(ds.SOPInstanceUID)] = str(file)
    ijkToRAS = np.diag([-2.0, -2.5, 3.0, 1.0])
    ijkToRAS[:3, 3] = (20, 30, 40)
    return array, ijkToRAS, files


@pytest.fixture
def segmented(scene, series, monkeypatch):
    array, ijkToRAS, files = series
    volumeNode = addVolume(scene, array, ijkToRAS)
    volumeNode.SetAttribute("DICOM.instanceUIDs", " ".join(reversed(files)))
    monkeypatch.setattr(slicer, "dicomDatabase", types.SimpleNamespace(fileForInstance=files.get), raising=False)
    segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    ids = [segmentationNode.GetSegmentation().AddEmptySegment(name, name) for name in ("liver", "spleen")]
    drawByHand(segmentationNode, "liver", volumeNode, Box((2, 3, 4), (10, 12, 7)))
    drawByHand(segmentationNode, "spleen", volumeNode, Box((8, 10, 1), (15, 20, 6)))
    return segmentationNode, ids, volumeNode


def test_the_masks_refer_to_the_slices_they_lie_on(segmented, series, tmp_path):
    segmentationNode, ids, volumeNode = segmented
    written = pydicom.dcmread(DicomSeg.write(DicomSeg.gather(segmentationNode, ids, volumeNode), tmp_path))
    assert written.Modality == "SEG"
    assert [s.SegmentLabel for s in written.SegmentSequence] == ids
    frames = written.pixel_array
    found = {name: np.zeros(SHAPE, np.uint8) for name in ids}
    for frame, group in zip(frames, written.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        z = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        found[ids[number - 1]][:, :, round((z - 40) / 3)] = frame.T
    expected = {name: np.zeros(SHAPE, np.uint8) for name in ids}
    expected["liver"][2:10, 3:12, 4:7] = 1
    expected["spleen"][8:15, 10:20, 1:6] = 1
    for name in ids:
        assert np.array_equal(found[name], expected[name]), name


def test_a_volume_from_elsewhere_says_what_is_missing(segmented, tmp_path):
    segmentationNode, ids, volumeNode = segmented
    volumeNode.RemoveAttribute("DICOM.instanceUIDs")
    with pytest.raises(VolumeError, match="was not loaded from the DICOM database"):
        DicomSeg.write(DicomSeg.gather(segmentationNode, ids, volumeNode), tmp_path)


def test_without_highdicom_the_way_out_is_named(segmented, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    segmentationNode, ids, volumeNode = segmented
    with pytest.raises(VolumeError, match=r"Slicer 5\.12 and later bundle"):
        DicomSeg.write(DicomSeg.gather(segmentationNode, ids, volumeNode), tmp_path)


def test_a_name_with_a_colon_is_no_alternate_stream(segmented, tmp_path):
    segmentationNode, ids, volumeNode = segmented
    segmentationNode.SetName("2: Thorax / 5 mm")
    file = DicomSeg.write(DicomSeg.gather(segmentationNode, ids, volumeNode), tmp_path)
    assert file.name == "2_ Thorax _ 5 mm.dcm"
    assert pydicom.dcmread(file).SeriesDescription == "2: Thorax / 5 mm"


def test_only_headers_are_read_and_cancel_leaves_nothing(segmented, tmp_path, monkeypatch):
    segmentationNode, ids, volumeNode = segmented
    segments, read, original = DicomSeg.gather(segmentationNode, ids, volumeNode), [], pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: (read.append(k), original(*a, **k))[1])
    folder, cancellation = tmp_path / "out", Cancellation()
    folder.mkdir()
    with pytest.raises(PredictionCancelled):
        DicomSeg.write(segments, folder, lambda done, total: done == 3 and cancellation.cancel(), cancellation)
    assert len(read) == 3
    assert all(k["stop_before_pixels"] for k in read)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("turned", [(1, -1, -1), (-1, 1, -1)])
def test_a_volume_that_was_turned_over_is_refused_rather_than_mirrored(segmented, scene, tmp_path, turned):
    segmentationNode, ids, volumeNode = segmented
    transform = linearTransform(scene, np.diag([*turned, 1.0]))
    for node in (volumeNode, segmentationNode):
        node.SetAndObserveTransformNodeID(transform.GetID())
    expected = DicomSeg.write(DicomSeg.gather(segmentationNode, ids, volumeNode), tmp_path)
    assert pydicom.dcmread(expected).NumberOfFrames == 8, "under a transform it is as it was"
    expected.unlink()
    for node in (volumeNode, segmentationNode):
        node.HardenTransform()
    with pytest.raises(VolumeError, match="a transform was hardened into it"):
        DicomSeg.write(DicomSeg.gather(segmentationNode, ids, volumeNode), tmp_path)
    assert not expected.exists()
