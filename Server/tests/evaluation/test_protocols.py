"""Protocols, scores and reports, on phantoms and with the bundled CT."""

import csv
import json

import numpy as np
import pytest
import torch
import torchio
from typer.testing import CliRunner

from helpers import AXIS_MAPS, ThresholdPredictor, make_affine, phantom, small_volume, stored_as, write_image
from networks import TINY_PRESET
from sammed3d.cli.app import app
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click
from sammed3d.evaluation import metrics, report
from sammed3d.evaluation.baselines import BASELINES
from sammed3d.evaluation.protocols import PROTOCOLS, steps_of
from sammed3d.evaluation.run import evaluate
from sammed3d.files.datasets import Case, check, find_cases
from sammed3d.files.outputs import not_written
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.simulation.clicks import random_click, ritm_click
from sammed3d.training.images import LabelMap, ScalarImage

SHAPE = (40, 50, 30)


def ball(centre, radius, shape=SHAPE):
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def test_scores_of_known_masks():
    truth, mask = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    truth[4:12, 4:12, 4:12] = True
    mask[4:12, 4:12, 5:13] = True
    assert metrics.dice(mask, truth) == pytest.approx(7 / 8)
    assert metrics.iou(mask, truth) == pytest.approx(7 / 9)
    assert metrics.volume_error(mask, truth) == 0
    assert metrics.volume_error(truth & mask, truth) == pytest.approx(-1 / 8)
    assert metrics.nsd(mask, truth, (1, 1, 1), 1.0) == 1
    assert metrics.nsd(mask, truth, (1, 1, 3), 2.0) == pytest.approx(0.87, abs=0.02), (
        "two of the six faces are 3 mm away"
    )
    assert metrics.nsd(0 * mask, truth, (1, 1, 1), 1.0) == 0
    assert metrics.nsd(0 * mask, 0 * truth, (1, 1, 1), 1.0) == 1
    assert metrics.iou(0 * mask, 0 * truth) == metrics.dice(0 * mask, 0 * truth) == 1
    assert metrics.iou(0 * mask, truth) == metrics.dice(0 * mask, truth) == 0
    assert metrics.area_under([1, 1, 1, 1, 1]) == 4
    assert metrics.area_under([0.0, 0.5, 1.0]) == 1


@pytest.mark.slow
def test_published_clicks_fall_where_they_should_and_repeat_with_a_seed():
    truth, predicted = ball((12, 12, 12), 8), ball((15, 12, 12), 8)
    errors = truth != predicted
    for draw in (random_click, ritm_click):
        clicks = [draw(predicted, truth, np.random.RandomState(seed)) for seed in range(30)]
        assert clicks == [draw(predicted, truth, np.random.RandomState(seed)) for seed in range(30)]
        assert len(set(clicks)) > 5
        for voxel, positive in clicks:
            assert errors[voxel]
            assert positive == truth[voxel]
        assert draw(truth, truth, np.random.RandomState(0)) is None
    radii = [
        np.linalg.norm(np.array(ritm_click(0 * truth, truth, np.random.RandomState(s))[0]) - 12) for s in range(20)
    ]
    assert max(radii) < 5, "in the inner half"


@pytest.mark.parametrize("axes", AXIS_MAPS[::7])
def test_masks_come_back_to_the_volumes_grid_as_torchio_brings_them(axes):
    array, affine = phantom((20, 24, 18)), make_affine((2.1, 1.3, 2.7), (0, 0, 0), (5, 6, 7))
    stored, grid = stored_as(array, affine, axes)
    lattice = Lattice(grid, (1.5, 1.5, 1.5))
    window = lattice.window_at(grid.corners().mean(axis=0), (16, 16, 16))
    labels = np.random.default_rng(0).integers(1, 5, (16, 16, 16)).astype(np.uint8)
    mine = lattice.spread_nearest(window, labels)
    small = LabelMap(
        tensor=torch.from_numpy(labels)[None], affine=lattice.grid.window(window.begin, window.shape).index_to_world
    )
    target = ScalarImage(tensor=torch.from_numpy(stored.copy())[None], affine=grid.index_to_world)
    theirs = torchio.Resample(target, image_interpolation="nearest")(small).numpy()[0]
    assert mine.shape == stored.shape
    assert (mine != theirs).mean() < 0.02, "but for samples that lie exactly between two"
    assert (mine > 0).mean() > 0.05


