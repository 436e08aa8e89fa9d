"""SAM-Med2D's training from lists to a model: stopped and resumed, on images and on slices of volumes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from networks import TINY_2D
from sammed3d.cli.app import app
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.image_lists import TEST, TRAIN, read_list, read_mask, read_pixels
from sammed3d.files.picture import Picture
from sammed3d.files.volume import Volume
from sammed3d.inference.images import ImageFrame
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.slices import OUTSIDE
from sammed3d.training.recipe import Recipe
from sammed3d.training.sam_med2d import run as image_run
from sammed3d.training.sam_med2d.images import Images
from sammed3d.training.sam_med2d.recipe import Recipe2d
from sammed3d.training.sam_med2d.run import ImageRun
from sammed3d.zoo.checkpoint import read_checkpoint
from sammed3d.zoo.load import load_model, load_predictor

PUBLISHED = {
    "network": "sam_med2d",
    "start": "sam_med2d",
    "learns": "adapters",
    "epochs": 15,
    "batch_size": 2,
    "masks": 5,
    "lr": 1e-4,
    "schedule_steps": [],
    "gamma": 0.5,
    "iterations": 8,
    "points": [1, 3, 5, 9],
    "fit": "pad",
    "precision": "32-true",
}
TINY = {"epochs": 2, "masks": 2, "workers": 0, "iterations": 3, "lr": 1e-3}
runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five images of 50 x 40 pixels with a bright disc, listed."""
    folder = tmp_path_factory.mktemp("two_d") / "own"
    y, x = np.mgrid[:40, :50]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n in range(5):
        mask = (y - 15 - n) ** 2 + (x - 20 - 2 * n) ** 2 < 70
        pixels = (40 + 120 * mask + np.random.RandomState(n).randint(0, 20, mask.shape)).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(folder / "images" / f"us{n}.png"))
        sitk.WriteImage(
            sitk.GetImageFromArray(mask.astype(np.uint8) * 255), str(folder / "masks" / f"us{n}_cyst_000.png")
        )
    result = run("data", "lists", folder, "--test", 0.2)
    assert result.exit_code == 0, result.output
    assert "4 images with 4 masks to train on" in " ".join(result.output.split())
    return folder


def tiny_run(images, folder, tiny_checkpoint_2d, **changes):
    recipe = Recipe2d.read(None, **(TINY | {"start": str(tiny_checkpoint_2d)} | changes))
    return ImageRun(recipe, read_list(images / TRAIN), folder, "cpu")


def test_the_recipe_holds_the_published_values():
    recipe = Recipe2d.read()
    assert {name: getattr(recipe, name) for name in PUBLISHED} == PUBLISHED
    halved = Recipe2d.read(None, schedule_steps=[5, 10])
    assert [halved.lr_at(epoch) for epoch in (4, 5, 9, 10)] == [1e-4, 5e-5, 5e-5, 2.5e-5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learns": "everything"}, "Choose one of adapters, all, nothing"),
        ({"iterations": 2}, "0 or at least 3"),
        ({"points": []}, "a list of numbers above 0"),
        ({"network": "sam_med3d"}, "learns from volumes"),
        ({"clicks": 3}, "'clicks', which means nothing. See sam_med2d.yaml"),
    ],
)
def test_other_values_are_refused(changes, words):
    with pytest.raises(ModelError, match=words):
        Recipe2d.read(None, **changes)
    with pytest.raises(ModelError, match="learns from 2-D images"):
        Recipe.read(None, network="sam_med2d")


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_stopped_and_ends_the_same(images, tiny_checkpoint_2d, tmp_path):
    whole = tiny_run(images, tmp_path / "whole", tiny_checkpoint_2d, save_every=1)
    whole.train()
    assert whole.steps == 4
    tiny_run(images, tmp_path / "parts", tiny_checkpoint_2d, save_every=1).train(stop_after=1)
    again = tiny_run(images, tmp_path / "parts", tiny_checkpoint_2d, save_every=1)
    assert again.steps == 1
    again.train()
    state = whole.network.state_dict()
    for key, value in again.network.state_dict().items():
        assert torch.equal(value, state[key]), key
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("whole", "parts")]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]
    assert [row["epoch"] for row in logs[0]] == ["0", "1"]
    before = read_checkpoint(tiny_checkpoint_2d).weights
    changed = {key for key, value in state.items() if not torch.equal(value, before[key])}
    assert {".Adapter." in key for key in changed if key.startswith("image_encoder.")} == {True}
    assert any(key.startswith("mask_decoder.") for key in changed)
    model = load_model(tmp_path / "whole" / "best.safetensors")
    assert (model.network_name, model.preset.fit) == ("sam_med2d", "pad")
    assert "- cyst" in (tmp_path / "whole" / "model-card.md").read_text()
    with pytest.raises(ModelError, match="another recipe"):
        tiny_run(images, tmp_path / "whole", tiny_checkpoint_2d, lr=2e-3)
    listed = read_list(images / TRAIN)[:-1]
    with pytest.raises(ModelError, match="holds a run on other images or masks"):
        ImageRun(whole.recipe, listed, tmp_path / "whole", "cpu")


