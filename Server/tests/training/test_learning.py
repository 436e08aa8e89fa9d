"""Learning from corrected cases: what teaches, what measures, and that only a better model is installed."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from networks import TINY_2D, TINY_PRESET, TINY_PRESET_2D, TINY_SIZES, filled
from sammed3d import load_model
from sammed3d.cli.app import app
from sammed3d.errors import ModelError, VolumeError
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.files.datasets import Case, find_cases
from sammed3d.inference.preset import Preset
from sammed3d.nets import build
from sammed3d.training.learning import learners
from sammed3d.training.learning import run as learning
from sammed3d.training.learning.learners import FROZEN, LoraLearner, UNetLearner
from sammed3d.training.learning.run import METHOD, Learned, LearningRun, clicks_needed, mean_dice
from sammed3d.training.learning.split import Split, sample_case
from sammed3d.training.schedule import how_often
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.store import ModelStore

SHAPE = (40, 44, 36)
SIZES = {"patch_size": 32, "widths": [4, 4, 8, 8], "decoder_widths": [4, 4, 8, 8], "depths": [0, 1, 1, 1]}
PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(32, 32, 32), low_res_shape=(16, 16, 16), normalisation="none")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four cases with a bright ball each."""
    folder = tmp_path_factory.mktemp("cases")
    affine = make_affine((3.0, 3.0, 3.0))
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    for n in range(4):
        ball = sum((a - c) ** 2 for a, c in zip(axes, (16 + n, 20, 18), strict=True)) < 64
        (folder / f"case{n}").mkdir()
        write_image(
            folder / f"case{n}" / "image.nii.gz", (phantom(SHAPE, n) // 4 + 400 * ball).astype(np.int16), affine
        )
        write_image(folder / f"case{n}" / "label.nii.gz", ball.astype(np.uint8), affine)
        (folder / f"case{n}" / "labels.json").write_text('{"1": "ball"}')
    return folder


def unet(path, shift=0.0):
    """Write a small network of the default model's class whose logits are shifted."""
    network = filled(build("promptable_unet", SIZES))
    weights = network.state_dict()
    weights["mask_decoder.logits.bias"] = weights["mask_decoder.logits.bias"] + shift
    write_checkpoint(path, weights, network="promptable_unet", sizes=SIZES, preset=PRESET.to_json(), name="start")
    return path


def sam_med3d(path):
    """Write a small network of SAM-Med3D's kind."""
    about = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json(), "name": "Tiny"}
    write_checkpoint(path, filled(build("sam_med3d", TINY_SIZES)).state_dict(), **about)
    return path


# Learners


@pytest.mark.slow
def test_the_default_models_network_keeps_its_finest_level_and_goes_on(dataset, tmp_path):
    start = load_model(unet(tmp_path / "start.safetensors"))
    cases = find_cases(dataset)[:2]

    def learner():
        return UNetLearner(start, cases, [sample_case()], tmp_path / "run", torch.device("cpu"), seed=1)

    (tmp_path / "run").mkdir()
    first = learner()
    assert first.learn(0.001, 0.0) > 0
    assert first.steps == 10
    first.save()
    _, weights = first.model()
    before = start.plain_network.state_dict()
    changed = {name for name in weights if not torch.equal(weights[name], before[name].half())}
    assert changed
    assert not any(name.startswith(FROZEN) for name in changed)
    second = learner()
    assert second.steps == 10
    assert all(torch.equal(weights[name], value) for name, value in second.model()[1].items())


@pytest.mark.slow
def test_networks_of_sam_med3ds_kind_learn_low_rank_updates(dataset, tmp_path):
    file = sam_med3d(tmp_path / "tiny.safetensors")
    network = load_model(file).plain_network
    learner = LoraLearner(load_model(file), find_cases(dataset)[:2], [], tmp_path / "run", "cpu", seed=1)
    while learner.steps < 2:
        learner.learn(0.001, 0.0)
    learner.save()
    model, weights = learner.model()
    before = network.state_dict()
    assert weights.keys() == before.keys(), "the updates are merged"
    changed = {name for name in weights if not torch.allclose(weights[name], before[name], atol=1e-7)}
    assert changed
    assert all(name.endswith("qkv.weight") for name in changed)
    assert model.preset == TINY_PRESET
    again = LoraLearner(load_model(file), find_cases(dataset)[:2], [], tmp_path / "run", "cpu", seed=1)
    assert again.steps == 2


