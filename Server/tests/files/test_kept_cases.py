"""Segments added to cases one by one: what was kept stays, and nothing is lost by a damaged case."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import make_affine, phantom
from sammed3d.core import prompt_files
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import find_cases, read_labels
from sammed3d.files.kept_cases import keep
from sammed3d.files.segmentation import TISSUE, Segment
from sammed3d.files.volume import Volume

SHAPE = (12, 14, 10)
LIVER = TISSUE.replace("85756007^Tissue~SCT^85756007^Tissue", "123037004^Anatomical Structure~SCT^10200004^Liver")


@pytest.fixture
def volume():
    return Volume(phantom(SHAPE), Grid(SHAPE, make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))), "x")


def segment(name, place, terminology=TISSUE):
    mask = np.zeros(SHAPE, np.uint8)
    mask[place] = 1
    return Segment(name, BoxedMask.of(mask), terminology=terminology)


def structures(folder, volume):
    found = {}
    for case in find_cases(folder):
        labels = read_labels(case, volume.grid)
        found |= {name: labels == value for value, name in case.names.items()}
    return found


def test_structures_come_one_by_one_and_those_of_the_same_name_are_replaced(volume, tmp_path):
    left, over, new = np.s_[1:4, 1:5, 2:6], np.s_[3:6, 2:6, 3:7], np.s_[8:10, 8:10, 8:10]
    clicks = {"1": ObjectPrompts("liver", (Click((12, -18, 33)),))}
    first = keep(volume, {"1": segment("liver", left, LIVER)}, clicks, tmp_path)
    assert first.taken == ("liver",)
    second = keep(volume, {"1": segment("cyst", over)}, {}, tmp_path)
    assert (second.case, second.taken) == (first.case, ("cyst",)), "what was there is not told again"
    found = structures(tmp_path, volume)
    assert found.keys() == {"liver", "cyst"}
    assert found["liver"][left].all(), "they overlap, and both are whole"
    assert found["cyst"][over].all()
    assert "10200004" in "".join(file.read_text() for file in (tmp_path / first.case).glob("labels*.json"))
    again = {"7": ObjectPrompts("liver", (Click((14, -16, 36)), Click((15, -16, 36), positive=False)))}
    keep(volume, {"7": segment("liver", new)}, again, tmp_path)
    found = structures(tmp_path, volume)
    assert found["liver"].sum() == 8
    assert found["liver"][new].all()
    assert found["cyst"][over].all()
    [prompts] = prompt_files.read(tmp_path / first.case / "prompts.json")
    assert len(prompts.clicks) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_empty_segments_are_told_and_change_nothing(volume, tmp_path):
    keep(volume, {"1": segment("liver", np.s_[1:4, 1:5, 2:6])}, {}, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    nothing = keep(volume, {"1": Segment("liver", None)}, {}, tmp_path)
    assert (nothing.case, nothing.left_out) == ("", ("liver: is empty.",))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_case_whose_names_were_corrected_with_windows_own_tools_takes_more_segments(volume, tmp_path):
    case = tmp_path / keep(volume, {"1": segment("liver", np.s_[1:4, 1:5, 2:6])}, {}, tmp_path).case
    text = (case / "labels.json").read_text(encoding="utf-8").replace("liver", "Größe")
    (case / "labels.json").write_text(text, encoding="utf-8-sig")  # the mark in front
    keep(volume, {"1": segment("cyst", np.s_[8:10, 8:10, 8:10])}, {}, tmp_path)
    assert structures(tmp_path, volume).keys() == {"Größe", "cyst"}


@pytest.mark.parametrize("damage", ["labels.json", "label.nii.gz", "prompts.json"])
def test_a_damaged_case_is_not_overwritten(volume, tmp_path, damage):
    prompts = {"1": ObjectPrompts("liver", (Click((12, -18, 33)),))}
    case = tmp_path / keep(volume, {"1": segment("liver", np.s_[1:4, 1:5, 2:6])}, prompts, tmp_path).case
    (case / damage).write_bytes(b"{")
    with pytest.raises(VolumeError):
        keep(volume, {"1": segment("cyst", np.s_[8:10, 8:10, 8:10])}, {}, tmp_path)
    assert (case / damage).read_bytes() == b"{"
    with pytest.raises(VolumeError, match="no such folder"):
        keep(volume, {}, {}, tmp_path / "none")


def test_a_case_that_cannot_be_replaced_stays_as_it_was(volume, tmp_path, monkeypatch):
    case = tmp_path / keep(volume, {"1": segment("liver", np.s_[1:4, 1:5, 2:6])}, {}, tmp_path).case
    before = {file: file.read_bytes() for file in case.iterdir()}
    replace = Path.replace

    def fails(path, target):
        if target == case:
            raise PermissionError("somebody looks into it")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(VolumeError, match="cannot be written"):
        keep(volume, {"1": segment("cyst", np.s_[8:10, 8:10, 8:10])}, {}, tmp_path)
    assert {file: file.read_bytes() for file in case.iterdir()} == before
    assert list(tmp_path.iterdir()) == [case]


def test_what_a_stopped_collection_left_is_no_case(volume, tmp_path):
    case = tmp_path / keep(volume, {"1": segment("liver", np.s_[1:4, 1:5, 2:6])}, {}, tmp_path).case
    shutil.copytree(case, tmp_path / ".collectingx7")
    assert [each.name for each in find_cases(tmp_path)] == [case.name]
