"""Sizes of networks and presets that a stranger's file brings: used, or refused with a word about what is wrong."""

import math

import pytest

from networks import TINY_2D, TINY_PRESET, TINY_SIZES
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.inference.preset import Preset
from sammed3d.nets import build
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.load import load_model

NO_NUMBERS = [-5, 0, "a", 4.5, None, True, 10**12]


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["width", "heads", "depth", "patch_size", "image_size", "out_channels"])
def test_sizes_that_are_no_whole_numbers_above_0_are_refused(name, value):
    with pytest.raises(ModelError, match=rf"The network size {name} is .*; a whole number from 1 to"):
        build("sam_med3d", {"encoder": {name: value}})


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("sam_med3d", {"encoder": 5}, "Network sizes are 5"),
        ("sam_med3d", {"encoder": {"window": -1}}, "window is -1; a whole number from 0"),
        ("sam_med3d", {"encoder": {"global_blocks": 5}}, "global_blocks is 5; a list"),
        ("sam_med3d", {"encoder": {"global_blocks": ["a"]}}, "global_blocks is 'a'; a whole number"),
        ("sam_med3d", {"encoder": {"adapter": "no"}}, "adapter is 'no'; true or false"),
        ("sam_med3d", {"encoder": {"heads": 5}}, r"heads is 5, which does not divide width \(768\)"),
        ("sam_med3d", {"encoder": {"patch_size": 7}}, r"patch_size is 7, which does not divide image_size \(128\)"),
        ("sam_med3d", {"decoder_mlp": -1}, "decoder_mlp is -1"),
        ("sam_med3d", {"encoder": {"out_channels": 7}}, "out_channels is 7; a multiple of 48"),
        ("sam_med2d", {"encoder": {"out_channels": 7}}, "out_channels is 7; a multiple of 16"),
        ("sam_med2d", {"decoder_mlp": "x"}, "decoder_mlp is 'x'"),
        ("sam_med2d", {"encoder": {"colour": 3}}, "Unknown network size: 'colour'"),
        ("promptable_unet", {"widths": [8]}, "need a number for each level"),
        ("promptable_unet", {"widths": "abcd"}, "widths is 'abcd'; a list"),
        ("promptable_unet", {"patch_size": 40}, "4 levels need a multiple of 16"),
    ],
)
def test_sizes_of_no_network_are_refused(name, sizes, words):
    with pytest.raises(ModelError, match=words):
        build(name, sizes)


def test_a_file_with_sizes_of_no_network_is_refused(tmp_path, tiny_network):
    file = tmp_path / "foreign.safetensors"
    sizes = {**TINY_SIZES, "encoder": {**TINY_SIZES["encoder"], "heads": 0}}
    about = {"network": "sam_med3d", "preset": TINY_PRESET.to_json()}
    write_checkpoint(file, tiny_network.state_dict(), sizes=sizes, **about)
    with pytest.raises(ModelError, match="heads is 0"):
        load_model(file)


@pytest.mark.parametrize("of", ["patch_shape", "low_res_shape"])
def test_a_file_whose_preset_makes_other_patches_than_its_network_takes_is_refused(of, tmp_path, tiny_network):
    file = tmp_path / "foreign.safetensors"
    preset = TINY_PRESET.to_json() | {of: [32, 32, 32]}
    write_checkpoint(file, tiny_network.state_dict(), network="sam_med3d", sizes=TINY_SIZES, preset=preset)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors: its preset makes patches of"):
        load_model(file)


def test_networks_say_what_patches_they_take():
    flat = build("sam_med2d", TINY_2D)
    assert (flat.patch_shape, flat.low_res_shape) == ((64, 64, 1), (16, 16, 1))
    assert build("ft_sam2d").low_res_shape == (64, 64, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spacing", [1, 1]),
        ("spacing", 5),
        ("spacing", [1.5, 1.5, math.nan]),
        ("spacing", [1.5, 1.5, math.inf]),
        ("patch_shape", [128, 128]),
        ("patch_shape", [128.5, 128, 128]),
        ("patch_shape", "abc"),
        ("low_res_shape", [32, 32]),
        ("clamp", [1]),
        ("clamp", 5),
        ("clamp", ["a", "b"]),
        ("clamp", [1, 2, 3]),
        ("clamp", [math.nan, 3]),
        ("boxes", "no"),
        ("clamp_after", 1),
    ],
)
def test_presets_that_say_nothing_are_refused(name, value):
    with pytest.raises(ModelError, match=f"A preset's {name}"):
        Preset.from_json(Preset().to_json() | {name: value})