def test_the_optimizer_is_adam_at_the_recipes_rate(images, tiny_checkpoint_2d, tmp_path, monkeypatch):
    training = tiny_run(images, tmp_path / "run", tiny_checkpoint_2d, epochs=3, schedule_steps=[1])
    assert type(training.optimizer) is torch.optim.Adam
    assert (training.optimizer.defaults["betas"], training.optimizer.defaults["weight_decay"]) == ((0.9, 0.999), 0)
    rates, learn = [], training._learn  # noqa: SLF001
    monkeypatch.setattr(
        training, "_learn", lambda batch: rates.append(training.optimizer.param_groups[0]["lr"]) or learn(batch)
    )
    training.train()
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 5e-4])


def test_the_log_has_the_means_of_an_epoch_and_the_weights_of_the_smallest_are_kept(
    images, tiny_checkpoint_2d, tmp_path, monkeypatch
):
    training = tiny_run(images, tmp_path / "run", tiny_checkpoint_2d, epochs=3, batch_size=3)  # 3 images, then 1
    bias = training.network.mask_decoder.iou_token.weight
    losses, seeds = iter([4.0, 6.0, 1.0, 2.0, 3.0, 5.0]), []

    def learnt(_network, batch, _recipe, _step, seed):
        seeds.append((seed, *batch["seed"].tolist()))
        bias.data.fill_(len(seeds))
        return next(losses), len(seeds) / 10

    monkeypatch.setattr(image_run, "learn", learnt)
    training.train()
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [float(row["loss"]) for row in rows] == pytest.approx([5, 1.5, 4])
    assert [float(row["dice"]) for row in rows] == pytest.approx([0.15, 0.35, 0.55])
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == {"loss": 1.5, "epoch": 2}
    kept = read_checkpoint(tmp_path / "run" / "best.safetensors").weights["mask_decoder.iou_token.weight"]
    assert set(kept.flatten().tolist()) == {4.0}, "as they were at the end of the second epoch"
    assert [len(each) - 1 for each in seeds] == [3, 1] * 3
    assert len({seed for each in seeds for seed in each}) == 3 * (4 + 2), "nothing is drawn twice"


