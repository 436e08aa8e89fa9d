"""Datasets prepared for training, and the patches cut from them."""

import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchio
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from networks import TINY_PRESET
from sammed3d.cli.app import app
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import find_cases
from sammed3d.inference.patch import normalised
from sammed3d.training import prepared
from sammed3d.training.images import LabelMap, ScalarImage
from sammed3d.training.patches import Patches, pooled
from training_runs import recipe


def test_data_are_prepared_as_torchio_and_the_published_script_do(data):
    files = sorted(p.relative_to(data / "ready").as_posix() for p in (data / "ready").rglob("*.nii.gz"))
    assert len(files) == 5 * 2 * 2
    assert "left_kidney/ct_test/imagesTr/case0.nii.gz" in files
    raw = data / "raw" / "case0"
    mask = LabelMap(data / "ready" / "spleen" / "ct_test" / "labelsTr" / "case0.nii.gz")
    labels = LabelMap(raw / "label.nii.gz")
    labels.set_data((labels.data == 2).to(torch.uint8))
    wanted = torchio.Resample(3.0)(labels)
    assert torch.equal(mask.data, wanted.data)
    assert np.allclose(mask.affine, wanted.affine, atol=1e-5)
    image = ScalarImage(data / "ready" / "spleen" / "ct_test" / "imagesTr" / "case0.nii.gz")
    as_real = ScalarImage(raw / "image.nii.gz")
    as_real.set_data(as_real.data.float())  # integers would be rounded, which the product does not do either
    assert torch.allclose(image.data, torchio.Resample(3.0)(as_real).data, atol=1e-3)


@pytest.mark.slow
def test_preparing_goes_on_where_it_stopped_and_keeps_cases_together(data, tmp_path):
    split = json.loads((data / "ready" / "split.json").read_text())
    assert len(split["validation"]) == 1
    sides = [{s.case for s in prepared.find_samples(data / "ready", side)} for side in ("train", "validation")]
    assert sides[0].isdisjoint(sides[1])
    (data / "ready" / "split.json").write_text(json.dumps(split), encoding="utf-8-sig")  # as Windows' own tools save it
    assert [{s.case for s in prepared.find_samples(data / "ready", side)} for side in ("train", "validation")] == sides
    kept = data / "ready" / "spleen" / "ct_test" / "labelsTr" / "case1.nii.gz"
    before = kept.stat().st_mtime_ns
    lost = data / "ready" / "spleen" / "ct_test" / "labelsTr" / "case2.nii.gz"
    lost.unlink()
    prepared.prepare(
        find_cases(data / "raw"), data / "ready", "ct_test", spacing=3.0, validation=0.2, seed=1, workers=2
    )
    assert lost.is_file()
    assert kept.stat().st_mtime_ns == before
    assert json.loads((data / "ready" / "split.json").read_text()) == split
    other = tmp_path / "other"
    for seed in (1, 2, 3):
        prepared.prepare(find_cases(data / "raw"), other, "ct_test", spacing=3.0, validation=0.4, seed=seed)
        drawn = json.loads((other / "split.json").read_text())
        assert not set(drawn["train"]) & set(drawn["validation"]), "another seed never leaves a case on both sides"
    with pytest.raises(VolumeError, match="was not prepared"):
        prepared.find_samples(tmp_path, "train")