def test_the_classic_protocol_is_the_published_loop(tiny_network):
    """Against a plain transcription: patch round the reference, newest click alone, logits fed back."""
    volume, truth = small_volume((40, 50, 30)), ball((20, 25, 15), 7)
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=False)
    protocol = PROTOCOLS["classic"]
    steps = list(protocol.steps(predictor, predictor.preset, volume, truth, 4, np.random.RandomState(5)))

    lattice = Lattice(volume.grid, TINY_PRESET.spacing)
    window = lattice.window_around(lattice.box_of(truth), TINY_PRESET.patch_shape)
    patch = torch.tensor(cut_patch(volume, lattice, window, TINY_PRESET).voxels)[None, None]
    inside = np.zeros(window.shape, bool)
    begin = [max(0, -b) for b in window.begin]
    inside[tuple(slice(b, b + n) for b, n in zip(begin, SHAPE, strict=True))] = truth
    rng = np.random.RandomState(5)
    low, logits = torch.zeros(1, 1, 16, 16, 16), np.zeros(inside.shape)
    with torch.no_grad():
        embedding = tiny_network.encode(patch)
        for n, step in enumerate(steps):
            voxel, positive = (ritm_click if n < 2 else random_click)(logits > 0.5, inside, rng)
            coords = torch.tensor([[voxel]], dtype=torch.float32)
            low = tiny_network.decode(embedding, coords, torch.tensor([[int(positive)]]), low)[0]
            logits = torch.nn.functional.interpolate(low, size=inside.shape, mode="trilinear")[0, 0].numpy()
            assert np.array_equal(step.truth, inside)
            assert (step.mask != (logits > 0)).mean() < 1e-4
    assert len({step.mask.tobytes() for step in steps}) > 1


def test_the_current_protocol_shows_all_clicks_and_scores_on_the_volume(tiny_network, monkeypatch):
    seen, decode = [], tiny_network.decode

    def counted(embedding, coords, *arguments, **options):
        seen.append(coords.shape[1])
        return decode(embedding, coords, *arguments, **options)

    monkeypatch.setattr(tiny_network, "decode", counted)
    protocol = PROTOCOLS["current"]
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=protocol.all_clicks)
    truth = ball((20, 25, 15), 7)
    steps = list(protocol.steps(predictor, predictor.preset, small_volume(SHAPE), truth, 3, np.random.RandomState(0)))
    assert seen == [1, 2, 3]
    assert all(step.mask.shape == SHAPE for step in steps)


def test_the_honest_protocol_is_the_product(tiny_network):
    volume, truth = small_volume(SHAPE), ball((20, 25, 15), 7)
    predictor = ThresholdPredictor(threshold=0.2)
    steps = list(PROTOCOLS["honest"].steps(predictor, predictor.preset, volume, truth, 3, np.random.RandomState(0)))
    assert [len(step.clicks) for step in steps] == [1, 2, 3]
    assert np.allclose(steps[0].clicks[0].world, volume.grid.to_world((20, 25, 15)))
    assert steps[0].mask.shape == SHAPE


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_follow_their_clicks(name):
    shape = (40, 44, 30)
    inside = ball((18, 20, 14), 8, shape)
    array = np.where(inside, 100, 0) + np.random.default_rng(0).normal(0, 5, shape)
    volume = Volume(array.astype(np.float32), Grid(shape, make_affine((3.0, 3.0, 4.0))))
    steps = list(steps_of(BASELINES[name](volume).click, volume, inside, 3))
    assert metrics.dice(steps[0].mask, inside) > 0.8
    method = BASELINES[name](volume)
    whole = method.click(Click(tuple(volume.grid.to_world((18, 20, 14))), True))
    less = method.click(Click(tuple(volume.grid.to_world((24, 20, 14))), False))
    assert less[24, 20, 14] == 0
    assert less.sum() < whole.sum()