@pytest.mark.slow
def test_it_learns(images, tmp_path):
    (tmp_path / "own.yaml").write_text("start: null")
    settings = {"sizes": TINY_2D, "learns": "all", "epochs": 12, "lr": 1e-3}
    recipe = Recipe2d.read(tmp_path / "own.yaml", **(TINY | settings))
    training = ImageRun(recipe, read_list(images / TRAIN), tmp_path / "run", "cpu")
    training.train()
    losses = [float(row["loss"]) for row in csv.DictReader((tmp_path / "run" / "log.csv").open())]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_a_small_network_is_trained_loaded_and_clicked_without_a_word_about_its_sizes(images, tmp_path):
    sizes = {"encoder": TINY_2D["encoder"] | {"patch_size": 8}, "decoder_mlp": 64}
    recipe = Recipe2d.read(Path("sam_med2d_small"), sizes=sizes, epochs=1, masks=1)
    training = ImageRun(recipe, read_list(images / TRAIN), tmp_path / "run", "cpu")
    training.train()
    predictor = load_predictor(tmp_path / "run")
    assert predictor.preset.low_res_shape == (32, 32, 1), "four pixels for each token, not a quarter of the image"
    listed = read_list(images / TRAIN)[0]
    session = PictureSession(Picture.read(listed.image), predictor)
    session.click(20, 15)
    assert session.mask().shape == (40, 50)
    assert len(session.candidates()) == 3
    assert session.candidates()[0].mask.shape == (40, 50)


@pytest.mark.slow
def test_the_command_trains_on_lists(images, tiny_checkpoint_2d, tmp_path):
    (tmp_path / "own.yaml").write_text("workers: 0\niterations: 3\nmasks: 1\n")
    command = ["train", images, "--run", tmp_path / "run", "--recipe", tmp_path / "own.yaml"]
    command += ["--start", tiny_checkpoint_2d, "--epochs", 1, "--accelerator", "cpu"]
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "best.safetensors").is_file()
    refused = run(*command, "--lora", 4)
    assert refused.exit_code == 1
    assert "--lora is for volumes" in " ".join(refused.output.split())


def test_an_item_is_an_image_with_masks_boxes_and_points(images, tiny_checkpoint_2d):
    listed = read_list(images / TRAIN)
    for fit, inside in (("pad", (slice(12, 52), slice(7, 57))), ("resize", (slice(None), slice(None)))):
        preset = load_model(tiny_checkpoint_2d).preset
        item = Images(listed, preset.__class__(**(preset.to_json() | {"fit": fit})), 3)[1, 7]
        assert item["image"].shape == (3, 64, 64)
        assert item["masks"].shape == (3, 1, 64, 64)
        padding = torch.ones(64, 64, dtype=bool)
        padding[inside] = False
        assert bool((item["image"][:, padding] == OUTSIDE).all())
        assert bool((item["image"][:, ~padding] >= 0).all())
        for n in range(3):
            (x, y), mask = item["points"][n, 0].long().tolist(), item["masks"][n, 0]
            assert mask[y, x] == 1
            rows, columns = np.nonzero(mask.numpy())
            exact = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert np.abs(item["boxes"][n].numpy() - exact).max() <= 5


def test_images_without_anything_in_their_masks_are_refused(images, tiny_checkpoint_2d, tmp_path):
    empty = tmp_path / "empty.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((40, 50), np.uint8)), str(empty))
    [listed, *_] = read_list(images / TRAIN)
    nothing = listed.__class__(listed.image, (empty,))
    with pytest.raises(VolumeError, match="show nothing of their masks"):
        Images([nothing], load_model(tiny_checkpoint_2d).preset, 1)[0, 1]


@pytest.mark.parametrize("shape", [(40, 50), (90, 120), (40, 120)], ids=["small", "large", "wide"])
@pytest.mark.parametrize("pads", [True, False])
def test_a_mask_comes_back_to_its_own_pixels(shape, pads):
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = (y - 17) ** 2 + (x - 25) ** 2 < 150
    frame = ImageFrame(shape, 64, pads)
    framed = frame.mask(mask)
    low_res = framed.reshape(16, 4, 16, 4).mean(axis=(1, 3)).astype(np.float32) - 0.5
    found = frame.paint(low_res)
    assert found.shape == shape
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.85


