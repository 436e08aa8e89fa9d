"""The recipes of the family: the published values, and what they need beyond SAM-Med3D's."""

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d.errors import ModelError
from sammed3d.nets import build
from sammed3d.training.recipe import Recipe
from sammed3d.training.recipe_words import PUBLISHED
from sammed3d.training.schedule import Unfreezing, how_often
from sammed3d.zoo.checkpoint import write_checkpoint
from training_runs import TINY, log_of, recipe, run_of, weights_of

DIFFERENT = {
    "sam_med3d": {},
    "sam_med3d_turbo_finetune": {"start": "sam_med3d_turbo", "lr": 8e-5, "batch_size": 2},
    "fastsam3d_distill": {
        "network": "fastsam3d",
        "teacher": "sam_med3d_turbo",
        "epochs": 100,
        "batch_size": 1,
        "accumulation": 32,
        "schedule_steps": [60, 90],
    },
    "fastsam3d_unfreeze": {
        "network": "fastsam3d",
        "epochs": 100,
        "batch_size": 1,
        "accumulation": 32,
        "schedule_steps": [60, 90],
        "unfreeze_after": 3,
        "image_encoder_lr": 0.1,
    },
    "bosam": {
        "start": "sam_med3d_turbo",
        "epochs": 800,
        "batch_size": 3,
        "accumulation": 16,
        "lr": 1e-4,
        "schedule": "cosine_restarts",
        "schedule_steps": [5],
        "clicks": 10,
        "loss": "generalized_dice_focal",
    },
    "bosam_lora": {
        "start": "sam_med3d_turbo",
        "epochs": 500,
        "batch_size": 3,
        "accumulation": 16,
        "lr": 5e-4,
        "schedule": "cosine_restarts",
        "schedule_steps": [5],
        "clicks": 11,
        "loss": "generalized_dice_focal",
        "lora_rank": 4,
    },
    "ct_lidc": {"start": "ct_lidc"},
}
"""What each differs in from SAM-Med3D's, which test_recipe_training holds."""


def test_the_recipes_hold_the_published_values():
    assert {file.stem for file in PUBLISHED.glob("*.yaml")} == {*DIFFERENT, "sam_med2d", "sam_med2d_small"}
    usual = asdict(Recipe.read())
    for name, values in DIFFERENT.items():
        assert asdict(Recipe.read(Path(name))) == usual | values


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DIFFERENT if "distill" not in name])  # that is tested by itself
def test_each_recipe_trains_some_steps(name, data, tmp_path):
    start = tmp_path / "tiny.safetensors"
    about = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json(), "name": "Tiny"}
    write_checkpoint(start, filled(build("sam_med3d", TINY_SIZES)).state_dict(), **about)
    small = {key: TINY[key] for key in ("network", "sizes", "workers", "smallest_voxels", "precision")}
    changes = small | {"batch_size": 1, "accumulation": 1, "clicks": 3, "validation_clicks": 1, "start": str(start)}
    settings = Recipe.read(Path(name), **changes)
    run = run_of(data, tmp_path / "run", settings)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    run.train(stop_after=3)
    assert run.steps == 3
    assert all(bool(torch.isfinite(value).all()) for value in run.network.state_dict().values())
    assert any(not torch.equal(value, before[key]) for key, value in run.network.state_dict().items())


def test_an_unknown_recipe_names_those_that_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no recipe 'bosom', neither as a file nor among bosam, bosam_lora"):
        Recipe.read(Path("bosom"))
    (tmp_path / "bosam").write_text("epochs: 7")
    assert Recipe.read(Path("bosam")).epochs == 7, "a file goes first"


# Unfreezing


class Encoder(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.stem = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(blocks))


def learning(network):
    return [block.weight.requires_grad for block in network.image_encoder.blocks]


