"""Datasets: the layouts that are understood, and what a check finds wrong."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import cases_of, check, counted, find_cases, read_labels, split
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.volume import Volume

AFFINE = make_affine((2.0, 2.0, 3.0), (0.1, 0.0, 0.2), (5.0, 6.0, 7.0))
SHAPE = (20, 22, 18)


def labels(values=(1, 2)):
    array = np.zeros(SHAPE, np.uint8)
    for n, value in enumerate(values):
        array[3 + 8 * n : 8 + 8 * n, 4:12, 5:10] = value
    return array


def write_case(folder, image, label, seed=0, affine=AFFINE, array=None):
    for name in (image, label):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_image(folder / image, phantom(SHAPE, seed), AFFINE)
    write_image(folder / label, labels() if array is None else array, affine)


@pytest.fixture
def nnunet(tmp_path):
    for n in range(3):
        write_case(tmp_path, f"imagesTr/case{n}_0000.nii.gz", f"labelsTr/case{n}.nii.gz", n)
        write_image(tmp_path / f"imagesTr/case{n}_0001.nii.gz", phantom(SHAPE, 9), AFFINE)
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    return tmp_path


def test_nnunet_folders_of_both_versions_are_understood(nnunet):
    second = find_cases(nnunet)
    assert [case.name for case in second] == ["case0", "case1", "case2"]
    assert second[0].image.name == "case0_0000.nii.gz", "the first channel"
    assert second[0].names == {1: "liver", 2: "spleen"}
    about = {"labels": {"0": "background", "1": "liver", "2": "spleen"}, "modality": {"0": "CT"}, "training": []}
    (nnunet / "dataset.json").write_text(json.dumps(about))
    assert find_cases(nnunet)[0].names == {1: "liver", 2: "spleen"}
    for image in (nnunet / "imagesTr").glob("*_0000.nii.gz"):
        image.rename(image.with_name(image.name.replace("_0000", "")))
    assert find_cases(nnunet)[2].image.name == "case2.nii.gz"


def test_regions_of_nnunet_are_structures_and_what_nobody_annotated_is_none(nnunet):
    about = {"labels": {"background": 0, "tumour": [1, 2], "core": [2], "ignore": 3}, "regions_class_order": [1, 2]}
    (nnunet / "dataset.json").write_text(json.dumps(about))
    write_image(nnunet / "labelsTr" / "case0.nii.gz", labels((1, 3)), AFFINE)
    tumour, core = find_cases(nnunet)[2:4]
    assert [tumour.name, core.name, tumour.group, core.group] == ["case1_1", "case1_2", "case1", "case1"]
    array = read_labels(tumour, Volume.read(tumour.image).grid)
    assert tumour.structures_in(array) == {"tumour": [1, 2]}
    assert core.structures_in(array) == {"core": [2]}
    first = find_cases(nnunet)[0]
    report = check(first)
    assert report.volumes_ml == pytest.approx({"tumour": 5 * 8 * 5 * 12 / 1000})
    assert report.remarks == [
        "2 channels: the first one alone, case0_0000.nii.gz, is read.",
        "label 3 (ignore): 2.40 ml that nobody annotated; they count as outside of all structures.",
    ]
    (nnunet / "imagesTr" / "case0_0001.nii.gz").unlink()
    assert len(check(first).remarks) == 1, "a single channel is all there is"
    about["labels"] = {"background": 0, "tumour": [1, 2], "edema": 3}
    (nnunet / "dataset.json").write_text(json.dumps(about))
    assert [case.names for case in find_cases(nnunet)] == [{1: "tumour", 2: "tumour", 3: "edema"}] * 3


def test_label_maps_without_an_image_are_told(tmp_path):
    write_case(tmp_path, "images/x.nii.gz", "labels/x.nii.gz")
    write_image(tmp_path / "labels" / "y.nii.gz", labels(), AFFINE)
    with pytest.raises(VolumeError, match=r"there is no image for y\.nii\.gz in images\. Put it there"):
        find_cases(tmp_path)


def test_cases_in_folders_may_have_any_format_once(tmp_path):
    write_case(tmp_path / "one", "image.nrrd", "label.mha")
    (tmp_path / "one" / "labels.json").write_text('{"1": "liver"}')
    [case] = find_cases(tmp_path)
    assert [case.name, case.image.name, case.label.name, case.name_of(1)] == ["one", "image.nrrd", "label.mha", "liver"]
    write_image(tmp_path / "one" / "image.nii.gz", phantom(SHAPE), AFFINE)
    with pytest.raises(VolumeError, match=r"one: holds several images 'image' in different formats"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [(-1, np.int8, r"holds negative labels \(-1\)"), (np.inf, np.float32, "holds infinite values")],
)
@pytest.mark.filterwarnings("error")
def test_label_maps_with_labels_that_cannot_be_are_refused(value, kind, words, tmp_path):
    array = labels().astype(kind)
    array[0, 0, 0] = value
    write_case(tmp_path, "images/x.nii.gz", "labels/x.nii.gz", array=array)
    [case] = find_cases(tmp_path)
    with pytest.raises(VolumeError, match=words):
        read_labels(case, Volume.read(case.image).grid)


def test_a_damaged_label_map_is_told_from_an_image_of_the_same_name(tmp_path):
    write_case(tmp_path, "images/x.nii.gz", "labels/x.nii.gz")
    (tmp_path / "labels" / "x.nii.gz").write_bytes(b"")
    [problem] = check(find_cases(tmp_path)[0]).problems
    assert problem.startswith("x: the label map cannot be used. x.nii.gz: ")


def test_names_with_numbers_are_sorted_as_people_count():
    assert sorted(["label 10", "label 2", "kidney", "label 1"], key=counted) == [
        "kidney",
        "label 1",
        "label 2",
        "label 10",
    ]


def test_pairs_and_case_folders_are_understood(tmp_path):
    write_case(tmp_path / "a", "images/x.nrrd", "labels/x.nii.gz")
    write_image(tmp_path / "a" / "images" / "y.nii.gz", phantom(SHAPE), AFFINE)
    cases = find_cases(tmp_path / "a")
    assert [(case.name, case.label is not None) for case in cases] == [("x", True), ("y", False)]
    assert cases[0].name_of(7) == "label 7"
    write_case(tmp_path / "b", "one/image.nii.gz", "one/label.nii.gz")
    (tmp_path / "b" / "one" / "labels.json").write_text('{"1": {"name": "liver", "ml": 3}}')
    [case] = find_cases(tmp_path / "b")
    assert case.name_of(1) == "liver"


def test_published_layouts_without_a_description_are_understood(tmp_path):
    """BoSAM's and LIDC's folders, SAM-Med3D's with a folder for each structure, and what `data prepare` writes."""
    write_case(tmp_path / "bosam", "imagesTr/x.nii.gz", "labelsTr/x.nii.gz")
    write_case(tmp_path / "bosam", "imagesVal/y.nii.gz", "labelsVal/y.nii.gz")
    write_case(tmp_path / "bosam", "imagesTs/x.nii.gz", "labelsTs/x.nii.gz")
    assert [case.name for case in find_cases(tmp_path / "bosam")] == ["x", "x_Ts", "y"]
    for structure in ("liver", "spleen"):
        for side, name in (("Ts", "a"), ("Ts", "b"), ("Tr", "c")):
            path = f"{structure}/ct_word"
            write_case(tmp_path / "val", f"{path}/images{side}/{name}.nii.gz", f"{path}/labels{side}/{name}.nii.gz")
    cases = find_cases(tmp_path / "val")
    assert [case.name for case in cases] == [f"ct_word_{n}_{s}" for n in "abc" for s in ("liver", "spleen")]
    assert cases[1].name_of(1) == "spleen"
    assert {case.group for case in cases} == {"ct_word_a", "ct_word_b", "ct_word_c"}
    (tmp_path / "val" / "liver" / "ct_word" / "imagesTs" / "a.nii.gz").unlink()
    with pytest.raises(VolumeError, match=r"no image for a\.nii\.gz in imagesTs"):
        find_cases(tmp_path / "val")
    with pytest.raises(VolumeError, match="there is no such folder"):
        find_cases(tmp_path / "absent")