def test_slices_of_volumes_are_turned_and_listed_by_case(tmp_path):
    for n in range(3):
        case = tmp_path / "raw" / f"case{n}"
        case.mkdir(parents=True)
        labels = np.zeros((30, 26, 12), np.uint8)
        labels[4:14, 5:12, 3:9] = 1
        labels[20:22, 20:22, 3:5] = 2  # 4 pixels in a slice
        affine = make_affine((1.0, 1.5, 4.0))
        write_image(case / "image.nii.gz", phantom(labels.shape, n).astype(np.int16), affine)
        write_image(case / "label.nii.gz", labels, affine)
        (case / "labels.json").write_text('{"1": "left kidney", "2": "cyst"}')
    result = run("data", "lists", tmp_path / "raw", tmp_path / "flat", "--test", 0.34, "--every", 2)
    assert result.exit_code == 0, result.output
    train, test = (read_list(tmp_path / "flat" / name) for name in (TRAIN, TEST))
    assert (len(train), len(test)) == (6, 3)
    cases = [{each.image.name[:5] for each in side} for side in (train, test)]
    assert not cases[0] & cases[1], "all slices of a volume are on one side"
    [listed] = [each for each in train + test if each.image.name == "case0_005.png"]
    assert [listed.structure_of(mask) for mask in listed.masks] == ["left-kidney"]
    volume = Volume.read(tmp_path / "raw" / "case0" / "image.nii.gz")
    plane = volume.array[::-1, ::-1, 5].T.astype(float)  # left on the right, back at the bottom
    grey = np.rint((plane - plane.min()) * 255 / (plane.max() - plane.min()))
    assert np.abs(read_pixels(listed.image)[..., 0] - grey).max() <= 1
    mask = read_mask(listed.masks[0])
    assert mask.shape == (26, 30)
    assert mask[26 - 12 : 26 - 5, 30 - 14 : 30 - 4].all()
    assert mask.sum() == 70
    again = run("data", "lists", tmp_path / "raw", tmp_path / "flat")
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_labels_of_one_name_are_one_mask_and_names_that_would_share_files_are_told(tmp_path):
    labels = np.zeros((30, 26, 3), np.uint8)
    labels[4:14, 5:12] = 1
    labels[16:22, 5:12] = 2
    for name, names in (
        ("a 1", '{"1": "kidney", "2": "kidney"}'),
        ("a-1", "{}"),
        ("b", '{"1": "left lung", "2": "left-lung"}'),
        ("c", '{"1": "Liver", "2": "liver"}'),  # one file on Windows and macOS
    ):
        (tmp_path / "raw" / name).mkdir(parents=True)
        write_image(tmp_path / "raw" / name / "image.nii.gz", phantom(labels.shape).astype(np.int16), np.eye(4))
        write_image(tmp_path / "raw" / name / "label.nii.gz", labels, np.eye(4))
        (tmp_path / "raw" / name / "labels.json").write_text(names)
    result = run("data", "lists", tmp_path / "raw", tmp_path / "flat", "--test", 0)
    assert result.exit_code == 1
    words = " ".join(result.output.split())
    assert "a-1: its slices would have the names of those of a 1. Rename one of them." in words
    assert "b: two of its structures would share the files of 'left-lung'." in words
    assert "c: two of its structures would share the files of 'liver'." in words
    listed = read_list(tmp_path / "flat" / TRAIN)
    assert [[mask.name for mask in each.masks] for each in listed] == [[f"a-1_00{n}_kidney_000.png"] for n in range(3)]
    assert read_mask(listed[0].masks[0]).sum() == (labels[..., 0] > 0).sum()


def test_what_cannot_be_listed_is_said(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    result = run("data", "lists", tmp_path)
    assert result.exit_code == 1
    assert "The name of a mask begins with its image's" in " ".join(result.output.split())
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["images", "masks"]'


def test_in_bfloat16_gradients_are_of_the_precision_of_what_they_are_of(images, tiny_checkpoint_2d, tmp_path):
    run = tiny_run(images, tmp_path, tiny_checkpoint_2d, precision="bf16-mixed")
    there, back = [], []
    last = run.network.mask_decoder.iou_prediction_head
    last.register_forward_hook(lambda *_: there.append(torch.is_autocast_enabled("cpu")))
    last.register_full_backward_hook(lambda *_: back.append(torch.is_autocast_enabled("cpu")))
    run.train(stop_after=1)
    assert there
    assert all(there)
    assert back
    assert not any(back)
