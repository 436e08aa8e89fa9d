"""Steps of the default model's training, and the average of its weights, by their formulas."""

import math
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sammed3d.errors import VolumeError
from sammed3d.training.default_model import trainer as trainer_module
from sammed3d.training.default_model.trainer import Trainer, mask_loss
from sammed3d.zoo.checkpoint import read_checkpoint

SIZES = {"patch_size": 32, "widths": [8, 16, 16, 24], "depths": [0, 1, 1, 1], "decoder_widths": [8, 16, 16, 24]}


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """A trainer whose lessons leave gradients of 3 and whose optimizer leaves the weights as they are."""
    made = Trainer(tmp_path, torch.device("cpu"), 2e-3, SIZES)

    def practise(_crops):
        for parameter in made.network.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
        return {}

    monkeypatch.setattr(made, "_practise", practise)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda _optimizer: None)
    return made


def test_the_rate_warms_up_and_falls_to_nothing_as_the_budget_runs_out(trainer):
    for step, progress, share in (
        (0, 0.0, 1 / 50),
        (24, 0.0, 0.5),
        (49, 0.0, 1.0),
        (1000, 0.25, 0.5 + math.sqrt(0.5) / 2),
        (1000, 0.5, 0.5),
        (1000, 1.0, 0.0),
        (1000, 1.3, 0.0),
    ):
        trainer.step = step
        found = trainer.learn(None, progress)["lr"]
        assert found == pytest.approx(2e-3 * share + 1e-6, abs=1e-12), (step, progress)
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {found}
        assert trainer.step == step + 1


def test_gradients_have_a_norm_of_1_at_most_and_matrices_alone_decay(trainer, monkeypatch):
    def norm():
        trainer.learn(None, 0.0)
        return float(torch.cat([p.grad.flatten() for p in trainer.network.parameters()]).norm())

    assert norm() == pytest.approx(1.0, rel=1e-4)
    for parameter in trainer.network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-5)
    monkeypatch.setattr(trainer, "_practise", lambda _crops: {})
    monkeypatch.setattr(trainer.optimizer, "zero_grad", lambda **_: None)
    count = sum(p.numel() for p in trainer.network.parameters())
    assert norm() == pytest.approx(1e-5 * math.sqrt(count), rel=1e-4), "small ones stay"
    matrices, others = trainer.optimizer.param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.02, 0.0)
    assert {p.ndim > 1 for p in matrices["params"]} == {True}
    assert {p.ndim > 1 for p in others["params"]} == {False}


@pytest.mark.parametrize(("step", "share"), [(4, 1.0), (40, 1.0), (400, 0.1), (8000, 0.005), (50_000, 0.005)])
def test_the_average_reaches_back_over_a_quarter_of_the_steps_and_2000_at_most(trainer, step, share):
    trainer.step = step
    before = {key: value.clone() for key, value in trainer.average.items()}
    for parameter in trainer.network.parameters():
        parameter.data += 1
    trainer.take_stock()
    for key, value in trainer.network.state_dict().items():
        assert torch.allclose(trainer.average[key], before[key] + share * (value - before[key]), atol=1e-5), key


def test_what_ships_and_what_goes_on_is_the_average(trainer, tmp_path):
    for value in trainer.average.values():
        value.fill_(0.25)
    trainer.export(tmp_path / "out.safetensors")
    weights = read_checkpoint(tmp_path / "out.safetensors").weights
    assert weights.keys() == trainer.network.state_dict().keys()
    assert all((value == 0.25).all() for value in weights.values())
    trainer.step = 7
    trainer.save()
    again = Trainer(tmp_path, torch.device("cpu"), 2e-3, SIZES)
    assert again.resume()
    assert again.step == 7
    assert all((value == 0.25).all() for value in again.average.values())
    assert all(
        torch.equal(value, again.network.state_dict()[key]) for key, value in trainer.network.state_dict().items()
    )


def test_processes_go_on_from_the_mean_of_their_weights_and_times(trainer, monkeypatch):
    """Another process, whose weights and times are three times these."""
    two = SimpleNamespace(is_initialized=lambda: True, all_reduce=lambda own: own.mul_(4), get_world_size=lambda: 2)
    monkeypatch.setattr(trainer_module, "distributed", two)
    before = [p.detach().clone() for p in trainer.network.parameters()]
    trainer.seconds, trainer.total_seconds = 10.0, 30.0
    trainer.take_stock()
    assert (trainer.seconds, trainer.total_seconds) == (20.0, 60.0)
    assert all(torch.allclose(p, 2 * b) for p, b in zip(trainer.network.parameters(), before, strict=True))


def test_the_loss_is_dice_and_half_the_cross_entropy_in_units_of_the_object():
    rng = np.random.default_rng(4)
    logits, targets = 3 * rng.normal(size=(3, 1, 6, 6, 6)), rng.random((3, 1, 6, 6, 6))
    targets[1] = 0
    logits[2] = 40 * (1 - 2 * targets[2])  # wrong beyond what counts
    wanted = []
    for x, y in zip(logits, targets, strict=True):
        p = 1 / (1 + np.exp(-x))
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        entropy = (np.logaddexp(0, x) - x * y).sum()
        wanted.append(dice + 0.5 * min(entropy / (2 * y.sum() + 100), 10))
    found = mask_loss(torch.from_numpy(logits), torch.from_numpy(targets))
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-9)
    far = torch.full((1, 1, 6, 6, 6), 60.0, dtype=torch.float64)
    assert float(mask_loss(far, torch.zeros_like(far))) == pytest.approx(1 - 1 / 217 + 0.5 * 10), "the most it counts"


def test_a_full_disk_leaves_the_state_of_before_and_is_told(trainer, tmp_path, monkeypatch):
    trainer.step = 5
    trainer.save()
    trainer.step = 6

    def full(_state, file):
        file.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(VolumeError, match=r"last\.pt: cannot be written\. Check the folder, permissions and free"):
            trainer.save()
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
    again = Trainer(tmp_path, torch.device("cpu"), 2e-3, SIZES)
    assert again.resume()
    assert again.step == 5


def test_the_script_says_in_a_line_what_is_wrong_with_its_data(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["default_model", str(tmp_path / "nowhere"), "--work", str(tmp_path / "work")])
    with pytest.raises(SystemExit, match=r"^Error: .*nowhere: there is no such folder"):
        runpy.run_module("sammed3d.training.default_model", run_name="__main__")