def test_structures_of_one_image_stay_on_one_side_of_the_split(tmp_path):
    prepared = pytest.importorskip("sammed3d.training.prepared")
    for structure in ("liver", "spleen"):
        for name in "abcd":
            path = f"raw/{structure}/ct_word"
            write_case(tmp_path, f"{path}/imagesTr/{name}.nii.gz", f"{path}/labelsTr/{name}.nii.gz", array=labels((1,)))
    prepared.prepare(find_cases(tmp_path / "raw"), tmp_path / "ready", "ct_mine", validation=0.5)
    sides = [{s.case[:9] for s in prepared.find_samples(tmp_path / "ready", side)} for side in ("train", "validation")]
    assert sides[0].isdisjoint(sides[1])
    assert sides[0] | sides[1] == {f"ct_word_{n}" for n in "abcd"}
    again = find_cases(tmp_path / "ready")
    assert len(again) == 8, "what was prepared is a dataset too"


def test_what_is_no_dataset_is_refused(tmp_path, nnunet):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="holds no cases"):
        find_cases(tmp_path / "empty")
    (nnunet / "imagesTr" / "case1_0000.nii.gz").unlink()
    (nnunet / "imagesTr" / "case1_0001.nii.gz").unlink()
    with pytest.raises(VolumeError, match=r"no image for case1\.nii\.gz"):
        find_cases(nnunet)
    (nnunet / "dataset.json").write_text("{")
    with pytest.raises(VolumeError, match="damaged"):
        find_cases(nnunet)


