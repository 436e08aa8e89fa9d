"""DICOM images of JPEG: colours are right, or refused where header and data say different things of them."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

from sammed3d.errors import VolumeError
from sammed3d.files.dicom_colours import _kind_of, check_colours
from sammed3d.files.picture import Picture

CORNERS = np.array([[(220, 40, 30), (30, 200, 60)], [(40, 50, 210), (200, 200, 60)]], np.uint8)
COLOURS = np.kron(CORNERS, np.ones((16, 16, 1), np.uint8))
HEADERS = ("RGB", "YBR_FULL", "YBR_FULL_422")


def as_jpeg(pixels=COLOURS, **how):
    into = io.BytesIO()
    Image.fromarray(pixels).save(into, "JPEG", quality=95, **how)
    return into.getvalue()


YCBCR, HALVED, RGB = as_jpeg(subsampling=0), as_jpeg(subsampling=2), as_jpeg(keep_rgb=True, subsampling=0)


def without_jfif(stream):
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def write(path, stream, said, syntax=JPEGBaseline8Bit, samples=3):
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "US"
    ds.Rows, ds.Columns = COLOURS.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, said
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.save_as(path, enforce_file_format=True)
    return path


def is_right(path):
    found = Picture.read(path).pixels[..., ::-1].astype(int)
    return np.abs(found - COLOURS)[4:12, 4:12].max() <= 3 and np.abs(found - COLOURS)[20:28, 20:28].max() <= 3


@pytest.mark.parametrize("said", HEADERS)
@pytest.mark.parametrize("stream", [YCBCR, HALVED, RGB, without_jfif(HALVED)], ids=["jfif", "halved", "rgb", "sizes"])
def test_colours_are_right_or_refused(tmp_path, stream, said):
    path = write(tmp_path / "us.dcm", stream, said)
    if (stream is RGB) == (said == "RGB"):
        assert is_right(path)
    else:
        kind = "RGB" if stream is RGB else "YCbCr"
        words = rf"us\.dcm: .* its colours are {said}, its JPEG data that they are {kind}, .* save it as PNG"
        with pytest.raises(VolumeError, match=words):
            Picture.read(path)


def test_what_the_stream_leaves_open_is_as_the_header_says(tmp_path):
    assert is_right(write(tmp_path / "us.dcm", without_jfif(YCBCR), "YBR_FULL"))
    into = io.BytesIO()
    Image.fromarray(COLOURS).save(into, "JPEG2000", mct=1, irreversible=False, no_jp2=True)
    assert is_right(write(tmp_path / "j2k.dcm", into.getvalue(), "YBR_RCT", JPEG2000Lossless))


def test_grey_images_of_jpeg_have_no_colours_to_be_wrong(tmp_path):
    grey = as_jpeg(COLOURS[..., 0])
    assert b"JFIF" in grey
    assert Picture.read(write(tmp_path / "grey.dcm", grey, "MONOCHROME2", samples=1)).pixels.shape == COLOURS.shape


def test_adobes_marker_tells_both_kinds():
    assert _kind_of(RGB) == "RGB"
    names = RGB.index(b"R\x11"), RGB.index(b"G\x11"), RGB.index(b"B\x11")
    unnamed = bytearray(RGB)
    for number, at in enumerate(names, start=1):
        unnamed[at] = number
    assert _kind_of(bytes(unnamed)) == "RGB"
    unnamed[RGB.index(b"Adobe") + 11] = 1
    assert _kind_of(bytes(unnamed)) == "YBR"


def test_streams_that_end_anywhere_say_nothing_or_the_same():
    for stream in (YCBCR, RGB):
        found = {_kind_of(stream[:end]) for end in range(len(stream))}
        assert found == {"", _kind_of(stream)}
    check_colours(b"", "RGB", "empty")