@pytest.fixture
def dataset(tmp_path):
    for n in range(2):
        folder = tmp_path / "data" / f"case{n}"
        folder.mkdir(parents=True)
        write_image(folder / "image.nii.gz", phantom(SHAPE, n), make_affine((3.0, 3.0, 3.0)))
        labels = ball((20, 25, 15), 7).astype(np.uint8) + 2 * ball((10, 10, 8), 3 - 2 * n)
        write_image(folder / "label.nii.gz", labels, make_affine((3.0, 3.0, 3.0)))
        (folder / "labels.json").write_text('{"1": "liver <b>", "2": "spleen"}')
    return tmp_path / "data"


def test_an_evaluation_scores_every_structure_and_keeps_going(dataset, tmp_path):
    (dataset / "case1" / "image.nii.gz").write_bytes(b"damaged")
    done = evaluate(
        ThresholdPredictor(0.2), find_cases(dataset), PROTOCOLS["honest"], clicks=3, baselines=["region growing"]
    )
    assert done.structures == [("case0", "liver <b>"), ("case0", "spleen")]
    assert done.methods == ["threshold", "region growing"]
    assert len(done.scores) == 2 * 2 * 3
    [failure] = done.failures
    assert "case1" in failure or "image.nii.gz" in failure
    assert done.curve("threshold")[2] == pytest.approx(
        np.mean([s.dice for s in done.scores if s.click == 3 and s.method == "threshold"])
    )
    report.write(done, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert len(rows) == 12
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "liver &lt;b&gt;" in page
    assert "href" not in page
    assert page.count("src=") == page.count("src='data:"), "it needs nothing else"
    assert "<polyline" in page


@pytest.mark.slow
def test_evaluations_repeat_bit_for_bit_with_a_seed(tiny_network, dataset):
    cases = find_cases(dataset)
    for name in ("classic", "current"):
        runs = []
        for seed in (1, 1, 2):
            predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=PROTOCOLS[name].all_clicks)
            runs.append(evaluate(predictor, cases, PROTOCOLS[name], clicks=3, seed=seed).scores)
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]


@pytest.mark.slow
def test_the_command_writes_scores_and_a_report(tiny_checkpoint, dataset, tmp_path):
    runner = CliRunner()
    out = tmp_path / "out"
    common = ["evaluate", str(tiny_checkpoint), str(dataset), "-o", str(out), "--device", "cpu", "--smallest", "0"]
    done = runner.invoke(app, [*common, "--protocol", "cvpr25", "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["protocol"] == "cvpr25"
    assert set(summary["methods"]["Tiny"]["dice"]) == {"1", "2", "3", "4", "5"}
    assert 0 <= summary["methods"]["Tiny"]["dice_area"] <= 4
    assert (out / "report.html").is_file()
    for wrong, message in ((["--protocol", "x"], "no protocol 'x'"), (["--baseline", "x"], "no baseline 'x'")):
        refused = runner.invoke(app, [*common, *wrong])
        assert refused.exit_code == 1
        assert message in refused.output
    kept = (out / "report.html").read_bytes()
    refused = runner.invoke(app, common)
    assert refused.exit_code == 1
    assert "exists already" in refused.output
    assert (out / "report.html").read_bytes() == kept
    nothing = runner.invoke(app, [*common, "--smallest", "9999", "--force"])
    assert nothing.exit_code == 1
    assert "below 9999 ml (--smallest): 4" in " ".join(nothing.output.split())


def test_what_is_not_measured_is_counted_and_said(tiny_checkpoint, dataset, tmp_path):
    """A structure that is too small, a label that does not fit its image, a case without labels."""
    small = 4 / 3 * np.pi * 3**3 * 27 / 1000  # ml of a ball of 3 voxels
    affine = make_affine((3.0, 3.0, 3.0))
    write_image(dataset / "case1" / "label.nii.gz", np.zeros((3, 3, 3), np.uint8), affine)
    (dataset / "case2").mkdir()
    write_image(dataset / "case2" / "image.nii.gz", phantom(SHAPE, 2), affine)
    out = tmp_path / "out"
    command = ["evaluate", str(tiny_checkpoint), str(dataset), "-o", str(out), "--device", "cpu", "--clicks", "1"]
    done = CliRunner().invoke(app, [*command, "--smallest", str(2 * small)])
    assert done.exit_code == 1, "something could not be measured"
    said = " ".join(done.output.split())
    assert "Not measured: case1: the label map has (3, 3, 3) voxels" in said
    assert "ml (--smallest): 1." in said
    assert "Left out, no label map: 1." in said
    summary = json.loads((out / "summary.json").read_text())
    assert sorted(name for names in summary["left_out"].values() for name in names) == ["case0, spleen", "case2"]
    assert "case0, spleen" in (out / "report.html").read_text()


@pytest.mark.parametrize("as_json", [False, True])
def test_scores_are_printed_also_where_they_cannot_be_written(tiny_checkpoint, dataset, tmp_path, monkeypatch, as_json):
    def full(path, *_arguments):
        raise not_written(path)

    monkeypatch.setattr(report, "write_rows", full)
    common = ["evaluate", str(tiny_checkpoint), str(dataset), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*common, "--clicks", "1", "--smallest", "0", *(["--json"] if as_json else [])])
    assert done.exit_code == 1
    assert "scores.csv: cannot be written" in " ".join(done.stderr.split())
    if as_json:
        assert json.loads(done.stdout)["methods"]["Tiny"]["dice"]["1"] >= 0
    else:
        assert "Dice at 1" in done.stdout
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("scores*"))