def with_cubes(folder, *edges):
    """Write a case with cubes of some edge lengths; returns it."""
    folder.mkdir()
    labels = np.zeros((40, 40, 40), np.uint8)
    for value, edge in enumerate(edges, 1):
        labels[5 * value : 5 * value + edge, 4 : 4 + edge, 4 : 4 + edge] = value
    write_image(folder / "image.nii.gz", phantom(labels.shape).astype(np.int16), make_affine((3.0, 3.0, 3.0)))
    write_image(folder / "label.nii.gz", labels, make_affine((3.0, 3.0, 3.0)))
    return Case(folder.name, folder / "image.nii.gz", folder / "label.nii.gz")


def test_a_quarter_of_the_steps_rehearses_and_what_is_left_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    file = tmp_path / "tiny.safetensors"  # says nothing of its family, which the store knows
    network = filled(build("sam_med3d", TINY_SIZES))
    write_checkpoint(file, network.state_dict(), sizes=TINY_SIZES, preset=TINY_PRESET.to_json())
    ModelStore().add(file, "mine", family="sam_med3d")
    own, known = with_cubes(tmp_path / "own", 5, 2), with_cubes(tmp_path / "known", *[5] * 6)
    said, made = [], []
    monkeypatch.setattr(learners, "Run", lambda *arguments: made.append(arguments))
    LoraLearner(load_model("mine"), [own], [known], tmp_path / "run", "cpu", 1, said.append)
    [(recipe, model, samples, *_)] = made
    shares = Counter()
    for sample, often in zip(samples, how_often(samples, recipe.dataset_weights), strict=True):
        shares[sample.dataset] += often
    assert shares == pytest.approx({"own_cases": 0.75, "sample_data": 0.25})
    assert len(samples) == 7
    assert model.network_name == "sam_med3d"
    assert said == ["Left out of training: 1 of 2 structures have at most 100 voxels (smallest_voxels): label_2 (1)."]


def test_it_learns_on_the_gpu_that_was_named(tmp_path, monkeypatch):
    asked = []

    def fabric(**options):
        asked.append(options)
        raise InterruptedError

    monkeypatch.setattr(learners, "Fabric", fabric)
    start = load_model(sam_med3d(tmp_path / "tiny.safetensors"))
    for device in ("cuda:1", "cuda", "cpu"):
        with pytest.raises(InterruptedError):
            LoraLearner(start, [with_cubes(tmp_path / device, 5)], [], tmp_path / "run", device, 1)
    assert asked == [
        {"accelerator": "cuda", "devices": [1]},
        {"accelerator": "cuda", "devices": 1},
        {"accelerator": "cpu", "devices": 1},
    ]


# The run


