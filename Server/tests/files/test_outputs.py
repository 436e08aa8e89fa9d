"""What is read is never written over, and nothing else without being asked."""

import os
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from sammed3d.errors import VolumeError
from sammed3d.files.outputs import check_apart, check_output, write_text, written_whole
from sammed3d.files.segmentation import write_whole


@pytest.fixture
def image(tmp_path):
    (tmp_path / "in.nii.gz").write_bytes(b"image")
    return tmp_path / "in.nii.gz"


def test_an_input_is_refused_by_every_name_it_has(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.nii.gz").symlink_to(image)
    os.link(image, tmp_path / "hard.nii.gz")
    (tmp_path / "sub").mkdir()
    for name in ("in.nii.gz", "./in.nii.gz", "sub/../in.nii.gz", str(image), "link.nii.gz", "hard.nii.gz"):
        with pytest.raises(VolumeError, match=r"is what is read .* and would be lost"):
            check_output(type(image)(name), (None, image), force=True)
    check_output(tmp_path / "out.nii.gz", (image, None))


def test_other_files_are_replaced_when_that_is_asked_for(image, tmp_path):
    other = tmp_path / "other.nrrd"
    other.write_bytes(b"")
    with pytest.raises(VolumeError, match=r"other\.nrrd: exists already\. .* --force"):
        check_output(other, (image,))
    check_output(other, (image,), force=True)


def test_slices_of_an_input_folder_and_voxels_beside_a_header_are_inputs(tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"")
    with pytest.raises(VolumeError, match="would be lost"):
        check_output(folder / "1.dcm", (folder,), force=True)
    check_output(folder / "mask.nrrd", (folder,))
    for suffix in (".mhd", ".raw"):
        (tmp_path / f"scan{suffix}").write_bytes(b"")
    with pytest.raises(VolumeError, match="would be lost"):
        check_output(tmp_path / "scan.nhdr", (tmp_path / "scan.mhd",), force=True)


def test_two_results_in_one_file_are_refused_by_every_name_it_has(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.nii.gz").symlink_to(image)
    new = tmp_path / "new.csv"
    for one, other in ((new, new), (new, type(new)("./new.csv")), (image, tmp_path / "link.nii.gz")):
        with pytest.raises(VolumeError, match="two results would be written to this file"):
            check_apart((one, None, other))
    with pytest.raises(VolumeError, match=r"mask\.nhdr: two results"):
        check_apart((tmp_path / "mask.mhd", tmp_path / "mask.nhdr"))
    check_apart((image, None, new, None))


def test_two_that_write_one_file_at_once_both_write_it_whole(tmp_path):
    file = tmp_path / "chart.svg"
    with written_whole(file) as first, first.open("w") as out:
        out.write("first, ")
        with written_whole(file) as second:
            assert second.name.endswith(".chart.svg"), "what writes it goes by the suffix"
            second.write_text("second")
        assert file.read_text() == "second"
        out.write("whole")
        out.close()
    assert file.read_text() == "first, whole"
    assert list(tmp_path.iterdir()) == [file]


def test_places_where_nothing_can_be_written_are_refused_before_any_work(image, tmp_path, monkeypatch):
    with pytest.raises(VolumeError, match="is a folder"):
        check_output(tmp_path, (image,), force=True)
    with pytest.raises(VolumeError, match=r"cannot be written in .*in\.nii\.gz, which is a file\. Choose another"):
        check_output(image / "scores.csv", ())
    check_output(tmp_path / "new" / "newer" / "scores.csv", ())
    monkeypatch.setattr(os, "access", lambda place, _mode: place != tmp_path)
    for name in ("mask.nrrd", "new/newer/scores.csv"):
        with pytest.raises(VolumeError, match="Check its permissions, or choose another place"):
            check_output(tmp_path / name, ())


@pytest.mark.skipif(sys.platform == "win32", reason="counts the whole path")
@pytest.mark.parametrize("ending", [".nii.gz", ".csv"])
@pytest.mark.parametrize("letter", ["x", "ä"])
def test_names_as_long_as_the_system_allows_are_written_and_longer_ones_refused(tmp_path, ending, letter):
    room = 255 - len(ending)
    longest = tmp_path / f"{letter * (room // len(letter.encode()))}{ending}"
    check_output(longest, ())
    with pytest.raises(VolumeError, match=r"its name is too long for this place\. Choose a shorter one"):
        check_output(longest.with_name(f"x{letter}{longest.name}"), ())
    if ending == ".nii.gz":
        write_whole(sitk.Image(2, 2, 2, sitk.sitkUInt8), longest)
    else:
        write_text(longest, "new")
    assert list(tmp_path.iterdir()) == [longest]


def test_a_file_that_a_program_has_open_on_windows_is_refused_before_any_work(image, tmp_path, monkeypatch):
    table = tmp_path / "scores.csv"
    table.write_text("earlier")
    check_output(table, (image,), force=True)
    opened = Path.open

    def held(path, mode="r", *args, **options):
        if path == table and mode != "r":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *args, **options)

    monkeypatch.setattr(sys, "platform", "win32")
    check_output(table, (image,), force=True)
    monkeypatch.setattr(Path, "open", held)
    with pytest.raises(VolumeError, match=r"scores\.csv: a program has it open, or it is read-only\. Close it there"):
        check_output(table, (image,), force=True)


def test_what_cannot_be_put_in_place_is_told_and_what_is_there_stays(tmp_path, monkeypatch):
    """As on Windows while another program reads it; a virus scanner may even hold the file beside."""
    table = tmp_path / "scores.csv"
    table.write_text("earlier")

    def held(path, *_args, **_options):
        raise PermissionError(13, "Access is denied", str(path))

    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(Path, "unlink", held)
    with (
        pytest.raises(VolumeError, match=r"scores\.csv: cannot be written\. .* close it in other programs"),
        written_whole(table) as beside,
    ):
        beside.write_text("new")
    assert table.read_text() == "earlier"