def test_blocks_learn_one_by_one_from_the_last_when_the_loss_stops_falling():
    network = nn.Module()
    network.image_encoder = Encoder(2)
    unfreezing = Unfreezing(network, patience=2)
    assert learning(network) == [False, False]
    told = [unfreezing.after(epoch, loss) for epoch, loss in enumerate([5, 4, 4, 4.5, 4, 3, 3, 3, 3, 3, 3])]
    assert told == [False, False, False, True, False, False, False, True, False, False, False]
    assert learning(network) == [True, True]
    assert not network.image_encoder.stem.weight.requires_grad
    assert unfreezing.since == 8, "the schedule begins anew with the epoch after"
    again = nn.Module()
    again.image_encoder = Encoder(2)
    following = Unfreezing(again, patience=2)
    following.restore({"learning": 1, "waited": 1, "since": 3, "lowest": 4.0})
    assert learning(again) == [False, True]
    assert following.after(9, 4.0)
    untouched = nn.Module()
    untouched.image_encoder = Encoder(2)
    assert not Unfreezing(untouched, patience=0).after(0, math.inf)
    assert learning(untouched) == [True, True]


@pytest.mark.slow
def test_a_run_that_unfreezes_goes_on_as_if_it_had_not_been_stopped(data, tmp_path):
    settings = recipe(
        unfreeze_after=1, lr=1e-30, epochs=4, batch_size=4, clicks=2, validate_every=9
    )  # nothing is learnt
    whole = run_of(data, tmp_path / "whole", settings)
    whole.train()
    assert whole.unfreezing.learning >= 1
    for stop in (1, 3, 5, None):
        parts = run_of(data, tmp_path / "parts", settings)
        parts.train(stop_after=stop)
    assert parts.unfreezing.state() == whole.unfreezing.state()
    one, other = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert [row["loss"] for row in log_of(tmp_path / "whole")] == [row["loss"] for row in log_of(tmp_path / "parts")]


# Ending early, weights, logs


@pytest.mark.slow
def test_a_run_ends_when_validation_gains_nothing(data, tmp_path):
    settings = recipe(patience=2, lr=1e-30, epochs=9, batch_size=4, clicks=2)
    run = run_of(data, tmp_path, settings)
    run.train()
    assert len(log_of(tmp_path)) == 3, "the first counts as a gain"
    run_of(data, tmp_path, settings).train()
    assert len(log_of(tmp_path)) == 3, "starting it again does not go on"


def test_datasets_are_drawn_as_often_as_they_weigh(data, tmp_path):
    run = run_of(data, tmp_path, recipe(dataset_weights={"ct_test": 2.0}))
    [often] = {round(float(share), 6) for share in how_often(run.patches.samples, {"ct_test": 2.0})}
    assert often == pytest.approx(1 / len(run.patches.samples))
    with pytest.raises(ModelError, match="names 'ct_other', which is not among the data"):
        run_of(data, tmp_path / "other", recipe(dataset_weights={"ct_other": 1.0}))
    with pytest.raises(ModelError, match="weights are 0 or more"):
        how_often(run.patches.samples, {"ct_test": 0})
    samples = [*run.patches.samples[:2], *(type(s)(**(vars(s) | {"dataset": "mr"})) for s in run.patches.samples[:2])]
    shares = how_often(samples, {"mr": 3.0})
    assert shares.tolist() == pytest.approx([0.125, 0.125, 0.375, 0.375])


def test_an_epochs_batches_follow_the_weights(data, tmp_path):
    run = run_of(data, tmp_path, recipe(dataset_weights={"ct_test": 1.0}, batch_size=4))
    drawn = Counter(index for n in range(run.per_epoch()) for index, _ in run.batch_indices(n))
    assert sum(drawn.values()) == len(run.patches)
    assert max(drawn.values()) > 1, "drawn with replacement"


@pytest.mark.slow
def test_the_log_is_there_for_tensorboard(data, tmp_path):
    run_of(data, tmp_path, recipe(tensorboard=True, epochs=1)).train()
    [events] = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for name in (b"loss", b"dice", b"lr", b"validation_dice"):
        assert name in content