def test_a_check_reports_volumes_and_what_is_wrong(tmp_path, monkeypatch):
    moved = AFFINE.copy()
    moved[0, 3] += 4
    tiny = labels((1,))
    tiny[0, 0, 0] = 2  # 12 mm³
    write_case(tmp_path, "good/image.nii.gz", "good/label.nii.gz")
    write_case(tmp_path, "elsewhere/image.nii.gz", "elsewhere/label.nii.gz", affine=moved)
    write_case(tmp_path, "empty/image.nii.gz", "empty/label.nii.gz", array=labels(()))
    write_case(tmp_path, "shape/image.nii.gz", "shape/label.nii.gz", array=labels()[:-1])
    write_case(tmp_path, "fractions/image.nii.gz", "fractions/label.nii.gz", array=labels() * np.float32(0.3))
    write_case(tmp_path, "flat/image.nii.gz", "flat/label.nii.gz")
    write_image(tmp_path / "flat/image.nii.gz", np.full(SHAPE, 3, np.int16), AFFINE)
    write_case(tmp_path, "tiny/image.nii.gz", "tiny/label.nii.gz", array=tiny)
    monkeypatch.setattr("sammed3d.files.datasets.TINY_MM3", 13.0)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "image.nii.gz").write_bytes(b"no image")
    reports = {report.name: report for report in map(check, find_cases(tmp_path))}
    assert reports["good"].problems == []
    assert reports["good"].shape == SHAPE
    assert reports["good"].spacing == (2.0, 2.0, 3.0)
    assert reports["good"].volumes_ml == pytest.approx(
        {"label 1": 5 * 8 * 5 * 12 / 1000, "label 2": 5 * 8 * 5 * 12 / 1000}
    )
    for name, words in {
        "elsewhere": "lies elsewhere",
        "empty": "is empty",
        "shape": "voxels, the image",
        "fractions": "holds fractions",
        "flat": "same value",
        "damaged": "cannot be read",
    }.items():
        [problem] = reports[name].problems
        assert words in problem
    assert reports["tiny"].problems == []
    assert reports["tiny"].remarks == ["label 2: 12.0 mm³ is less than 13 mm³ and is left out of training."]


def test_the_command_prints_a_table_or_json_and_fails_where_there_are_problems(nnunet):
    runner = CliRunner()
    done = runner.invoke(app, ["data", "check", str(nnunet)])
    assert done.exit_code == 0, done.output
    assert "3 cases, 0 with problems." in done.output
    assert "spleen" in done.output
    write_image(nnunet / "labelsTr" / "case1.nii.gz", labels(()), AFFINE)
    done = runner.invoke(app, ["data", "check", str(nnunet), "--json"])
    assert done.exit_code == 1
    reports = json.loads(done.stdout)
    assert reports[1]["problems"] == ["the label map is empty."]
    assert reports[1]["remarks"][1:] == ["liver: not in this case.", "spleen: not in this case."]