class Answers:
    """Stands in for a learner: the weights that it is given, one after the other."""

    def __init__(self, start, results):
        self.start, self.results, self.steps, self.saved = start, list(results), 0, 0

    def learn(self, seconds, _progress):
        self.steps += 1
        return seconds

    def model(self):
        weights = self.results[min(self.steps, len(self.results)) - 1]
        return self.start, load_model(weights).plain_network.state_dict()

    def save(self):
        self.saved += 1


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A network that answers, and one that never does; few structures are measured."""
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(learning, "MOST_STRUCTURES", 2)
    # everything near a click is inside: not good, but better than nothing
    return {"some": unet(tmp_path / "some.safetensors", 30.0), "none": unet(tmp_path / "none.safetensors", -1e4)}


def learns(monkeypatch, *results):
    made = []

    def learner_for(model, *_arguments):
        made.append(Answers(model, results))
        return made[-1]

    monkeypatch.setattr(learning, "learner_for", learner_for)
    return made


@pytest.mark.slow
def test_a_better_model_is_installed_with_card_licence_and_scores(dataset, files, tmp_path, monkeypatch):
    made = learns(monkeypatch, files["none"], files["some"])
    command = ["learn", str(dataset), "--name", "ours", "--model", str(files["none"]), "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*command, "--minutes", "1", "--licence", "CC-BY-4.0"])
    assert result.exit_code == 0, result.output
    [stored] = [model for model in ModelStore().models() if model.name == "ours"]
    assert stored.licence == "CC-BY-4.0"
    text = stored.path.with_name("model-card.md").read_text()
    assert re.search(r"\| before \| 0\.0\d\d", text), "the places of clicks alone"
    assert "Clicks until a Dice of 0.7" in text
    for words in (text, result.output.replace("\n", " ")):
        assert "Of 1 patients or images 1 gained and 0 lost." in words
    learnt = load_model("ours")
    assert learnt.preset == PRESET
    assert "2 steps" in learnt.origin
    assert made[0].saved == made[0].steps == 5, "the best one, and as many checks as are waited for"
    further = CliRunner().invoke(app, [*command, "--minutes", "2"])
    assert further.exit_code == 0, further.output
    assert [model.name for model in ModelStore().models()].count("ours") == 1, "of the same run: it is replaced"
    other = CliRunner().invoke(app, [*command[:-1], str(tmp_path / "other")])
    assert "already, and" in other.output.replace("\n", " ")
    assert other.exit_code == 1
    ModelStore().remove("ours")
    ModelStore().add(files["some"], "ours")
    assert "already, and" in CliRunner().invoke(app, command).output.replace("\n", " "), "another one by now"


@pytest.mark.slow
def test_what_is_not_better_is_not_installed_unless_forced(dataset, files, tmp_path, monkeypatch):
    learns(monkeypatch, files["none"])
    command = ["learn", str(dataset), "--name", "ours", "--model", str(files["some"]), "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*command, "--minutes", "1"])
    assert result.exit_code == 1
    assert "nothing did better than the model that it began with" in result.output.replace("\n", " ")
    assert not any(model.name == "ours" for model in ModelStore().models())


@pytest.mark.slow
def test_what_forgets_the_sample_data_is_refused_and_force_installs_it(dataset, files, tmp_path, monkeypatch):
    learns(monkeypatch, files["some"])
    measured = LearningRun.learn

    def forgetful(self):
        learned = measured(self)
        object.__setattr__(learned, "rehearsed", (0.5, 0.4))
        return learned

    monkeypatch.setattr(LearningRun, "learn", forgetful)
    command = ["learn", str(dataset), "--name", "ours", "--model", str(files["none"]), "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "it forgot other structures (sample CT 0.500 -> 0.400)" in result.output.replace("\n", " ")
    forced = CliRunner().invoke(app, [*command, "--force"])
    assert forced.exit_code == 0, forced.output
    assert load_model("ours").preset == PRESET


@pytest.mark.slow
def test_a_run_goes_on_and_does_not_mix_with_another(dataset, files, tmp_path, monkeypatch):
    made = learns(monkeypatch, files["none"])
    cases, folder = find_cases(dataset), tmp_path / "run"

    def run(seconds, seed=1):
        return LearningRun(cases, str(files["none"]), folder, seconds, "cpu", seed)

    with pytest.raises(ModelError, match="nothing did better"):
        run(8.0).learn()
    assert len(json.loads((folder / "learning.json").read_text())["state"]["checks"]) == 3, "no gain: it ends early"
    with pytest.raises(ModelError, match="nothing did better"):
        run(8.0).learn()
    assert len(made) == 1, "the same budget is used up"
    made.clear()
    learns(monkeypatch, files["some"])
    learned = run(16.0).learn()
    assert learned.is_better
    assert learned.gain == pytest.approx(mean_dice(learned.after) - mean_dice(learned.before))
    assert mean_dice(learned.before) < 0.1, "the places of clicks alone"
    assert clicks_needed(learned.before) == 11
    with pytest.raises(ModelError, match="another model, dataset or seed"):
        run(16.0, seed=2)
    said = []
    sides = LearningRun(cases, str(folder), tmp_path / "again", 8.0, "cpu", 1, said.append).split
    assert said == [], "what it learnt from does not measure it"
    taught, measured = sides.learn[0], sides.test[0]
    mixed = [replace(taught, name=measured.name), replace(measured, name=taught.name), *sides.learn[1:], *sides.stop]
    run_of_mixed = LearningRun(mixed, str(folder), tmp_path / "mixed", 8.0, "cpu", 1, said.append)
    assert "has learnt from the images of 1 of the 1 label maps that measure it" in said[0]
    assert said[0] in run_of_mixed.split.remark
    write_image(tmp_path / "label.nii.gz", np.ones(SHAPE, np.uint8), make_affine((3.0, 3.0, 3.0)))
    cases[0] = replace(cases[0], label=tmp_path / "label.nii.gz")
    with pytest.raises(ModelError, match=r"before they were corrected\. Choose another folder"):
        run(16.0)


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "kept"), [("_save", False), ("_keep_best", True)])
def test_the_weights_of_a_killed_run_are_those_that_its_state_tells_of(
    moment, kept, dataset, files, tmp_path, monkeypatch
):
    learns(monkeypatch, files["some"])
    folder, going_on = tmp_path / "run", getattr(LearningRun, moment)

    def killed(self):
        if list(folder.glob("candidate*")) or (folder / "best.safetensors").is_file():
            raise KeyboardInterrupt
        going_on(self)

    def run():
        return LearningRun(find_cases(dataset), str(files["none"]), folder, 4.0, "cpu", 1).learn()

    with monkeypatch.context() as patched:
        patched.setattr(LearningRun, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    learns(monkeypatch, *(9 * [files["none"]]))
    if kept:
        learned = run()
        assert (learned.steps, learned.is_better) == (1, True)
    else:
        with pytest.raises(ModelError, match="nothing did better"):
            run()
    assert not list(folder.glob("candidate*"))


@pytest.mark.slow
def test_a_run_goes_on_after_the_disk_was_full(dataset, files, tmp_path, monkeypatch):
    learns(monkeypatch, files["some"])
    write = Path.write_text

    def full(path, text, **how):
        write(path, text[:20] if path.name.endswith("before.json") else text, **how)
        if path.name.endswith("before.json"):
            raise OSError(28, "No space left on device")

    def run():
        return LearningRun(find_cases(dataset), str(files["none"]), tmp_path / "run", 4.0, "cpu", 1).learn()

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises((VolumeError, OSError)):
            run()
    assert run().is_better


def test_what_cannot_learn_is_refused_before_anything_is_measured(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "load_predictor", None)  # would fail otherwise
    network = filled(build("ft_sam2d", TINY_2D))
    file = tmp_path / "flat.safetensors"
    write_checkpoint(file, network.state_dict(), network="ft_sam2d", sizes=TINY_2D, preset=TINY_PRESET_2D.to_json())
    with pytest.raises(ModelError, match="learning is for 3-D models"):
        LearningRun(find_cases(dataset), str(file), tmp_path / "run", 8.0, "cpu").learn()


def test_what_is_judged_are_means_over_structures_at_the_clicks_that_are_shown():
    done = Evaluation("m", PROTOCOLS["honest"], 1)
    for structure, curve in (("liver", [0.5, 0.7, 0.8] + 7 * [0.9]), ("spleen", [0.1, 0.2, 0.3, 0.4] + 6 * [0.6])):
        done.scores += [Score("c", structure, 1.0, METHOD, n, dice, 0, 0, 0) for n, dice in enumerate(curve, 1)]
    at_shown = (0.5 + 0.8 + 0.9 + 0.9) + (0.1 + 0.3 + 0.6 + 0.6)  # after 1, 3, 5 and 10 clicks
    assert mean_dice(done) == pytest.approx(at_shown / 8)
    assert clicks_needed(done) == pytest.approx((2 + 11) / 2), "one more than there were where it never was"
    split = Split((), (), (Case("c", Path("c"), None),), "", {"c": "c"})
    forgot = [Learned(done, done, (0.5, after), split, 1, 1.0) for after in (0.481, 0.479)]
    assert not any(each.is_better for each in forgot), "no gain"
    better = Evaluation("m", PROTOCOLS["honest"], 1, [replace(score, dice=score.dice + 0.01) for score in done.scores])
    assert [replace(each, after=better).is_better for each in forgot] == [True, False]
    assert replace(forgot[0], after=better).gain == pytest.approx(0.01)


def test_names_and_models_that_cannot_be_are_refused_before_anything_is_measured(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    for name, words in (("Ours!", "cannot be a model's name"), ("nul", "device on Windows"), ("default", "already")):
        result = CliRunner().invoke(app, ["learn", str(dataset), "--name", name, "--run", str(tmp_path / "run")])
        assert result.exit_code == 1
        assert words in result.output.replace("\n", " ")
    result = CliRunner().invoke(
        app, ["learn", str(dataset), "--name", "ours", "--run", str(tmp_path / "run"), "--significance", "0.1"]
    )
    words = "--significance 0.1 cannot be reached: 1 patients or images measure, and of so many no gain is less likely"
    assert words in result.output.replace("\n", " ")
    assert result.exit_code == 1
    assert not (tmp_path / "run" / "learning.json").exists()
