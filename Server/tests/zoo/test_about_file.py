"""What files of weights say of themselves, without torch."""

import json

import pytest
import torch
from typer.testing import CliRunner

from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d import samples
from sammed3d.cli.app import app
from sammed3d.errors import ModelError
from sammed3d.nets import build
from sammed3d.zoo.about_file import FAMILIES_2D, is_cut_off, learnt_from, words_of, works_by_slice
from sammed3d.zoo.adapters.fastsam3d_encoder import with_decoder
from sammed3d.zoo.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sammed3d.zoo.families import FAMILIES
from sammed3d.zoo.load import load_model
from sammed3d.zoo.merge import merge_files
from sammed3d.zoo.store import BUNDLED


def test_models_of_slices_are_told_from_models_of_volumes(tmp_path):
    (other := tmp_path / "weights.pth").write_bytes(b"anything")
    assert works_by_slice(samples.SAM_MED2D_SMALL) is True
    assert works_by_slice(BUNDLED) is False
    assert works_by_slice(other) is None
    assert works_by_slice(other, "ft_sam2d") is True
    assert works_by_slice(other, "sam_med3d") is False
    assert works_by_slice(other, name="sam_med2d") is True
    assert works_by_slice(other, name="mine") is None
    assert {name for name, family in FAMILIES.items() if family.preset.by_slice} == FAMILIES_2D


def test_files_that_end_early_are_told_from_those_that_are_something_else(tmp_path):
    whole = samples.SAM_MED2D_SMALL.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    file = tmp_path / "weights.safetensors"
    for end in (9, head - 1, head, len(whole) - 1):
        file.write_bytes(whole[:end])
        assert is_cut_off(file), end
    others = (whole, whole + b"more", b"", b"<html>Please log in</html>", (2).to_bytes(8, "little") + b"{}")
    damaged = ((4).to_bytes(8, "little") + b"{...", (8).to_bytes(8, "little") + b'{"a": 1}', b"\xff" * 8 + b"[")
    for content in (*others, *damaged):
        file.write_bytes(content)
        assert not is_cut_off(file), content[:20]


@pytest.mark.parametrize("about", [{"preset": "{"}, {"preset": '{"colour": 1}'}, {"preset": 3}, [], None])
def test_damaged_words_say_nothing(tmp_path, about):
    header = json.dumps({"__metadata__": about}).encode()
    (file := tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert works_by_slice(file) is None
    assert words_of(file) == {}
    assert learnt_from(file) == frozenset()


def test_images_that_a_model_learnt_from_are_read_or_refused(tmp_path):
    for value in ('["abc", "def"]', "[", "3"):
        header = json.dumps({"__metadata__": {"learnt_from": value}}).encode()
        (file := tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        if value.endswith("]"):
            assert learnt_from(file) == {"abc", "def"}
        else:
            with pytest.raises(
                ModelError, match=r"weights\.safetensors: 'learnt_from' in its metadata is no JSON list"
            ):
                learnt_from(file)
    assert words_of(tmp_path / "none.safetensors") == {}


def test_what_a_model_learnt_from_goes_where_its_weights_go(tmp_path):
    learnt, base = tmp_path / "learnt.safetensors", tmp_path / "base.safetensors"
    network = filled(build("sam_med3d", TINY_SIZES))
    about = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json()}
    write_checkpoint(base, network.state_dict(), **about)
    write_checkpoint(learnt, network.state_dict(), **about, learnt_from=["abc", "def"])
    done = CliRunner().invoke(app, ["models", "export", str(learnt), str(tmp_path / "copy.safetensors")])
    assert done.exit_code == 0, done.output
    assert learnt_from(tmp_path / "copy.safetensors") == {"abc", "def"}
    load_model(base).write(tmp_path / "plain.safetensors")
    assert "learnt_from" not in read_checkpoint(tmp_path / "plain.safetensors").metadata
    layer = "image_encoder.blocks.0.attn.qkv"
    width = network.state_dict()[f"{layer}.weight"].shape[1]
    updates = {f"{layer}.lora_q.a": torch.zeros(1, width), f"{layer}.lora_q.b": torch.zeros(width, 1)}
    write_checkpoint(tmp_path / "lora.safetensors", updates, learnt_from=["ghi"])
    merge_files(base, tmp_path / "lora.safetensors", tmp_path / "merged.safetensors")
    assert learnt_from(tmp_path / "merged.safetensors") == {"ghi"}
    encoder = {k.removeprefix("image_encoder."): v for k, v in network.state_dict().items() if "image_encoder" in k}
    whole = with_decoder(Checkpoint(encoder), read_checkpoint(learnt))
    assert whole.metadata["learnt_from"] == '["abc", "def"]'
