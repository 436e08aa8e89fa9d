"""Which cases are of one patient, and what is said of images that are there twice."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.files.datasets import Case, find_cases
from sammed3d.files.patients import image_digests, patient_words, same_images

SHAPE = (24, 20, 20)


def case(name, group="", patient=""):
    return Case(name, name, name, {}, group, patient=patient)


def test_cases_share_a_word_by_patient_group_and_image_through_any_number_of_others():
    cases = [
        case("a", patient="sub-1"),
        case("b", patient="sub-1"),
        case("c", group="x"),
        case("d", group="x"),
        case("e"),
        case("f"),
    ]
    words = patient_words(cases, {})
    assert words == {"a": "sub-1", "b": "sub-1", "c": "x", "d": "x", "e": "e", "f": "f"}
    images = {"b": "1", "c": "1", "d": "2", "e": "2", "f": "3", "a": ""}
    words = patient_words(cases, images)
    assert len({words[name] for name in "abcde"}) == 1
    assert words["f"] == "f"
    assert patient_words(cases[::-1], images) == words
    assert same_images(cases, images) == {"b": ["c"], "c": ["b"], "d": ["e"], "e": ["d"]}
    assert same_images(cases[2:4], {"c": "1", "d": "1"}) == {}, "label maps of one image"


def with_image(folder, seed):
    """Write a case with a bright box."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:16, 5:15, 5:15] = 1
    folder.mkdir(parents=True)
    image = phantom(SHAPE, seed) + 300 * labels.astype(np.int16)
    write_image(folder / "image.nii.gz", image, make_affine((3.0, 3.0, 3.0)))
    write_image(folder / "label.nii.gz", labels, make_affine((3.0, 3.0, 3.0)))


@pytest.fixture
def dataset(tmp_path):
    """Six cases; the last one, `copy`, is the first one's image under another name."""
    for n in range(5):
        with_image(tmp_path / "raw" / f"case{n}", n)
    shutil.copytree(tmp_path / "raw" / "case0", tmp_path / "raw" / "copy")
    return tmp_path / "raw"


def test_images_that_cannot_be_read_have_no_digest(dataset):
    cases = find_cases(dataset)
    (dataset / "case1" / "image.nii.gz").unlink()
    found = image_digests(cases)
    assert sorted(found) == ["case0", "case2", "case3", "case4", "copy"]
    assert found["case0"] == found["copy"] != found["case2"]


def test_the_command_tells_of_an_image_that_is_there_twice(dataset):
    done = CliRunner().invoke(app, ["data", "check", str(dataset)])
    assert done.exit_code == 0, done.output
    assert done.output.count("the same image as") == 2
    reports = json.loads(CliRunner().invoke(app, ["data", "check", str(dataset), "--json"]).output)
    remarks = {report["name"]: report["remarks"] for report in reports}
    [remark] = remarks["copy"]
    assert remark.startswith("the same image as case0: ")
    assert remarks["case1"] == []


def test_an_image_that_is_there_twice_is_on_one_side_of_prepared_data(dataset, tmp_path):
    pytest.importorskip("torchio")
    from sammed3d.training import prepared

    def sides(seed):
        twice = prepared.prepare(
            find_cases(dataset), tmp_path / f"{seed}", "ct_a", spacing=3.0, validation=0.4, seed=seed
        )
        assert twice == ["case0", "copy"]
        found = json.loads((tmp_path / f"{seed}" / "split.json").read_text())
        return {name.removeprefix("ct_a/"): side for side in ("train", "validation") for name in found[side]}

    drawn = [sides(seed) for seed in range(4)]
    assert all(each["case0"] == each["copy"] for each in drawn)
    assert {each["copy"] for each in drawn} == {"train", "validation"}
    for n in range(8):  # in another dataset, whatever would be drawn there
        shutil.copytree(dataset / f"case{n % 5}", tmp_path / "more" / f"other{n}")
    arguments = ["data", "prepare", str(tmp_path / "more"), str(tmp_path / "0"), "--name", "ct_b", "--spacing", "3"]
    done = CliRunner().invoke(app, [*arguments, "--validation", "0.5", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "On the side of another case with the same image: other0, other1" in done.output
    found = json.loads((tmp_path / "0" / "split.json").read_text())
    there = {name: side for side in ("train", "validation") for name in found[side]}
    assert all(there[f"ct_b/other{n}"] == there[f"ct_a/case{n % 5}"] for n in range(8))