def test_what_is_measured_is_written_where_it_is_stopped(stopping, tiny_checkpoint, dataset, tmp_path, monkeypatch):
    out, asked, dice = tmp_path / "out", [], metrics.dice

    def stopped(mask, truth):
        asked.append(1)
        if len(asked) == 6:  # the last click of the third structure
            stopping.now()
        return dice(mask, truth)

    monkeypatch.setattr(metrics, "dice", stopped)
    command = ["evaluate", str(tiny_checkpoint), str(dataset), "-o", str(out), "--device", "cpu", "--clicks", "2"]
    done = CliRunner().invoke(app, [*command, "--smallest", "0"])
    assert done.exit_code == stopping.exit_code
    assert "Not measured: the rest: it was stopped. 2 structures." in " ".join(done.output.split())
    with (out / "scores.csv").open() as file:
        rows = [(row["case"], row["click"]) for row in csv.DictReader(file)]
    assert rows == [("case0", "1"), ("case0", "2"), ("case0", "1"), ("case0", "2")]
    assert "it was stopped" in (out / "report.html").read_text()


def test_what_is_stopped_before_anything_is_measured_writes_nothing(
    stopping, tiny_checkpoint, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(metrics, "dice", lambda _mask, _truth: stopping.now())
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["evaluate", str(tiny_checkpoint), str(dataset), "-o", str(out), "--device", "cpu"])
    assert done.exit_code == stopping.exit_code
    assert "Stopped before anything was measured; nothing was written." in " ".join(done.output.split())
    assert not out.exists()


def test_the_best_of_all_clicks_is_shown_where_its_protocol_reports_it(tiny_network, dataset):
    for name in ("honest", "classic"):
        predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=PROTOCOLS[name].all_clicks)
        done = evaluate(predictor, find_cases(dataset)[:1], PROTOCOLS[name], clicks=1, every=2)
        [values] = done.summary()["methods"].values()
        assert ("best_of_clicks" in values) == ("best of clicks" in report.html(done)) == (name == "classic")
        assert sum(map(len, done.left_out.values())) == 1


