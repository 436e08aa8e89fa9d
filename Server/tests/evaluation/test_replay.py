"""Saved prompts with another model: what differs, what is named, and that a run goes on."""

import csv
import functools
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import ThresholdPredictor, make_affine, phantom, write_image
from networks import filled
from sammed3d import load_predictor
from sammed3d.cli.app import app
from sammed3d.core import prompt_files
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.errors import ModelError, VolumeError
from sammed3d.evaluation.apart import Workers
from sammed3d.evaluation.replay import cases_to_replay, means, replay
from sammed3d.files.datasets import find_cases
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.volume import Volume, read_image
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.nets import build
from sammed3d.zoo.checkpoint import write_checkpoint

SHAPE = (40, 44, 36)
AFFINE = make_affine((3.0, 3.0, 3.0))
SIZES = {"patch_size": 32, "widths": [4, 4, 8, 8], "decoder_widths": [4, 4, 8, 8], "depths": [0, 1, 1, 1]}
PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(32, 32, 32), low_res_shape=(16, 16, 16), normalisation="none")


@pytest.fixture
def dataset(tmp_path):
    """Three cases whose accepted masks are what one predictor answers to their prompts; one has none."""
    folder = tmp_path / "dataset"
    grid = Grid(SHAPE, AFFINE)
    for n in range(3):
        case = folder / f"case{n}"
        case.mkdir(parents=True)
        write_image(case / "image.nii.gz", phantom(SHAPE, n), AFFINE)
        session = Session(Volume.read(case / "image.nii.gz"), ThresholdPredictor())
        session.add_object("liver")
        click = Click(tuple(grid.to_world((20, 22, 18))))
        session.click(click.world)
        write_image(case / "label.nii.gz", session.mask().astype(np.uint8), AFFINE)
        (case / "labels.json").write_text('{"1": "liver"}')
        if n < 2:
            prompt_files.write(case / "prompts.json", [ObjectPrompts("liver", (click,))])
    return folder


def checkpoint(path):
    network = filled(build("promptable_unet", SIZES))
    write_checkpoint(
        path, network.state_dict(), network="promptable_unet", sizes=SIZES, preset=PRESET.to_json(), name="n"
    )
    return path


def dies_at(name, path, counts):
    """Load a model that takes its process down at one case."""
    predictor = load_predictor(path, device="cpu")
    decode = predictor.predict

    def predict(patch, *arguments, **options):
        (counts / f"{os.getpid()}").touch()
        if abs(float(patch.voxels.sum()) - float(name)) < 1.0:
            os._exit(1)
        return decode(patch, *arguments, **options)

    predictor.predict = predict
    return predictor


def test_the_same_model_makes_the_same_masks_and_another_does_not(dataset, tmp_path):
    cases, without = cases_to_replay(find_cases(dataset))
    assert [case.name for case in cases] == ["case0", "case1"]
    assert without == 1
    seen = []
    found = replay(cases, ThresholdPredictor, tmp_path / "out", "one", on_case=lambda case, _: seen.append(case.name))
    assert [each.dice for each in found] == [1.0, 1.0]
    assert means(found) == {"liver": 1.0}
    assert found[0].accepted_ml == pytest.approx(found[0].new_ml)
    grid, segments = read_segments(tmp_path / "out" / "case0.seg.nrrd")
    assert grid.shape == SHAPE
    assert [segment.name for segment in segments.values()] == ["liver"]
    again = replay(cases, pytest.fail, tmp_path / "out", "one")
    assert again == found, "what is done is not done again"
    with pytest.raises(ModelError, match="another model"):
        replay(cases, ThresholdPredictor, tmp_path / "out", "two")


def test_cases_that_have_changed_are_done_again_and_all_are_where_the_model_has(dataset, tmp_path):
    cases, _ = cases_to_replay(find_cases(dataset))
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.onnx").write_bytes(b"one")

    def done_again(**options):
        seen = []
        found = replay(
            cases_to_replay(find_cases(dataset))[0], ThresholdPredictor, tmp_path / "out", "m",
            on_case=lambda case, _: seen.append(case.name), files=[weights], **options,
        )  # fmt: skip
        return seen, found

    both = ["case0", "case1"]
    assert done_again()[0] == both
    assert done_again()[0] == []
    [prompts] = prompt_files.read(cases[0].prompts)
    prompt_files.write(cases[0].prompts, [prompts, ObjectPrompts("spleen", prompts.clicks)])
    seen, found = done_again()
    assert seen == ["case0"]
    assert [each.structure for each in found] == ["liver", "spleen", "liver"]
    (cases[1].image.parent / "labels.json").write_text('{"1": "kidney"}')
    seen, found = done_again()
    assert seen == ["case1"]
    assert np.isnan(found[-1].dice), "its structure is another one now"
    write_image(cases[0].image.parent / "label.nii.gz", np.zeros(SHAPE, np.uint8), AFFINE)
    assert done_again()[0] == ["case0"]
    write_image(cases[1].image, phantom(SHAPE, 7), AFFINE)
    assert done_again()[0] == ["case1"]
    (weights / "model.onnx").write_bytes(b"two")
    assert done_again()[0] == both
    assert done_again(force=True)[0] == both
    prompt_files.write(cases[0].prompts, [ObjectPrompts("liver", (Click((9e3, 0.0, 0.0)),))])
    assert done_again()[1][0].problem
    assert not (tmp_path / "out" / "case0.seg.nrrd").exists(), "a mask that has no prompts any more is not left"


