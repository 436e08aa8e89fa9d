"""Where ITK finds no file whose path has letters beyond A to Z, users are told, and only there."""

import locale
import os
import shutil
import sys

import numpy as np
import pytest

from ct_slices import write_slices
from helpers import phantom, write_image
from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError
from sammed3d.files.dicom import series_in
from sammed3d.files.frames import Frames
from sammed3d.files.image_lists import read_pixels
from sammed3d.files.outputs import check_output
from sammed3d.files.picture import Picture
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.segmentation import write_segments
from sammed3d.files.volume import Volume, size_in_header

WORDS = "letters beyond A to Z"


def said_of(folder):
    """What is said of files and of a folder that cannot be read; on Windows ITK says the same of whole ones."""
    folder.mkdir(exist_ok=True)
    names = ("ct.nii.gz", "ct.nrrd", "x.seg.nrrd", "picture.png")
    for name in names:
        (folder / name).write_bytes(b"nothing")
    (folder / "empty").mkdir(exist_ok=True)
    said = []
    for read, name in zip(
        (Volume.read, Volume.read, Volume.read, read_segments, read_pixels), ("empty", *names), strict=True
    ):
        with pytest.raises(VolumeError) as caught:
            read(folder / name)
        said.append(str(caught.value))
    return said


def test_it_is_told_on_windows_alone_and_not_where_all_is_utf8(tmp_path, monkeypatch):
    plain, other = tmp_path / "ct", tmp_path / "Größe"
    assert not any(WORDS in words for words in said_of(other))
    monkeypatch.setattr(sys, "platform", "win32")
    for encoding, told in (("cp1252", True), ("cp932", True), ("cp65001", False), ("utf-8", False)):
        monkeypatch.setattr(locale, "getencoding", lambda encoding=encoding: encoding)
        assert [WORDS in words for words in said_of(other)] == [told] * 5
        assert not any(WORDS in words for words in said_of(plain))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="all names are Unicode there")
def test_paths_that_are_no_utf8_are_refused_where_simpleitk_would_end_the_process(tmp_path):
    bad = tmp_path / os.fsdecode(b"old \xff")
    bad.mkdir()
    image = write_image(tmp_path / "ct.nii.gz", phantom((6, 7, 8)), np.eye(4))
    shutil.copy(image, bad / "ct.nii.gz")
    series = write_slices(tmp_path / "series", phantom((6, 7, 8)))
    next(series.iterdir()).rename(series / os.fsdecode(b"\xff.dcm"))
    write_segments(tmp_path / "mask.nrrd", [], Grid((6, 7, 8), np.eye(4)))
    shutil.copy(tmp_path / "mask.nrrd", bad / "mask.nrrd")
    (bad / "picture.png").touch()
    for read, path in (
        (Volume.read, bad / "ct.nii.gz"),
        (Volume.read, bad),
        (Volume.read, series),
        (series_in, series),
        (size_in_header, bad / "ct.nii.gz"),
        (lambda path: Frames([path]), bad / "ct.nii.gz"),
        (read_segments, bad / "mask.nrrd"),
        (read_pixels, bad / "picture.png"),
        (Picture.read, bad / "picture.png"),
        (check_output, bad / "new.nii.gz"),
        (lambda path: write_segments(path, [], Grid((6, 7, 8), np.eye(4))), bad / "new.nii.gz"),
        (lambda path: write_segments(path, [], Grid((6, 7, 8), np.eye(4))), bad / "new.mhd"),
    ):
        arguments = (path, ()) if read is check_output else (path,)
        with pytest.raises(VolumeError, match="this path has letters that are not in UTF-8"):
            read(*arguments)