def test_the_classic_protocol_clamps_ct_as_its_loader_does(tmp_path):
    case = Case("c", tmp_path / "liver" / "ct_word" / "imagesTs" / "c.nii.gz", None)
    preset = PROTOCOLS["classic"].preset_for(TINY_PRESET, case)
    assert (preset.clamp, preset.clamp_after) == ((-1000, 1000), True)
    other = Case("c", tmp_path / "liver" / "mr_amos" / "imagesTs" / "c.nii.gz", None)
    assert PROTOCOLS["classic"].preset_for(TINY_PRESET, other) == TINY_PRESET
    assert PROTOCOLS["classic"].preset_for(preset, case) is preset, "a model's own range stays"
    assert PROTOCOLS["honest"].preset_for(TINY_PRESET, case) == TINY_PRESET
    volume = Volume((10 * phantom(SHAPE)).astype(np.int16), Grid(SHAPE, make_affine((3.0, 3.0, 3.0))), "ct")
    seen = []
    predictor = ThresholdPredictor(preset=TINY_PRESET)
    predictor.before = lambda patch, prompts: seen.append(patch.voxels)
    for chosen in (TINY_PRESET, preset):
        truth = ball((20, 25, 15), 7)
        next(iter(PROTOCOLS["classic"].steps(predictor, chosen, volume, truth, 1, np.random.RandomState(0))))
    clamped = np.clip(volume.array, -1000, 1000)
    assert np.ptp(seen[0]) != np.ptp(seen[1])
    assert volume.array.max() > 1000
    assert (seen[1] == seen[1].max()).sum() >= (clamped == 1000).sum() // 2


def test_labels_of_one_name_are_one_structure(tmp_path):
    labels = np.where(ball((12, 25, 15), 5), 1, 0) + np.where(ball((28, 25, 15), 5), 2, 0)
    write_image(tmp_path / "image.nii.gz", phantom(SHAPE), make_affine((3.0, 3.0, 3.0)))
    write_image(tmp_path / "label.nii.gz", labels.astype(np.uint8), make_affine((3.0, 3.0, 3.0)))
    case = Case("c", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz", {1: "kidney", 2: "kidney", 3: "liver"})
    done = evaluate(ThresholdPredictor(preset=TINY_PRESET), [case], PROTOCOLS["honest"], clicks=2)
    assert [(score.structure, score.click) for score in done.scores] == [("kidney", 1), ("kidney", 2)]
    assert done.scores[0].ml == pytest.approx((labels > 0).sum() * 0.027)
    looked = check(case)
    assert looked.volumes_ml == pytest.approx({"kidney": (labels > 0).sum() * 0.027})
    assert looked.remarks == ["liver: not in this case."]


@pytest.mark.parametrize("name", ["classic", "current"])
def test_a_structure_with_no_part_in_the_patch_is_named_and_the_others_are_measured(name, tiny_network, tmp_path):
    shape = (16, 16, 160)  # parts 456 mm apart, and patches of 192 mm
    labels = np.zeros(shape, np.uint8)
    labels[6:10, 6:10, 2:6] = labels[6:10, 6:10, 154:158] = 1
    labels[6:10, 6:10, 70:90] = 2
    write_image(tmp_path / "image.nii.gz", phantom(shape), make_affine((3.0, 3.0, 3.0)))
    write_image(tmp_path / "label.nii.gz", labels, make_affine((3.0, 3.0, 3.0)))
    case = Case("c", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=PROTOCOLS[name].all_clicks)
    done = evaluate(predictor, [case], PROTOCOLS[name], clicks=2)
    [failure] = done.failures
    assert "is in parts, and none lies in the patch" in failure
    assert done.structures == [("c", "label 2")]


def test_a_structure_that_vanishes_on_the_lattice_is_named(tiny_network, tmp_path):
    truth = np.zeros(SHAPE, np.uint8)
    truth[20, 25, 15] = 1
    affine = make_affine((0.5, 0.5, 0.5))
    write_image(tmp_path / "image.nii.gz", phantom(SHAPE), affine)
    write_image(tmp_path / "label.nii.gz", truth, affine)
    case = Case("c", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=False)
    done = evaluate(predictor, [case], PROTOCOLS["classic"], clicks=1)
    assert done.scores == []
    assert "vanishes" in done.failures[0]
