"""Folders of several series and 4-D files: what there is to choose from, by name, and each one read."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ct_slices import write_slices
from sammed3d.errors import VolumeError
from sammed3d.files.dicom import series_in
from sammed3d.web.several import FRAME, SERIES, several_in
from sammed3d.web.uploads import Incoming, read

UIDS = {"1.2.3.1": ("Schädel nativ", 4), "1.2.3.2": ("", 3), "1.2.3.3": ("Череп a/b.c\nd", 5)}
"""Series, what they are called, and their slices."""


def voxels(count):
    return np.random.default_rng(count).integers(0, 900, (6, 5, count), dtype=np.int16)


@pytest.fixture
def folder(tmp_path):
    """A study of three series, described in letters of two character sets."""
    study = tmp_path / "Müller study"
    for uid, (description, count) in UIDS.items():

        def describe(ds, _k, description=description):
            ds.SpecificCharacterSet = "ISO_IR 144" if description.startswith("Ч") else "ISO_IR 100"
            if description:
                ds.SeriesDescription = description.replace("\n", " ")

        write_slices(study, voxels(count), series=uid, change=describe)
    return study


@pytest.fixture
def frames(tmp_path):
    """A 4-D file of three frames, the second one without an image."""
    array = np.random.default_rng(3).integers(0, 900, (6, 5, 4, 3), dtype=np.int16)
    array[..., 1] = 7
    path = tmp_path / "perfusion.x.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path, array


def test_series_are_told_apart_by_what_they_are(folder):
    assert [series.title for series in series_in(folder)] == [
        "CT, Schädel nativ, 4 slices",
        "CT, 3 slices",
        "CT, Череп a/b.c d, 5 slices",
    ]


def test_each_series_is_read_under_a_name_that_tells_it_apart(folder):
    several = several_in(folder)
    assert several.kind == SERIES
    read_all = [several.read(number) for number in range(3)]
    assert [volume.name for volume in read_all] == [
        "Müller study Schädel nativ",
        "Müller study series 1",
        "Müller study Череп a b c d",
    ]
    for volume, (_, count) in zip(read_all, UIDS.values(), strict=True):
        assert np.array_equal(volume.array, voxels(count))
    with pytest.raises(VolumeError, match=r"There is no series 3; there are 3, counted from 0"):
        several.at(3)


def test_frames_are_read_one_by_one_and_stay_when_the_file_goes(frames):
    path, array = frames
    several = several_in(path)
    assert (several.kind, several.titles) == (FRAME, ("1 of 3", "2 of 3", "3 of 3"))
    path.unlink()
    volume = several.at(2)
    assert np.array_equal(volume.array, array[..., 2])
    assert (volume.name, volume.grid.spacing) == ("perfusion frame 3", (2, 2, 3))
    with pytest.raises(VolumeError, match=r"^perfusion\.x\.nii\.gz, frame 2: all voxels have the same value"):
        several.at(1)


def test_what_is_one_volume_or_none_offers_no_choice(folder, tmp_path):
    alone = write_slices(tmp_path / "alone", voxels(4))
    (empty := tmp_path / "empty").mkdir()
    (damaged := tmp_path / "damaged.nii.gz").write_bytes(b"no image")
    for path in (alone, empty, damaged, tmp_path / "missing", next(folder.iterdir())):
        assert several_in(path) is None


def sent(folder, *files):
    (arrived := folder / "arrived").mkdir(parents=True)
    incoming = Incoming(arrived)
    for path in files:
        shutil.copy(path, incoming.begin(path.name))
    return read(incoming.files, folder)


@pytest.mark.parametrize("packed", [False, True])
def test_slices_of_several_series_that_are_sent_can_be_chosen_from(folder, tmp_path, packed):
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", folder)
    files = [tmp_path / archive] if packed else sorted(folder.iterdir())
    several = sent(tmp_path / "upload", *files)
    assert several.titles == tuple(series.title for series in series_in(folder))
    name = "study" if packed else "DICOM"
    assert several.at(1).name == f"{name} series 1"
    assert np.array_equal(several.at(2).array, voxels(5))


def test_damaged_slices_are_told_when_a_series_is_chosen(folder, tmp_path):
    file = Path(series_in(folder)[1].files[1])
    file.write_bytes(file.read_bytes()[:-20])
    several = sent(tmp_path / "upload", *sorted(folder.iterdir()))
    with pytest.raises(VolumeError, match=r"^DICOM: ") as caught:
        several.at(1)
    assert str(tmp_path) not in str(caught.value)


def test_a_4d_file_that_is_sent_can_be_chosen_from(frames, tmp_path):
    path, array = frames
    several = sent(tmp_path / "upload", path)
    shutil.rmtree(tmp_path / "upload")
    assert np.array_equal(several.at(0).array, array[..., 0])
    with pytest.raises(VolumeError, match=r"^perfusion\.x\.nii\.gz, frame 2: "):
        several.at(1)
