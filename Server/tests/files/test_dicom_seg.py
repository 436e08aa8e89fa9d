"""Masks as DICOM SEG: names and characters, and many segments."""

import io

import highdicom
import numpy as np
import pydicom
import pytest

import orthanc
from sammed3d.errors import VolumeError
from sammed3d.files import dicom_seg

SHAPE = (16, 14, 5)


def series(character_set, patient):
    """The headers of a series, as they are read from its files."""
    found = []
    for each in orthanc.slices_of(np.zeros(SHAPE, np.int16)):
        if character_set is not None:
            each.SpecificCharacterSet = character_set
        each.PatientName = patient
        file = io.BytesIO()
        each.save_as(file)
        found.append(pydicom.dcmread(io.BytesIO(file.getvalue()), stop_before_pixels=True))
    return found


def mask_at(k):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:6, 4:8, k] = 1
    return mask


def saved(dataset):
    file = io.BytesIO()
    dataset.save_as(file)
    return pydicom.dcmread(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    ("character_set", "patient"),
    [
        (None, "A^B"),
        ("ISO_IR 100", "M\xfcller^J\xf6rg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
        ("GB18030", "\u738b^\u5c0f\u4e1c"),
    ],
)
def test_names_of_any_script_stay_whatever_character_set_the_series_has(character_set, patient):
    slices = series(character_set, patient)
    names = ["\u809d\u81d3", "L\xe4sion", "left\\lung\n", "", 70 * "x"]
    masks = [mask_at(k) for k in range(5)]
    written = saved(dicom_seg.segmentation("Organe \xe4", names, masks, slices))
    labels = [str(each.SegmentLabel) for each in written.SegmentSequence]
    assert labels == ["\u809d\u81d3", "L\xe4sion", "left lung", "Segment 4", 64 * "x"]
    assert str(written.SeriesDescription) == "Organe \xe4"
    assert str(written.PatientName) == patient
    assert slices[0].get("SpecificCharacterSet") == character_set, "the series' own headers stay"


def test_a_series_without_what_names_a_patient_gets_its_result():
    slices = series(None, "A^B")
    for each in slices:
        for keyword in dicom_seg.MAY_BE_EMPTY:
            if keyword in each:
                del each[keyword]
    written = saved(dicom_seg.segmentation("Organs", ["liver"], [mask_at(1)], slices))
    assert [str(each.SegmentLabel) for each in written.SegmentSequence] == ["liver"]
    assert all(keyword in written and not written[keyword].value for keyword in dicom_seg.MAY_BE_EMPTY)


@pytest.mark.parametrize("keyword", dicom_seg.NEEDED)
def test_a_series_that_nothing_can_refer_to_is_told(keyword):
    slices = series(None, "A^B")
    for each in slices:
        del each[keyword]
    with pytest.raises(VolumeError, match=rf"^Organs: the DICOM slices have no {keyword}, .*\.seg\.nrrd"):
        dicom_seg.segmentation("Organs", ["liver"], [mask_at(1)], slices)


def test_names_stay_with_a_highdicom_that_leaves_the_character_set_out(monkeypatch):
    """As that of 0.27 and earlier does."""
    make = highdicom.seg.Segmentation

    def without(**given):
        made = make(**given)
        made.pop("SpecificCharacterSet", None)
        return made

    monkeypatch.setattr(highdicom.seg, "Segmentation", without)
    slices = series("GB18030", "\u738b^\u5c0f\u4e1c")
    written = saved(dicom_seg.segmentation("t", ["\u809d\u81d3"], [mask_at(1)], slices))
    assert str(written.PatientName) == "\u738b^\u5c0f\u4e1c"
    assert str(written.SegmentSequence[0].SegmentLabel) == "\u809d\u81d3"


def test_segments_side_by_side_are_handed_over_as_labels_and_those_that_overlap_each_by_itself(monkeypatch):
    """Masks that lie side by side in an array cost a segment times its memory, and highdicom ten times as long."""
    given_arrays = []
    make = highdicom.seg.Segmentation
    monkeypatch.setattr(
        highdicom.seg, "Segmentation", lambda **given: given_arrays.append(given["pixel_array"]) or make(**given)
    )
    slices = series(None, "A^B")
    apart = [mask_at(0), np.zeros(SHAPE, np.uint8), mask_at(2)]
    for masks in (apart, [*apart, mask_at(2)]):
        written = saved(dicom_seg.segmentation("t", [f"s{n}" for n in range(len(masks))], masks, slices))
        found = [np.zeros(SHAPE, np.uint8) for _ in masks]
        frames = written.pixel_array
        for frame, group in zip(frames, written.PerFrameFunctionalGroupsSequence, strict=True):
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            z = [float(each.ImagePositionPatient[2]) for each in slices].index(
                float(group.PlanePositionSequence[0].ImagePositionPatient[2])
            )
            found[number - 1][:, :, z] = frame.T
        assert all(np.array_equal(one, other) for one, other in zip(found, masks, strict=True))
    assert [array.shape for array in given_arrays] == [(5, 14, 16), (5, 14, 16, 4)]
    assert given_arrays[1][..., 2].flags.c_contiguous, "each segment in one piece, or many of them take twice as long"
