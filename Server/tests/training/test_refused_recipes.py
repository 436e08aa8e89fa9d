"""Recipes that could only fail later are refused at once, with the word and what it needs."""

from pathlib import Path

import pytest
import torch

from networks import TINY_SIZES
from sammed3d.errors import ModelError
from sammed3d.nets import build
from sammed3d.training.lora import add_lora
from sammed3d.training.recipe import Recipe
from sammed3d.training.sam_med2d.recipe import Recipe2d
from sammed3d.training.schedule import groups


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flip": 3}, r"flip is 3\.0; a probability"),
        ({"betas": [0.9]}, r"betas is \[0\.9\]; two numbers"),
        ({"betas": [0.9, 1.0]}, r"betas is \[0\.9, 1\.0\]; two numbers"),
        ({"seed": -1}, r"seed is -1; 0 or a number above"),
        ({"workers": -1}, r"workers is -1; 0 or"),
        ({"lora_rank": -2}, r"lora_rank is -2; 0 or"),
        ({"mask_decoder_lr": -0.1}, r"mask_decoder_lr is -0\.1; 0 or"),
        ({"distill_layer_epochs": 0}, r"distill_layer_epochs is 0; a number above 0"),
        ({"dataset_weights": {"a": "x"}}, r"dataset_weights has 'x' for a; 0 or"),
        ({"dataset_weights": {"a": -1}}, r"dataset_weights has -1 for a; 0 or"),
        ({"schedule": "cosine_restarts", "schedule_steps": [0]}, r"schedule_steps is \[0\], and cosine_restarts needs"),
        ({"schedule": "step", "schedule_steps": []}, r"schedule_steps is \[\], and step needs a period"),
        ({"lora_rank": 4, "lora_targets": []}, r"need lora_targets, an image_encoder_lr above 0"),
        ({"lora_rank": 4, "image_encoder_lr": 0}, r"need lora_targets, an image_encoder_lr above 0"),
        ({"lora_rank": 4, "unfreeze_after": 2}, r"unfreeze_after 0; else nothing would learn"),
        ({"lora_rank": 4, "teacher": "sam_med3d"}, r"a teacher and low-rank updates .* Distil first"),
        ({"lora_rank": 4, "start": "a.safetensors", "base": "b.pth"}, r"a\.safetensors is completed by b\.pth, and"),
    ],
)
def test_a_value_that_cannot_be_is_named(changes, words):
    with pytest.raises(ModelError, match=words):
        Recipe.read(None, **changes)


def test_values_at_their_ends_are_taken():
    recipe = Recipe.read(None, flip=1, workers=0, seed=0, dataset_weights={"a": 0}, schedule_steps=[], weight_decay=0)
    assert (recipe.flip, recipe.schedule_steps) == (1.0, [])
    assert Recipe.read(Path("bosam_lora")).schedule_steps == [5]


def test_recipes_of_2d_images_are_checked_alike():
    with pytest.raises(ModelError, match=r"seed is -1; 0 or a number above"):
        Recipe2d.read(None, seed=-1)


def test_nothing_to_learn_is_refused_before_the_first_step():
    unet = build("promptable_unet", {"patch_size": 32})
    with pytest.raises(ModelError, match=r"of attention layers \(qkv\), and PromptableUNet has none"):
        add_lora(unet, 4, ["q", "v"])
    nothing = Recipe.read(None, image_encoder_lr=0, prompt_encoder_lr=0, mask_decoder_lr=0)
    with pytest.raises(ModelError, match="Nothing is left to learn"):
        torch.optim.AdamW(groups(build("sam_med3d", TINY_SIZES), nothing))