def labelled(folder, *boxes, names="{}"):
    """Write a case with a cube at each of the places, labelled from 1 on."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((24, 24, 24), np.uint8)
    for value, begin in enumerate(boxes, 1):
        labels[tuple(slice(b, b + 4) for b in begin)] = value
    write_image(folder / "image.nii.gz", phantom(labels.shape).astype(np.int16), make_affine((3.0, 3.0, 3.0)))
    write_image(folder / "label.nii.gz", labels, make_affine((3.0, 3.0, 3.0)))
    (folder / "labels.json").write_text(names)


def test_a_case_that_was_corrected_is_prepared_anew_and_the_others_are_kept(tmp_path):
    raw, ready = tmp_path / "raw", tmp_path / "ready"
    labelled(raw / "a", (2, 2, 2), (10, 10, 10))
    labelled(raw / "b", (2, 2, 2))

    def prepare():
        prepared.prepare(find_cases(raw), ready, "ct_x", spacing=3.0, validation=0.0)
        return {f"{s.structure}/{s.case}": s for s in prepared.find_samples(ready, "train")}

    first = prepare()
    kept = first["label_1/b"].label.stat().st_mtime_ns
    before = LabelMap(first["label_1/a"].label).data
    labelled(raw / "a", (14, 2, 2))
    second = prepare()
    assert second.keys() == {"label_1/a", "label_1/b"}, "and label 2 is gone"
    assert prepared.Preparation.read(ready).voxels.keys() == {"label_1/ct_x/a", "label_1/ct_x/b"}
    after = LabelMap(second["label_1/a"].label).data
    assert not (before * after).any(), "where it is now"
    assert second["label_1/b"].label.stat().st_mtime_ns == kept


def test_cases_that_a_name_had_before_and_that_are_left_out_now_are_told(tmp_path):
    for place in ("one/a", "one/b", "other/b"):
        labelled(tmp_path / place, (2, 2, 2))

    def prepare(dataset, name):
        arguments = ["data", "prepare", str(tmp_path / dataset), str(tmp_path / "ready"), "--name", name]
        done = CliRunner().invoke(app, [*arguments, "--spacing", "3", "--workers", "1"])
        assert done.exit_code == 0, done.output
        return done.output.replace("\n", " ")

    words = "though ct_x had them before: 1 cases. To keep those of two datasets, give each a --name"
    assert [words in prepare(*each) for each in (("one", "ct_x"), ("one", "ct_x"), ("other", "ct_y"))] == [False] * 3
    assert words in prepare("other", "ct_x")
    assert words not in prepare("other", "ct_x"), "once is enough"


def test_a_family_of_no_model_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["data", "prepare", str(tmp_path), str(tmp_path / "ready"), "--family", "ct_lidc"])
    assert done.exit_code == 1
    assert "--family is about the file of a model" in " ".join(done.output.split())


def test_preparing_goes_on_after_the_disk_was_full(tmp_path, monkeypatch):
    raw, ready = tmp_path / "raw", tmp_path / "ready"
    labelled(raw / "a", (2, 2, 2))
    write = Path.write_text

    def full(path, text, **how):
        write(path, text[:10] if path.name.endswith("split.json") else text, **how)
        if path.name.endswith("split.json"):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises((VolumeError, OSError)):
            prepared.prepare(find_cases(raw), ready, "ct_x", spacing=3.0, validation=0.0)
    prepared.prepare(find_cases(raw), ready, "ct_x", spacing=3.0, validation=0.0)
    assert [sample.case for sample in prepared.find_samples(ready, "train")] == ["a"]


def test_what_an_earlier_call_left_unfinished_is_made_anew(tmp_path):
    raw, ready = tmp_path / "raw", tmp_path / "ready"
    labelled(raw / "a", (2, 2, 2))
    prepared.prepare(find_cases(raw), ready, "ct_x", spacing=3.0, validation=0.0)
    for file in ready.rglob("*.nii.gz"):
        whole = file.read_bytes()
        for left in (whole[: len(whole) // 2], b""):
            file.write_bytes(left)
            prepared.prepare(find_cases(raw), ready, "ct_x", spacing=3.0, validation=0.0)
            assert len(file.read_bytes()) == len(whole)


def test_what_is_prepared_already_is_not_read_again(tmp_path, monkeypatch):
    raw, ready = tmp_path / "raw", tmp_path / "ready"
    labelled(raw / "a", (2, 2, 2), (10, 10, 10))
    (raw / "a" / "labels.json").write_text('{"1": "liver", "2": "spleen", "3": "speck"}')
    done, looked = [], []

    def prepare():
        prepared.prepare(
            find_cases(raw), ready, "ct_x", spacing=3.0, validation=0.0, on_case=lambda *each: done.append(each)
        )
        return prepared.Preparation.read(ready).voxels

    first = prepare()
    assert first == {"liver/ct_x/a": 64, "spleen/ct_x/a": 64}
    is_whole = prepared.is_whole
    monkeypatch.setattr(prepared, "is_whole", lambda file: looked.append(file) or is_whole(file))
    for name in ("read_labels", "LabelMap", "ScalarImage"):
        monkeypatch.setattr(prepared, name, None)
    assert prepare() == first
    assert done[0] == done[1]
    assert sorted(file.parent.name for file in looked) == ["imagesTr", "labelsTr", "labelsTr"], "each file once"


@pytest.mark.parametrize("name", ["nii", "scan.nii", "scan.nii.gz", "scan.2"])
def test_cases_may_be_named_as_files_end(name, tmp_path):
    """ITK writes x.nii.gz where x.nii.nii.gz was asked for."""
    labelled(tmp_path / "raw" / name, (2, 2, 2))
    problems = []
    prepared.prepare(
        find_cases(tmp_path / "raw"),
        tmp_path / "ready",
        "ct_x",
        spacing=3.0,
        validation=0.0,
        on_case=lambda _name, done: problems.append(done.problem),
    )
    [sample] = prepared.find_samples(tmp_path / "ready", "train")
    assert (problems, sample.case, sample.voxels) == ([None], name, 64)
    assert int(LabelMap(sample.label).data.sum()) == 64
    files = {file.name for file in (tmp_path / "ready").rglob("*Tr/*")}
    assert files == {f"{name}.nii.gz"}, "nothing is left beside them"


@pytest.mark.slow
def test_ctrl_c_ends_what_is_under_way_and_begins_nothing_more(tmp_path):
    for n in range(20):
        labelled(tmp_path / "raw" / f"case{n:02}", (2, 2, 2))
    done = []

    def stopped(name, _case):
        done.append(name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared.prepare(
            find_cases(tmp_path / "raw"), tmp_path / "ready", "ct_x", spacing=3.0, workers=2, on_case=stopped
        )
    begun = list((tmp_path / "ready").glob("*/*/labelsTr/*.nii.gz"))
    assert len(done) <= len(begun) <= 1 + 2 * 2 + 3, "the others were not begun"


def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    class Broken:
        def submit(self, *_args):
            raise BrokenProcessPool

        def shutdown(self, cancel_futures):
            assert cancel_futures

    labelled(tmp_path / "raw" / "a", (2, 2, 2))
    monkeypatch.setattr(prepared, "process_pool", lambda _count, interrupted: Broken())
    with pytest.raises(VolumeError, match=r"A process that prepared a case died.*fewer --workers"):
        prepared.prepare(find_cases(tmp_path / "raw"), tmp_path / "ready", "ct_x", spacing=3.0, workers=2)


def test_labels_of_one_name_are_one_structure_and_names_that_share_a_folder_are_told(tmp_path):
    labelled(tmp_path / "raw" / "a", (2, 2, 2), (10, 10, 10), names='{"1": "lesion", "2": "lesion"}')
    labelled(tmp_path / "raw" / "b", (2, 2, 2), (10, 10, 10), names='{"1": "Lesion (1)", "2": "Lesion 1"}')
    said = {}
    ready = tmp_path / "ready"
    prepared.prepare(find_cases(tmp_path / "raw"), ready, "ct_x", spacing=3.0, validation=0.0, on_case=said.__setitem__)
    [sample] = prepared.find_samples(ready, "train")
    assert (sample.structure, sample.case, sample.voxels) == ("lesion", "a", 2 * 4**3)
    assert said["b"].problem == (
        "b: 'Lesion (1)' and 'Lesion 1' would share the folder Lesion_1. Rename one of them in the dataset."
    )


def test_names_that_differ_in_capitals_alone_are_told_and_those_of_other_cases_found(tmp_path):
    """As on Windows and macOS, which take folders of such names for one."""
    labelled(tmp_path / "raw" / "a", (2, 2, 2), (10, 10, 10), names='{"1": "Liver", "2": "liver"}')
    labelled(tmp_path / "raw" / "b", (2, 2, 2), names='{"1": "Liver"}')
    labelled(tmp_path / "raw" / "c", (2, 2, 2), names='{"1": "liver"}')
    said = {}
    ready = tmp_path / "ready"
    prepared.prepare(find_cases(tmp_path / "raw"), ready, "ct_x", spacing=3.0, validation=0.0, on_case=said.__setitem__)
    assert said["a"].problem == (
        "a: 'Liver' and 'liver' would share the folder liver. Rename one of them in the dataset."
    )
    for part in ("imagesTr", "labelsTr"):  # what such a system makes of it
        place = f"ct_x/{part}/c.nii.gz"
        (ready / "liver" / place).rename(ready / "Liver" / place)
    found = {(sample.structure, sample.case): sample.voxels for sample in prepared.find_samples(ready, "train")}
    assert found == {("Liver", "b"): 4**3, ("Liver", "c"): 4**3}


@pytest.mark.slow
def test_a_case_with_an_empty_label_map_takes_no_place_among_those_that_validate(data, tmp_path):
    raw, affine = tmp_path / "raw", make_affine((3.0, 3.0, 4.0))
    for n in range(4):
        shutil.copytree(data / "raw" / f"case{n}", raw / f"case{n}")
        for end in "abc":
            shutil.copytree(data / "raw" / "case0", raw / f"empty{n}{end}")
            write_image(raw / f"empty{n}{end}" / "label.nii.gz", np.zeros((30, 34, 28), np.uint8), affine)
    arguments = ["data", "prepare", raw, tmp_path / "ready", "--name", "ct_x", "--spacing", 3, "--workers", 1]
    done = CliRunner().invoke(app, [*map(str, arguments), "--validation", "0.25"])
    assert done.exit_code == 0, done.output
    assert "Left out, with an empty label map: 12 cases." in done.output
    assert "6 structures to train on, 2 that validate." in done.output


def test_damaged_cases_are_named_and_the_others_prepared(data, tmp_path):
    runner = CliRunner()
    raw = tmp_path / "raw"
    for name in ("good", "bad"):
        (raw / name).mkdir(parents=True)
        for file in ("image.nii.gz", "label.nii.gz"):
            (raw / name / file).write_bytes((data / "raw" / "case0" / file).read_bytes())
    (raw / "bad" / "image.nii.gz").write_bytes(b"no image")
    done = runner.invoke(
        app, ["data", "prepare", str(raw), str(tmp_path / "ready"), "--spacing", "3", "--validation", "0"]
    )
    assert done.exit_code == 1
    assert "2 structures to train on, 0 that validate" in done.output
    assert (tmp_path / "ready" / "label_1" / "raw" / "labelsTr" / "good.nii.gz").is_file()


@pytest.mark.slow
def test_a_patch_depends_on_its_seed_alone(data):
    samples = prepared.find_samples(data / "ready", "train")
    patches = Patches(samples, TINY_PRESET, recipe(), augment=True)
    torch.manual_seed(1)
    first = patches[0, 5]
    torch.manual_seed(2)
    assert torch.equal(patches[0, 5]["image"], first["image"])
    others = [patches[0, seed]["image"] for seed in range(8)]
    assert any(not torch.equal(other, first["image"]) for other in others), "flipped"
    assert first["image"].shape == (1, 64, 64, 64)
    assert first["mask"].sum() > 100


@pytest.mark.slow
def test_in_place_of_a_patch_that_shows_too_little_another_one_is_drawn(tmp_path):
    labelled(tmp_path / "raw" / "a", (2, 2, 2), (3, 2, 2))  # the second lies over all of the first but a slice
    labelled(tmp_path / "raw" / "b", (2, 2, 2))
    prepared.prepare(find_cases(tmp_path / "raw"), tmp_path / "ready", "ct_x", spacing=3.0, validation=0.0)
    samples = prepared.find_samples(tmp_path / "ready", "train")
    sizes = [sample.voxels for sample in samples]
    least, most = min(sizes), max(sizes)
    assert sorted(sizes) == [16, 64, 64]
    smallest = sizes.index(least)

    def patch(seed, limit, augment=True):
        item = Patches(samples, TINY_PRESET, recipe(smallest_voxels=limit), augment=augment)[smallest, seed]
        return item["index"], int(item["mask"].sum())

    drawn = [patch(seed, least) for seed in range(6)]
    assert all(found == sizes[index] > least for index, found in drawn)
    assert len({index for index, _ in drawn}) > 1
    assert patch(0, least - 1) == patch(0, least, augment=False) == (smallest, least), "nothing else validates"
    assert patch(0, most)[1] > 0, "where none shows enough, the last one"


def test_normalisation_is_that_of_torchio_pooled_or_not():
    images = torch.from_numpy(np.stack([phantom((8, 8, 8), s) for s in range(2)])).float()[:, None] - 100
    each = normalised(images[0, 0].numpy(), TINY_PRESET, "phantom")
    wanted = torchio.ZNormalization(masking_method=lambda x: x > 0)(images[0])
    assert torch.allclose(torch.from_numpy(each), wanted[0], atol=1e-4)
    together = pooled(images, TINY_PRESET, recipe(normalisation="batch"))
    positive = images[images > 0]
    assert torch.allclose(together, (images - positive.mean()) / positive.std())
    assert pooled(images, TINY_PRESET, recipe()) is images
    assert pooled(images, replace(TINY_PRESET, normalisation="none"), recipe(normalisation="batch")) is images


@pytest.mark.parametrize(
    ("folder", "options", "why"),
    [
        ("raw", (), "lies in the dataset, whose cases the prepared ones would become"),
        ("raw/ready", (), "lies in the dataset"),
        ("ready", ("--name", "ct/x"), "is no name of a dataset"),
        ("ready", ("--name", ".."), "is no name of a dataset"),
        ("ready", ("--spacing", "0"), "Voxels of 0 mm are none"),
        ("ready", ("--spacing", "nan"), "Voxels of nan mm are none"),
    ],
)
def test_what_would_mix_or_lose_data_is_refused_before_any_is_prepared(tmp_path, folder, options, why):
    labelled(tmp_path / "raw" / "case", (2, 2, 2))
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["data", "prepare", str(tmp_path / "raw"), str(tmp_path / folder), *options])
    assert done.exit_code == 1
    assert why in " ".join(done.output.split())
    assert sorted(tmp_path.rglob("*")) == before
