"""Losses, simulated clicks, words of the recipe, learning rates: against those they come from."""

import pytest
import torch

from sammed3d.errors import ModelError
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.losses import dice_loss, mask_loss
from sammed3d.training.recipe import DEFAULTS, Recipe
from sammed3d.training.schedule import lr_factor


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
    drawn = set()
    for batch_seed in range(60):
        again = len(calls)
        with torch.no_grad():
            loop(torch.zeros(1, 1, 16, 16, 16), target[:1], [1], batch_seed)
        drawn.add(next(n for n, (coords, _, _) in enumerate(calls[again:]) if coords.shape[1] == 0))
    assert drawn == set(range(2, 9)), "randint(2, 9), as published"
    loss.backward()
    with torch.no_grad():
        either = []
        for scale in (1.01, 0.99):
            loop.network.scale.fill_(scale)
            either.append(float(loop(torch.zeros_like(target), target, [1, 2], batch_seed=3)[0]))
        loop.network.scale.fill_(1.0)
    slope = (either[0] - either[1]) / 0.02
    assert float(loop.network.scale.grad) == pytest.approx(slope, rel=0.02), "gradients flow through the whole chain"
    assert dice.shape == (2,)
    again = len(calls)
    with torch.no_grad():
        loop(torch.zeros_like(target), target, [1, 2], batch_seed=3, clicks=11)
    assert [coords.shape[1] for coords, _, _ in calls[again:]] == [1] * 11, "whoever validates clicks in every pass"
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
