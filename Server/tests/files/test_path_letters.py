"""Where ITK finds no file whose path has letters beyond A to Z, users are told, and only there."""

import locale
import sys

import pytest

from sammed3d.errors import VolumeError
from sammed3d.files.image_lists import read_pixels
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.volume import Volume

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