def test_the_command_does_again_what_its_model_file_or_force_asks_for(dataset, tmp_path):
    model = checkpoint(tmp_path / "m.safetensors")
    command = ["replay", str(dataset), "--model", str(model), "--device", "cpu", "-o", str(tmp_path / "out")]
    for options, again in (((), True), ((), False), (("--force",), True)):
        result = CliRunner().invoke(app, [*command, *options])
        assert result.exit_code == 0, result.output
        assert ("1 case0: Dice" in result.stderr) == again
    network = filled(build("promptable_unet", SIZES))
    write_checkpoint(
        model, network.state_dict(), network="promptable_unet", sizes=SIZES, preset=PRESET.to_json(), name="other"
    )
    assert "1 case0: Dice" in CliRunner().invoke(app, command).stderr


def test_what_cannot_be_done_is_named_and_the_rest_is_done(dataset, tmp_path):
    far = ObjectPrompts("spleen", (Click((9e3, 0.0, 0.0)),))
    mask = ObjectPrompts("kidney", (), initial_mask="patient.nii.gz")
    prompt_files.write(
        dataset / "case0" / "prompts.json", [far, mask, *prompt_files.read(dataset / "case0" / "prompts.json")]
    )
    (dataset / "case1" / "prompts.json").write_text("{")
    command = [
        "replay",
        str(dataset),
        "--model",
        str(checkpoint(tmp_path / "m.safetensors")),
        "-o",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    text = result.output.replace("\n", " ")
    assert "case0, spleen: " in text
    assert "case0, kidney: started from a mask, which is not kept" in text
    assert "case1, the case: " in text
    assert "patient" not in text
    assert "Left out, without prompts: 1 images." in text
    rows = list(csv.DictReader((tmp_path / "out" / "replay.csv").open()))
    assert [bool(row["problem"]) for row in rows] == [True, True, True, False], "what needs a look goes first"
    assert 0 <= float(rows[-1]["dice"]) < 1
    (tmp_path / "out" / "cases" / "case1.json").unlink()
    assert "case1" in CliRunner().invoke(app, command).output, "it goes on, and replaces its own table"


def test_labels_of_one_name_are_compared_as_one_structure(dataset, tmp_path):
    file = dataset / "case0" / "label.nii.gz"
    whole = read_image(file)[1]
    halves = whole * np.where(np.arange(SHAPE[0])[:, None, None] < 20, 1, 2)
    write_image(file, halves.astype(np.uint8), AFFINE)
    (dataset / "case0" / "labels.json").write_text('{"1": "liver", "2": "liver"}')
    cases, _ = cases_to_replay(find_cases(dataset))
    found = replay(cases, ThresholdPredictor, tmp_path / "out", "m")
    assert [each.dice for each in found] == [1.0, 1.0]


def test_a_dataset_without_prompts_says_where_they_come_from(dataset):
    for file in dataset.glob("*/prompts.json"):
        file.unlink()
    with pytest.raises(VolumeError, match="sammed3d collect"):
        cases_to_replay(find_cases(dataset))


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_one_that_dies_costs_its_case_alone(dataset, tmp_path):
    prompt_files.write(dataset / "case2" / "prompts.json", prompt_files.read(dataset / "case0" / "prompts.json"))
    path = checkpoint(tmp_path / "m.safetensors")
    cases, _ = cases_to_replay(find_cases(dataset))
    one = replay(cases, functools.partial(load_predictor, path, "cpu"), tmp_path / "one", "m")
    two = replay(cases, functools.partial(load_predictor, path, "cpu"), tmp_path / "two", "m", Workers(2))
    assert one == two
    with pytest.raises(ModelError, match=r"missing\.safetensors"):
        replay(cases, functools.partial(load_predictor, "missing.safetensors"), tmp_path / "none", "m", Workers(2))

    sums = []

    class Listening:
        def __init__(self):
            self.inner = load_predictor(path, "cpu")

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def predict(self, patch, *arguments, **options):
            sums.append(float(patch.voxels.sum()))
            return self.inner.predict(patch, *arguments, **options)

    replay(cases[1:2], Listening, tmp_path / "listen", "m")
    (tmp_path / "counts").mkdir()
    dying = functools.partial(dies_at, str(sums[0]), path, Path(tmp_path / "counts"))
    found = replay(cases, dying, tmp_path / "dying", "m", Workers(2))
    assert [each.problem for each in found] == ["", "the process that worked on it died; is memory short?", ""]
    assert [each.new_ml for each in found[::2]] == [each.new_ml for each in one[::2]]
