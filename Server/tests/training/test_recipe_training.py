"""Training by the recipe, end to end on tiny networks: the loss falls, and nothing depends on how it was run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from typer.testing import CliRunner

from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d import load_predictor
from sammed3d.cli.app import app
from sammed3d.errors import CheckpointError, ModelError, VolumeError
from sammed3d.nets import build
from sammed3d.training import prepared
from sammed3d.training.contract import model_to_train
from sammed3d.training.distillation import DistillationRun
from sammed3d.training.lora import LoraLinear, add_lora, lora_weights, plain_weights
from sammed3d.training.prepared import Preparation
from sammed3d.training.run import BEST, UPDATES
from sammed3d.training.state import STATE
from sammed3d.zoo.checkpoint import read_checkpoint, write_checkpoint
from sammed3d.zoo.merge import merge_files
from training_runs import TINY, log_of, recipe, run_of, weights_of

pytestmark = pytest.mark.xdist_group("recipe training")  # its finished run is shared


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


@pytest.mark.slow
def test_the_scale_of_losses_in_float16_goes_on(data, tmp_path):
    def run(scale):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        return run_of(data, tmp_path, recipe(precision="16-mixed"), plugin), scaler

    first, scaler = run(4.0)
    first.train(stop_after=1)
    assert scaler.get_scale() == 8.0
    assert run(4.0)[1].get_scale() == 8.0


def test_a_run_does_not_go_on_with_other_samples(data, tmp_path):
    ready = shutil.copytree(data / "ready", tmp_path / "ready")
    run_of(tmp_path, tmp_path / "run", recipe()).train(stop_after=1)
    assert run_of(tmp_path, tmp_path / "run", recipe()).steps == 1
    prepared.find_samples(ready, "train")[0].label.unlink()
    with pytest.raises(ModelError, match=r"on other samples .* Choose another folder"):
        run_of(tmp_path, tmp_path / "run", recipe())


def test_the_last_batch_of_an_epoch_may_be_smaller_and_nothing_is_dropped(data, tmp_path):
    run = run_of(data, tmp_path, recipe(batch_size=3))
    batches = [[index for index, _ in run.batch_indices(n)] for n in range(3)]
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert sorted(index for batch in batches for index in batch) == list(range(8))


@pytest.mark.slow
def test_a_full_disk_leaves_the_log_of_the_epochs_before(data, tmp_path, monkeypatch):
    write, count = Path.write_text, 0

    def full(path, text, **options):
        nonlocal count
        count += path.name.endswith("log.csv")
        if count == 2:
            raise OSError(28, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(VolumeError, match=r"log\.csv: cannot be written\. Check .* free space"):
        run_of(data, tmp_path, recipe()).train()
    assert [row["epoch"] for row in log_of(tmp_path)] == ["0"]


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
    change = layer.weight.detach() - layer.linear.weight
    assert change[:96].abs().max() == 0, "q has not learned yet, k never does"
    assert torch.allclose(change[96:], layer.a["v"].sum(0).expand(48, -1), atol=1e-5), "B A, without a scale"
    with torch.no_grad():
        layer.b["q"] -= 1
    change = layer.weight.detach() - layer.linear.weight
    assert torch.allclose(change[:48], -layer.a["q"].sum(0).expand(48, -1), atol=1e-5)
    assert change[48:96].abs().max() == 0
    assert torch.equal(plain_weights(network)["image_encoder.blocks.0.attn.qkv.weight"][48:96], layer.weight[48:96])
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
    wrong = recipe(teacher=str(teacher), sizes={**student, "encoder": {**student["encoder"], "out_channels": 96}})
    with pytest.raises(ModelError, match="out_channels and decoder_mlp"):
        model_to_train(wrong, about, {"ct_test"})
    clamped = model_to_train(recipe(**(vars(settings) | {"ct_window": [0, 300]})), about, {"ct_test"})
    with pytest.raises(ModelError, match="another preprocessing than the student"):
        DistillationRun(settings, clamped, samples, tmp_path / "wrong", fabric)
