"""Training by the recipe, end to end on tiny networks: the loss falls, and nothing depends on how it was run."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchio
from lightning.fabric import Fabric
from typer.testing import CliRunner

from helpers import phantom
from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d import load_predictor
from sammed3d.cli.app import app
from sammed3d.errors import CheckpointError, ModelError, VolumeError
from sammed3d.files.datasets import find_cases
from sammed3d.inference.patch import normalised
from sammed3d.nets import build
from sammed3d.training import prepared
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.contract import model_to_train
from sammed3d.training.distillation import DistillationRun
from sammed3d.training.images import LabelMap, ScalarImage
from sammed3d.training.lora import LoraLinear, add_lora, lora_weights, plain_weights
from sammed3d.training.losses import dice_loss, mask_loss
from sammed3d.training.patches import Patches, pooled
from sammed3d.training.prepared import Preparation
from sammed3d.training.recipe import DEFAULTS, Recipe
from sammed3d.training.run import BEST, STATE, UPDATES
from sammed3d.training.schedule import lr_factor
from sammed3d.zoo.checkpoint import read_checkpoint, write_checkpoint
from sammed3d.zoo.merge import merge_files
from training_runs import TINY, log_of, recipe, run_of, weights_of

pytestmark = pytest.mark.xdist_group("recipe training")  # its finished run is shared

# Data


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


@pytest.mark.slow
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


# Loss, clicks, recipe


def test_losses_are_monais():
    logits = torch.tensor([[[[[2.0, -1.0]]]], [[[[0.5, 0.0]]]]])
    targets = torch.tensor([[[[[1.0, 0.0]]]], [[[[0.0, 1.0]]]]])
    p = logits.sigmoid()
    per_sample = [
        1 - (2 * (p[n] * targets[n]).sum() + 1e-5) / ((p[n] ** 2).sum() + (targets[n] ** 2).sum() + 1e-5)
        for n in (0, 1)
    ]
    assert dice_loss(logits, targets) == pytest.approx(float(sum(per_sample) / 2))
    entropy = torch.nn.functional.binary_cross_entropy(p, targets)
    assert mask_loss(logits, targets, "dice_ce") == pytest.approx(float(dice_loss(logits, targets) + entropy))
    assert mask_loss(logits, targets, "dice") == dice_loss(logits, targets)


def test_the_generalised_dice_focal_loss_is_monais():
    """The numbers are those of MONAI 1.2.0, which BoSAM pins."""
    logits = torch.tensor([[[[[2.0, -1.0]]]], [[[[0.5, 0.0]]]]])
    targets = torch.tensor([[[[[1.0, 0.0]]]], [[[[0.0, 0.0]]]]])
    assert float(mask_loss(logits, targets, "generalized_dice_focal")) == pytest.approx(0.2340666652, abs=1e-6)
    logits = torch.linspace(-3, 3, 64000).view(1, 1, 40, 40, 40)
    found = mask_loss(logits, (logits > 0.5).float(), "generalized_dice_focal")
    assert float(found) == pytest.approx(0.2606638372, abs=1e-6)


def test_a_loop_feeds_back_its_logits_and_leaves_clicks_out_where_it_should():
    calls = []

    class Recorder(torch.nn.Module):
        sees_all_clicks = False

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def encode(self, images):
            return images

        def decode(self, embedding, coords, labels, low_res):
            calls.append((coords.clone(), labels.clone(), low_res.clone()))
            return low_res + 0.1 * self.scale, None

    target = torch.zeros(2, 1, 16, 16, 16)
    target[:, :, 4:12, 4:12, 4:12] = 1
    loop = ClickLoop(Recorder(), Recipe.read(None, clicks=11, normalisation="sample"), (4, 4, 4))
    loss, dice = loop(torch.zeros_like(target), target, [1, 2], batch_seed=3)
    counts = [coords.shape[1] for coords, _, _ in calls]
    silent = [n for n, count in enumerate(counts) if count == 0]
    assert len(counts) == 11
    assert len(silent) == 2
    assert silent[1] == 10
    assert 2 <= silent[0] <= 8
    assert max(counts) == 1, "the newest click alone"
    assert torch.equal(calls[0][2], torch.zeros(2, 1, 4, 4, 4))
    assert torch.allclose(calls[4][2], torch.full((2, 1, 4, 4, 4), 0.4))
    for coords, labels, _ in calls[:2]:
        for patch, (voxel, label) in enumerate(zip(coords[:, 0].long(), labels[:, 0], strict=True)):
            assert label == target[patch, 0, voxel[0], voxel[1], voxel[2]]
    loss.backward()
    assert loop.network.scale.grad != 0, "gradients flow through the chain"
    assert dice.shape == (2,)
    again = len(calls)
    ClickLoop(Recorder(), Recipe.read(None, all_clicks=True, mask_only=False, clicks=4), (4, 4, 4))(
        torch.zeros_like(target), target, [1, 2], batch_seed=3
    )
    assert [coords.shape[1] for coords, _, _ in calls[again:]] == [1, 2, 3, 4]
    again = len(calls)
    ClickLoop(Recorder(), Recipe.read(None, all_clicks=True), (4, 4, 4))(
        torch.zeros_like(target), target, [1, 2], batch_seed=3
    )
    counts = [coords.shape[1] for coords, _, _ in calls[again:]]
    assert [count for count in counts if count] == [n + 1 for n in range(11) if n not in silent], (
        "the click of a pass that sees the mask alone counts from the next one on"
    )


def test_every_word_of_the_recipe_is_documented_and_wrong_ones_are_named(tmp_path):
    text = DEFAULTS.read_text()
    published = Recipe.read()
    assert (published.epochs, published.batch_size, published.accumulation, published.lr) == (200, 12, 20, 8e-4)
    assert (published.clicks, published.schedule_steps, published.weight_decay) == (11, [120, 180], 0.1)
    for line in text.splitlines():
        if (
            line
            and not line.startswith((" ", "#"))
            and line.split(":")[0]
            not in (
                "epochs",
                "lr",
                "weight_decay",
                "betas",
                "gamma",
                "seed",
                "prompt_encoder_lr",
                "mask_decoder_lr",
                "validation_clicks",
            )
        ):
            assert "#" in line, line
    file = tmp_path / "recipe.yaml"
    for content, message in (
        ("epohcs: 3", "'epohcs', which means nothing"),
        ("loss: focal", "loss is 'focal'"),
        ("lr: -1", "lr is -1"),
        ("batch_size: 2.5", r"batch_size is 2\.5; a whole number is needed"),
        ("epochs: many", "epochs is 'many'; a whole number is needed"),
        ("lr: .nan", "lr is nan; a number is needed"),
        ("mask_only: 1", "mask_only is 1; true or false is needed"),
        ("schedule_steps: 3", "a list is needed"),
        ("ct_window: [240, -160]", "two rising numbers"),
        ("lora_targets: [x]", "some of q, k and v"),
        ("- 1", "holds no recipe"),
        ("{", "cannot be read as YAML"),
    ):
        file.write_text(content)
        with pytest.raises(ModelError, match=message):
            Recipe.read(file)
    file.write_text("epochs: 3\n")
    assert Recipe.read(file, lr=0.1).epochs == 3
    assert Recipe.read(file, epochs=4).epochs == 4
    file.write_text("lr: 8e-5\nbetas: [9e-1, 0.99]\nepochs: 20.0\n")  # YAML takes 8e-5 for text
    assert (Recipe.read(file).lr, Recipe.read(file).betas, Recipe.read(file).epochs) == (8e-5, [0.9, 0.99], 20)


def test_learning_rates_follow_their_schedules():
    def factors(**changes):
        return [round(lr_factor(Recipe.read(None, epochs=8, **changes), epoch), 4) for epoch in range(8)]

    assert factors(schedule="multistep", schedule_steps=[2, 5]) == [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    assert factors(schedule="step", schedule_steps=[3], gamma=0.5) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert factors(schedule="cosine_restarts", schedule_steps=[2]) == [1, 0.5, 1, 0.8536, 0.5, 0.1464, 1, 0.9619]
    warm_up = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    published = torch.optim.lr_scheduler.LinearLR(warm_up, 0.1)
    wanted = []
    for _ in range(8):
        wanted.append(round(published.get_last_lr()[0], 4))
        warm_up.step()
        published.step()
    assert factors(schedule="linear", gamma=0.1) == wanted
    assert factors(schedule="constant") == [1] * 8


# Runs


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run_of(data, folder, recipe(epochs=5)).train()
    return folder


@pytest.mark.slow
def test_the_loss_falls_and_the_best_weights_are_kept(finished):
    rows = log_of(finished)
    assert len(rows) == 5
    assert float(rows[-1]["loss"]) < 0.85 * float(rows[0]["loss"])
    best = max(float(row["validation_dice"]) for row in rows)
    assert json.loads((finished / "summary.json").read_text())["best"] == best
    assert (finished / "curves.svg").read_text().count("<polyline") == 2
    predictor = load_predictor(finished / BEST, device="cpu")
    assert predictor.preset == TINY_PRESET, "spacing too: the data were prepared at 3 mm"


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(data, tmp_path):
    settings = recipe(accumulation=2)
    run_of(data, tmp_path / "whole", settings).train()
    for stop in (1, 2, 3, None):
        run_of(data, tmp_path / "parts", settings).train(stop_after=stop)
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    means = [[(row["loss"], row["dice"]) for row in log_of(tmp_path / name)] for name in ("whole", "parts")]
    assert means[0] == means[1], "of all batches of an epoch, also of those before a stop"
    with pytest.raises(ModelError, match="another recipe"):
        run_of(data, tmp_path / "parts", recipe(lr=5e-4))


def test_the_last_batch_of_an_epoch_may_be_smaller_and_nothing_is_dropped(data, tmp_path):
    run = run_of(data, tmp_path, recipe(batch_size=3))
    batches = [[index for index, _ in run.batch_indices(n)] for n in range(3)]
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert sorted(index for batch in batches for index in batch) == list(range(8))


def test_a_killed_save_leaves_the_previous_state(data, tmp_path, monkeypatch):
    run = run_of(data, tmp_path, recipe())
    run.train(stop_after=1)

    def killed(_, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save()
    monkeypatch.undo()
    assert run_of(data, tmp_path, recipe()).steps == 1
    assert (tmp_path / STATE).is_file()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_make_the_steps_of_one(data, tmp_path):
    def train(folder, batch_size, *options):
        file = tmp_path / f"{folder}.json"  # YAML holds JSON
        file.write_text(json.dumps(TINY | {"batch_size": batch_size, "epochs": 1, "mask_only": False}))
        command = [sys.executable, "-m", "sammed3d", "train", str(data / "ready"), "--run", str(tmp_path / folder)]
        done = subprocess.run(
            [*command, "--recipe", str(file), "--accelerator", "cpu", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "models import" in train("one", 2)
    assert train("two", 1, "--devices", "2").count("done. Use it") == 1
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    torch.manual_seed(2023)
    start = build("sam_med3d", TINY_SIZES).state_dict()

    def distance(a, b):
        return float(sum((a[key] - b[key]).abs().sum() for key in a))

    assert distance(one, two) < 0.02 * distance(one, start), (
        "but for rounding, of which the optimizer makes a little more"
    )


@pytest.mark.slow
def test_a_finished_run_is_imported_with_what_it_says_of_itself(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    runner = CliRunner()
    done = runner.invoke(app, ["models", "import", str(finished), "--name", "mine", "--licence", "CC-BY-4.0"])
    assert done.exit_code == 0, done.output
    predictor = load_predictor("mine", device="cpu")
    assert predictor.preset.patch_shape == (64, 64, 64)
    card = (tmp_path / "models" / "mine" / "model-card.md").read_text()
    assert "ct_test" in card
    assert "not for clinical decisions" in card
    assert "CC-BY-4.0" in runner.invoke(app, ["models", "info", "mine"]).output
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = runner.invoke(app, ["models", "import", str(empty), "--name", "other"])
    assert refused.exit_code == 1
    assert "no weights of a training run" in refused.output


# LoRA


def test_updates_begin_as_nothing_and_touch_what_they_name(tiny_network):
    network = filled(build("sam_med3d", TINY_SIZES))
    patch = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    before = network.encode(patch)
    left = add_lora(network, 3, ["q", "v"])
    assert torch.equal(network.encode(patch), before)
    assert {p.shape for p in left} == {(3, 48), (48, 3)}
    assert sum(p.requires_grad for p in network.parameters()) == len(left) == 3 * 2 * 2
    layer = network.image_encoder.blocks[0].attn.qkv
    assert isinstance(layer, LoraLinear)
    with torch.no_grad():
        layer.b["v"] += 1
    change = layer.weight - layer.linear.weight
    assert change[:96].abs().max() == 0, "q has not learned yet, k never does"
    assert change[96:].abs().max() > 0
    merged = build("sam_med3d", TINY_SIZES)
    merged.load_state_dict(plain_weights(network))
    assert torch.allclose(merged.encode(patch), network.encode(patch), atol=1e-5)
    assert set(lora_weights(network)) >= {"image_encoder.blocks.0.attn.qkv.lora_q.a"}


@pytest.mark.slow
def test_lora_trains_its_matrices_alone_and_merges_both_ways(data, tmp_path):
    base = tmp_path / "base.safetensors"
    weights = filled(build("sam_med3d", TINY_SIZES)).state_dict()
    write_checkpoint(base, weights, network="sam_med3d", sizes=TINY_SIZES, preset=TINY_PRESET.to_json(), name="Base")
    settings = recipe(start=str(base), lora_rank=2, lora_targets=["q", "k"], lr=1e-2)
    run_of(data, tmp_path / "run", settings).train()
    merged = weights_of(tmp_path / "run")
    changed = {key for key in weights if not torch.equal(merged[key], weights[key])}
    assert changed == {f"image_encoder.blocks.{n}.attn.qkv.weight" for n in range(3)}
    updates = tmp_path / "run" / UPDATES
    assert updates.stat().st_size < 0.1 * base.stat().st_size
    runner = CliRunner()
    out, back = tmp_path / "merged.safetensors", tmp_path / "back.safetensors"
    assert runner.invoke(app, ["models", "merge", str(base), str(updates), str(out)]).exit_code == 0
    assert all(torch.equal(merged[key], value) for key, value in read_checkpoint(out).weights.items())
    assert runner.invoke(app, ["models", "merge", str(out), str(updates), str(back), "--take-out"]).exit_code == 0
    assert all(torch.allclose(weights[key], value, atol=1e-6) for key, value in read_checkpoint(back).weights.items())
    loaded = load_predictor(updates, device="cpu", base=base)
    assert loaded.preset == TINY_PRESET
    assert "merged 6 low-rank updates" in loaded.notes[-1]
    with pytest.raises(CheckpointError, match="belongs to the model with the SHA-256"):
        merge_files(out, updates, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="--base"):
        load_predictor(updates, device="cpu")


# Distillation


@pytest.mark.slow
def test_a_student_learns_its_teachers_embeddings_and_keeps_its_encoder_afterwards(data, tmp_path):
    teacher = tmp_path / "teacher.safetensors"
    network = filled(build("sam_med3d", TINY_SIZES))
    write_checkpoint(teacher, network.state_dict(), network="sam_med3d", sizes=TINY_SIZES, preset=TINY_PRESET.to_json())
    student = {**TINY_SIZES, "encoder": {**TINY_SIZES["encoder"], "depth": 2, "global_blocks": []}}
    settings = recipe(
        teacher=str(teacher), sizes=student, epochs=6, lr=2e-3, distill_layers=True, distill_layer_epochs=1
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    samples = prepared.find_samples(data / "ready", "train")
    about = Preparation.read(data / "ready")
    model = model_to_train(settings, about, {"ct_test"})
    for key, value in network.state_dict().items():
        if not key.startswith("image_encoder."):
            assert torch.equal(model.network.state_dict()[key], value), (
                "the teacher's, as FastSAM3D's validation takes them"
            )
    run = DistillationRun(settings, model, samples, tmp_path / "distillation", fabric)
    run.train()
    distilled = weights_of(tmp_path / "distillation")
    decoder = [key for key in distilled if not key.startswith("image_encoder.")]
    assert all(torch.equal(distilled[key], network.state_dict()[key]) for key in decoder)
    losses = [float(row["loss"]) for row in log_of(tmp_path / "distillation")]
    assert losses[-1] < losses[2], "after two layers, the embedding"
    kept = sorted((tmp_path / "distillation" / "teacher").glob("*.pt"))
    assert len(kept) == len(samples)
    following = DistillationRun.following(settings, tmp_path / "distillation")
    run_of(data, tmp_path / "run", following).train()
    before, after = distilled, weights_of(tmp_path / "run")
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"prompt_encoder", "mask_decoder"}
    wrong = recipe(teacher=str(teacher), sizes={**student, "encoder": {**student["encoder"], "out_channels": 24}})
    with pytest.raises(ModelError, match="out_channels and decoder_mlp"):
        model_to_train(wrong, about, {"ct_test"})
    clamped = model_to_train(recipe(**(vars(settings) | {"ct_window": [0, 300]})), about, {"ct_test"})
    with pytest.raises(ModelError, match="another preprocessing than the student"):
        DistillationRun(settings, clamped, samples, tmp_path / "wrong", fabric)
