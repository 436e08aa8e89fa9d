"""What a run shows its network, and how its steps come about, by what takes notes in its place."""

import dataclasses

import numpy as np
import pytest
import torch

from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d.nets import build
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.lora import add_lora, lora_weights
from sammed3d.training.patches import Patches
from training_runs import log_of, recipe, run_of

BATCH = {"batch_size": 3, "validation_clicks": 7}


@pytest.fixture
def shown(monkeypatch):
    """What is shown in each pass; its loss is the number of the pass, whose gradient for every weight is as large."""
    seen = []

    def forward(loop, images, targets, seeds, batch_seed, clicks=None):
        seen.append(
            {"images": images, "seeds": seeds, "batch": batch_seed, "clicks": clicks, "trains": loop.training}
            | {"masks": targets}
        )
        weights = sum(p.sum() for p in loop.parameters() if p.requires_grad)
        number = float(len(seen))
        return number * (weights - weights.detach() + 1), torch.full((len(images),), number / 100)

    monkeypatch.setattr(ClickLoop, "forward", forward)
    return seen


def test_steps_are_means_of_their_batches_and_an_epochs_last_one_of_what_is_left(data, tmp_path, monkeypatch, shown):
    gradients = []

    def step(optimizer):
        gradients.append({float(p.grad.mean()) for group in optimizer.param_groups for p in group["params"]})

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run_of(data, tmp_path, recipe(epochs=2, accumulation=2, validate_every=9, **BATCH)).train()
    # 8 samples: two batches of 3 and one of 2; then 2 structures validate at the end
    assert [next(iter(each)) for each in gradients] == pytest.approx([1.5, 3, 4.5, 6])
    assert {len(each) for each in gradients} == {1}
    rows = log_of(tmp_path)
    assert [float(row["loss"]) for row in rows] == pytest.approx([2, 5]), "means of the batches"
    assert [float(row["dice"]) for row in rows] == pytest.approx([0.02, 0.05])
    assert [row["steps"] for row in rows] == ["2", "4"]


@pytest.mark.slow
def test_every_epoch_draws_anew_and_validates_with_the_same_clicks(data, tmp_path, shown):
    settings = recipe(normalisation="batch", flip=0.5, **BATCH)
    run = run_of(data, tmp_path, settings)
    run.train()
    epochs = [shown[:5], shown[5:]]
    for trained in (epoch[:3] for epoch in epochs):
        assert sorted(len(each["seeds"]) for each in trained) == [2, 3, 3]
        assert all(each["trains"] and each["clicks"] is None for each in trained)
    drawn = [[each["seeds"] for each in epoch[:3]] for epoch in epochs]
    assert len({seed for epoch in drawn for batch in epoch for seed in batch}) == 16, "no click is drawn twice"
    assert len({each["batch"] for epoch in epochs for each in epoch[:3]}) == 6
    orders = []
    for run.epoch in (0, 1):
        indices = [run.batch_indices(n) for n in range(3)]
        assert [[seed for _, seed in batch] for batch in indices] == drawn[run.epoch]
        orders.append([index for batch in indices for index, _ in batch])
        raw = torch.stack([run.patches[which]["image"] for which in indices[0]]).double()
        positive = raw[raw > 0]
        wanted = (raw - positive.mean()) / ((positive - positive.mean()).square().sum() / (len(positive) - 1)).sqrt()
        found = epochs[run.epoch][0]["images"]
        assert torch.allclose(found.double(), wanted, atol=1e-4), "z-scores of the whole batch"
    assert orders[0] != orders[1]
    validation = Patches(run._validation.samples, TINY_PRESET, recipe(), augment=False)  # noqa: SLF001
    for epoch in epochs:
        assert [each["seeds"] for each in epoch[3:]] == [each["seeds"] for each in epochs[0][3:]]
        for n, each in enumerate(epoch[3:]):
            assert (each["clicks"], each["trains"]) == (7, False)
            item = validation[n, 1]
            assert torch.equal(each["images"][0], item["image"]), "each normalised by itself, and not mirrored"
            assert torch.equal(each["masks"][0], item["mask"])
    assert [float(row["validation_dice"]) for row in log_of(tmp_path)] == pytest.approx([0.045, 0.095])
    again = run_of(data, tmp_path / "other", dataclasses.replace(settings, seed=1))
    assert [index for n in range(3) for index, _ in again.batch_indices(n)] != orders[0], "another seed, another order"


@pytest.mark.slow
def test_the_schedule_begins_anew_with_every_block_that_learns(data, tmp_path, monkeypatch, shown):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda _optimizer: None)
    settings = recipe(unfreeze_after=1, schedule="step", schedule_steps=[1], epochs=6, lr=1.0, batch_size=8)
    run_of(data, tmp_path, settings).train()  # a loss that grows from pass to pass
    rates = [float(row["lr"]) for row in log_of(tmp_path)]
    assert rates == pytest.approx([1, 0.1, 1, 1, 1, 0.1]), "a block in epochs 2, 3 and 4, and there are three"


def test_low_rank_updates_begin_as_the_published_ones_where_they_begin_at_random():
    network = filled(build("sam_med3d", TINY_SIZES))
    add_lora(network, 16, ["q", "v"])
    drawn = torch.cat([value.flatten() for key, value in lora_weights(network).items() if key.endswith(".a")])
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.05)
    assert float(drawn.mean()) == pytest.approx(0, abs=2e-3)
    assert np.abs(drawn.numpy()).max() < 0.12