def test_names_saved_by_windows_own_tools_which_put_a_mark_in_front_are_read(nnunet, tmp_path):
    about = (nnunet / "dataset.json").read_text(encoding="utf-8").replace("spleen", "Größe")
    (nnunet / "dataset.json").write_text(about, encoding="utf-8-sig")
    assert find_cases(nnunet)[0].names == {1: "liver", 2: "Größe"}
    write_case(tmp_path / "b", "one/image.nii.gz", "one/label.nii.gz")
    (tmp_path / "b" / "one" / "labels.json").write_text('{"1": "liver"}', encoding="utf-8-sig")
    assert find_cases(tmp_path / "b")[0].names == {1: "liver"}


def test_the_command_says_what_cannot_be_used_and_lists_labels_as_people_count(nnunet):
    (nnunet / "dataset.json").write_text(json.dumps({"labels": {"background": 0}}))
    write_image(nnunet / "labelsTr" / "case2.nii.gz", labels((10, 2)), AFFINE)
    image = nnunet / "imagesTr" / "case0_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:50])
    done = CliRunner().invoke(app, ["data", "check", str(nnunet)])
    assert "case0: cannot be used\n" in done.output
    shown = [line for line in done.output.splitlines() if "label" in line]
    assert [line.split()[2] for line in shown] == ["1", "2", "10"]


@pytest.mark.parametrize("content", ['{"1": "liver",}', '["liver"]', '{"one": "liver"}', '{"1": {"colour": 3}}'])
def test_names_that_are_damaged_are_told_with_their_file(content, tmp_path):
    write_case(tmp_path / "a", "image.nii.gz", "label.nii.gz")
    (tmp_path / "a" / "labels.json").write_text(content)
    with pytest.raises(VolumeError, match=r"a.labels\.json: is damaged"):
        find_cases(tmp_path)


def test_equal_names_in_several_datasets_are_told_apart(tmp_path):
    one, two, three = (tmp_path / place for place in ("a/raw", "b/raw", "more"))
    for folder, name in ((one, "same"), (one, "own"), (two, "same"), (three, "same")):
        write_case(folder / name, "image.nii.gz", "label.nii.gz")
    assert [case.name for case in cases_of([one, three])] == ["own", "raw/same", "more/same"]
    assert [case.name for case in cases_of([one, two])] == ["own", f"{one}/same", f"{two}/same"]
    assert [case.name for case in cases_of([two])] == ["same"]
    with pytest.raises(VolumeError, match=r"raw: is given twice\."):
        cases_of([one, three, one / ".." / "raw"])


def test_splits_are_by_case_and_repeatable():
    names = [f"case{n}" for n in range(20)]
    train, validation = split(names, 0.2, seed=5)
    assert len(validation) == 4
    assert sorted([*train, *validation]) == sorted(names)
    assert split(names[::-1], 0.2, seed=5) == (train, validation), "whatever the order of the folder"
    assert split(names, 0.2, seed=6) != (train, validation)
    for n in range(2, 20):
        one, more = split(names[:n], 0.2, 5)[1], split(names[: n + 1], 0.2, 5)[1]
        assert len(set(one) ^ set(more)) <= 2, "one more case takes the place of another, or joins"
    assert [len(part) for part in split(["a", "b"], 0.01, 0)] == [1, 1], "somebody validates"
    assert split(["a"], 0.5, 0) == (["a"], [])
    assert split(names, 0.0, 0)[1] == []


def test_labels_without_a_value_are_background(tmp_path):
    without = np.where(labels() == 0, np.nan, labels()).astype(np.float32)
    write_case(tmp_path, "images/x.nii.gz", "labels/x.nii.gz", array=without)
    [case] = find_cases(tmp_path)
    assert (read_labels(case, Volume.read(case.image).grid) == labels()).all()
    _, segments = read_segments(case.label)
    assert {name: int(each.mask.voxels.sum()) for name, each in segments.items()} == {"1": 200, "2": 200}
    write_case(tmp_path, "images/x.nii.gz", "labels/x.nii.gz", array=without + 0.5)
    for read in (lambda: read_labels(case, Volume.read(case.image).grid), lambda: read_segments(case.label)):
        with pytest.raises(VolumeError, match="holds fractions"):
            read()
