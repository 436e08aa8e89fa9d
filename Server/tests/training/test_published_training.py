"""What a run does with the numbers of its recipe, against the published training and against torch."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.nn import functional

from networks import TINY_PRESET, TINY_SIZES
from sammed3d.nets import build
from sammed3d.simulation.clicks import random_click, ritm_click
from sammed3d.training import click_loop, distillation, prepared
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.distillation import DistillationRun
from sammed3d.training.losses import hard_dice, mask_loss
from sammed3d.training.patches import Patches, pooled
from sammed3d.training.recipe import Recipe
from sammed3d.training.schedule import groups
from training_runs import recipe, run_of


def test_parts_learn_at_their_shares_of_the_published_rate():
    network = build("sam_med3d", TINY_SIZES)
    of_key = {id(parameter): key for key, parameter in network.named_parameters()}
    for settings, lr in ((Recipe.read(), 8e-4), (Recipe.read(None, lr=8e-5, weight_decay=0.01), 8e-5)):
        found = {
            of_key[id(parameter)]: (group["lr"], group["peak"], group["weight_decay"])
            for group in groups(network, settings)
            for parameter in group["params"]
        }
        assert found.keys() == dict(network.named_parameters()).keys()
        for key, values in found.items():
            share = 1.0 if key.startswith("image_encoder.") else 0.1
            assert values == pytest.approx((lr * share, lr * share, settings.weight_decay)), key


@pytest.mark.slow
def test_the_optimizer_is_adamw_by_the_recipe_and_its_rate_follows_the_schedule(data, tmp_path, monkeypatch):
    settings = recipe(
        epochs=3, schedule="multistep", schedule_steps=[1, 2], betas=[0.8, 0.95], weight_decay=0.3, validate_every=9,
        prompt_encoder_lr=0.5, mask_decoder_lr=0.5, clip_gradients=1e-3,
    )  # fmt: skip
    run = run_of(data, tmp_path / "run", settings)
    seen, norms, step = [], [], torch.optim.AdamW.step

    def noted(optimizer, *arguments, **options):
        seen.append([(group["lr"], group["betas"], group["weight_decay"]) for group in optimizer.param_groups])
        gradients = [
            p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norms.append(float(torch.cat(gradients).norm()))
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    run.train()
    rates = [3e-3 * 0.1 ** (n // run.per_epoch()) for n in range(len(seen))]
    assert len(seen) == 3 * run.per_epoch()
    for found, rate in zip(seen, rates, strict=True):
        assert [lr for lr, _, _ in found] == pytest.approx([rate, rate / 2])
        assert {(betas, decay) for _, betas, decay in found} == {((0.8, 0.95), 0.3)}
    assert max(norms) < 1.01e-3


@pytest.mark.slow
def test_the_gradient_of_a_step_is_the_mean_of_its_batches(data, tmp_path, monkeypatch):
    kept = []
    for name, accumulation, batch_size in (("one", 1, 2), ("two", 2, 1)):
        with monkeypatch.context() as patched:
            gradients = []
            patched.setattr(
                torch.optim.AdamW,
                "step",
                lambda optimizer, found=gradients: found.append(optimizer.param_groups[0]["params"][0].grad.clone()),
            )
            settings = recipe(accumulation=accumulation, batch_size=batch_size, mask_only=False, epochs=1)
            run_of(data, tmp_path / name, settings).train(stop_after=1)
        kept.append(gradients[0])
    assert kept[0].abs().max() > 0
    assert torch.allclose(*kept, rtol=1e-3, atol=1e-3 * float(kept[0].abs().max()))


def test_a_batch_is_pooled_over_all_its_positive_voxels_as_published():
    """Mean 4 and unbiased deviation 2 of 2, 4 and 6, which lie in two images; what is not above 0 does not count."""
    images = torch.tensor([[[2.0, 0.0, -8.0]], [[4.0, 6.0, 0.0]]])[..., None, None]
    settings = Recipe.read(None, normalisation="batch")
    expected = torch.tensor([[[-1.0, -2.0, -6.0]], [[0.0, 1.0, -2.0]]])[..., None, None]
    assert torch.allclose(pooled(images, TINY_PRESET, settings), expected)
    assert pooled(images, TINY_PRESET, Recipe.read(None)) is images, "each was normalised by itself"
    assert pooled(images, replace(TINY_PRESET, normalisation="none"), settings) is images
    assert (pooled(torch.full_like(images, 3), TINY_PRESET, settings) == 0).all()


def test_patches_are_mirrored_along_each_axis_by_chance(data):
    samples = prepared.find_samples(data / "ready", "train")[:1]

    def patch(seed, flip):
        item = Patches(samples, TINY_PRESET, recipe(flip=flip), augment=True)[0, seed]
        return torch.cat([item["image"], item["mask"]])

    plain = patch(1, 0.0)
    assert torch.equal(patch(2, 1.0), plain.flip(1, 2, 3)), "image and mask alike"
    mirrored = [tuple(axis for axis in (1, 2, 3) if which & 1 << axis) for which in range(0, 16, 2)]
    views = {plain.flip(axes).numpy().tobytes(): axes for axes in mirrored}
    assert len(views) == 8
    seen = [views[patch(seed, 0.5).numpy().tobytes()] for seed in range(40)]
    assert set(seen) == set(mirrored), "each axis for itself"
    for axis in (1, 2, 3):
        assert 10 <= sum(axis in axes for axes in seen) <= 30


class Fixed(nn.Module):
    """Answers with the same logits whatever it is asked."""

    sees_all_clicks = False

    def __init__(self, low_res):
        super().__init__()
        self.low_res = low_res

    def encode(self, images):
        return images

    def decode(self, _embedding, coords, labels, low_res):
        return self.low_res, None


@pytest.mark.parametrize("method", ["random", "ritm"])
@pytest.mark.parametrize("loss", ["dice_ce", "dice", "generalized_dice_focal"])
def test_every_pass_counts_and_clicks_fall_where_logits_above_a_half_are_wrong(method, loss, monkeypatch):
    target = torch.zeros(1, 1, 16, 16, 16)
    target[:, :, 3:12, 4:12, 2:9] = 1
    low_res = 2 * torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    logits = functional.interpolate(low_res, (16, 16, 16), mode="trilinear", align_corners=False)
    asked = []

    def noted(name, draw):
        def click(predicted, truth, user):
            asked.append((name, predicted))
            return draw(predicted, truth, user)

        return click

    for name, draw in (("random_click", random_click), ("ritm_click", ritm_click)):
        monkeypatch.setattr(click_loop, name, noted(name, draw))
    loop = ClickLoop(Fixed(low_res), Recipe.read(None, clicks=3, click_method=method, loss=loss), (4, 4, 4))
    total, dice = loop(torch.zeros_like(target), target, [1], batch_seed=0)
    assert float(total) == pytest.approx(3 * float(mask_loss(logits, target, loss)), rel=1e-5), "the sum"
    found, wanted = logits > 0, target > 0
    expected = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
    assert float(dice) == pytest.approx(float(expected))
    assert float(hard_dice(logits, target)) == pytest.approx(float(expected))
    assert [name for name, _ in asked] == [f"{method}_click"] * 3
    assert not asked[0][1].any()
    for _, predicted in asked[1:]:
        assert np.array_equal(predicted, (logits > 0.5)[0, 0].numpy())
    assert bool(((logits > 0) != (logits > 0.5)).any()), "which is not where the mask is"


def test_teachers_layers_come_in_the_students_order_and_the_embedding_last():
    """A student of 3 layers and a teacher of 6: its 2nd, 4th and 6th, each for some epochs, then the embedding."""
    network = nn.Module()
    network.image_encoder = nn.Module()
    network.image_encoder.blocks = nn.ModuleList(nn.Identity() for _ in range(3))
    run = SimpleNamespace(network=network)
    run._stage = lambda epoch: DistillationRun._stage(run, epoch)  # noqa: SLF001
    student = [torch.tensor([float(n)]) for n in (1, 2, 3, 0)]
    teacher = [torch.tensor([float(n)]) for n in (1, 2, 3, 4, 5, 6, 0)]

    def compared(epoch, **changes):
        run.epoch, run.recipe = epoch, Recipe.read(None, **changes)
        return tuple(int(each) for each in DistillationRun._compared(run, student, teacher))  # noqa: SLF001

    layers = {"distill_layers": True, "distill_layer_epochs": 2}
    order = [compared(epoch, **layers) for epoch in range(9)]
    assert order == [(1, 2), (1, 2), (2, 4), (2, 4), (3, 6), (3, 6), (0, 0), (0, 0), (0, 0)]
    assert [compared(epoch) for epoch in (0, 1, 50)] == [(0, 0)] * 3, "the embedding alone, as published"
    assert [compared(epoch, distill_layers=True) for epoch in (2, 3)] == [(1, 2), (2, 4)], "three epochs each"


def test_distillation_steps_every_ten_batches_at_most_and_normalises_each_image_once(monkeypatch):
    made = []

    class StoppedError(Exception):
        pass

    def begin(_run, recipe, *_):
        made.append(recipe)
        raise StoppedError

    model = SimpleNamespace(preset=None, plain_network=None, name="")
    monkeypatch.setattr(distillation.Run, "__init__", begin)
    monkeypatch.setattr(distillation, "SamMed3d", object)
    monkeypatch.setattr(distillation, "trainable", lambda *_: model)
    for accumulation in (32, 4):
        settings = Recipe.read(None, teacher="x", accumulation=accumulation, normalisation="batch")
        with pytest.raises(StoppedError):
            DistillationRun(settings, model, [], None, Fabric(accelerator="cpu", devices=1))
    assert [each.accumulation for each in made] == [10, 4]
    assert {each.normalisation for each in made} == {"sample"}
    assert {each.smallest_voxels for each in made} == {0}, "the teacher has something to say of any patch"


def test_after_distilling_the_decoder_learns_from_what_the_weights_say_of_themselves(tmp_path):
    settings = Recipe.read(None, teacher="x", start="y", family="fastsam3d_teacher", base="z")
    then = DistillationRun.following(settings, tmp_path)
    assert then.start == str(tmp_path / "best.safetensors")
    assert (then.teacher, then.family, then.base, then.ct_window) == (None, None, None, None)
    assert then.image_encoder_lr == 0
