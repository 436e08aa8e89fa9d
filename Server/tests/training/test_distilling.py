"""Distillation: what is kept of the teacher belongs to its patch, and the best weights are those of the embedding."""

import json
import shutil

import pytest
import torch
from lightning.fabric import Fabric

from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d.nets import build
from sammed3d.training import distillation, prepared
from sammed3d.training.contract import model_to_train
from sammed3d.training.distillation import DistillationRun
from sammed3d.training.prepared import Preparation
from sammed3d.zoo.checkpoint import write_checkpoint
from training_runs import log_of, recipe

STUDENT = {**TINY_SIZES, "encoder": {**TINY_SIZES["encoder"], "depth": 2, "global_blocks": []}}


def teacher():
    return filled(build("sam_med3d", TINY_SIZES))


def written(network, file):
    write_checkpoint(file, network.state_dict(), network="sam_med3d", sizes=TINY_SIZES, preset=TINY_PRESET.to_json())


@pytest.fixture
def distil(data, tmp_path):
    """Make a run on some of the samples: a function."""
    file = tmp_path / "teacher.safetensors"
    written(teacher(), file)
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()

    def run(folder, chosen, **changes):
        settings = recipe(teacher=str(file), sizes=STUDENT, lr=2e-3, **changes)
        model = model_to_train(settings, Preparation.read(data / "ready"), {"ct_test"})
        samples = prepared.find_samples(data / "ready", "train")[chosen]
        return DistillationRun(settings, model, samples, folder, fabric)

    return run


@pytest.mark.slow
def test_what_is_kept_of_the_teacher_belongs_to_its_patch(distil, tmp_path):
    distil(tmp_path / "some", slice(2, None), epochs=1).train()
    shutil.copytree(tmp_path / "some" / "teacher", tmp_path / "more" / "teacher")
    for name in ("more", "fresh"):
        distil(tmp_path / name, slice(None), epochs=1).train()
    more, fresh = (log_of(tmp_path / name)[0]["loss"] for name in ("more", "fresh"))
    assert float(more) == pytest.approx(float(fresh), rel=1e-5), "though two samples came before the others"
    kept = [{file.name for file in (tmp_path / name / "teacher").glob("*.pt")} for name in ("some", "more", "fresh")]
    assert kept[0] < kept[1] == kept[2]


@pytest.mark.slow
def test_the_best_weights_are_of_the_embedding_whatever_the_layers_losses(distil, tmp_path, monkeypatch):
    run = distil(tmp_path, slice(0, 2), epochs=4, distill_layers=True, distill_layer_epochs=1)
    measured = distillation.mean_squared

    def weighed(output, target):
        return measured(output, target) * (1.0 if run.epoch >= 2 else 1e-6)

    monkeypatch.setattr(distillation, "mean_squared", weighed)
    run.train()
    losses = [float(row["loss"]) for row in log_of(tmp_path)]
    assert max(losses[:2]) < min(losses[2:])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"] == pytest.approx(-min(losses[2:]))
    assert summary["epoch"] > 2


@pytest.mark.slow
def test_the_loss_is_the_mean_squared_difference_of_the_embeddings(distil, tmp_path, monkeypatch):
    """Three batches of one patch, two of which make the first step."""
    run, steps = distil(tmp_path / "run", slice(0, 3), epochs=1, batch_size=1, accumulation=2, validate_every=9), []
    learnt = run.network.get_submodule("image_encoder.neck")[2].weight
    losses = []
    for n in range(3):
        [which] = run.batch_indices(n)
        image = run.patches[which]["image"][None]
        with torch.no_grad():
            wanted = teacher().encode(image)
        losses.append((run.network.encode(image) - wanted).square().mean())
    gradients = [torch.autograd.grad(loss, learnt)[0] for loss in ((losses[0] + losses[1]) / 2, losses[2])]
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda _optimizer: steps.append(learnt.grad.clone()))
    run.train()
    assert float(log_of(tmp_path / "run")[0]["loss"]) == pytest.approx(float(sum(losses).detach()) / 3, rel=2e-3)
    assert len(steps) == 2
    for found, expected in zip(steps, gradients, strict=True):
        assert torch.allclose(found, expected, atol=0.01 * float(expected.abs().max())), "half precision is kept"


@pytest.mark.slow
def test_what_is_kept_of_one_teacher_is_not_taken_for_anothers(distil, tmp_path):
    image = torch.randn(1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    first = distil(tmp_path / "run", slice(0, 2))._teaching(image)[-1]  # noqa: SLF001
    other = teacher()
    with torch.no_grad():
        other.get_submodule("image_encoder.neck")[3].bias += 1
    written(other, tmp_path / "teacher.safetensors")
    second = distil(tmp_path / "run", slice(0, 2))._teaching(image)[-1]  # noqa: SLF001
    assert torch.allclose(second.float(), first.float() + 1, atol=0.01)
