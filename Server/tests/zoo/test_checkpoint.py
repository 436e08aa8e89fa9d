"""Checkpoint files: the published layout loads, everything that could do harm or mislead does not."""

import argparse
import os
import pickle
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from golden_fill import patch as golden_patch
from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d.core.geometry import Box, Grid
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.nets import build
from sammed3d.zoo import load_predictor
from sammed3d.zoo.checkpoint import Checkpoint, load_weights, read_checkpoint, write_checkpoint
from sammed3d.zoo.families import FAMILIES, recognise


def published_layout(weights):
    return {
        "epoch": 7,
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "lr_scheduler_state_dict": {"milestones": Counter({120: 1, 180: 1}), "last_epoch": 7, "_step_count": 8},
        "losses": [np.float64(0.4), np.float32(0.3)],
        "dices": [np.float64(0.8)],
        "best_loss": np.float64(0.3),
        "best_dice": np.float64(0.9),
        "args": argparse.Namespace(device=torch.device("cuda:0"), gpu_ids=[0, 1], checkpoint=None, lr=8e-4),
        "used_datas": ["data/train/liver/ct_WORD"],
    }  # fmt: skip


@pytest.fixture
def weights(tiny_network):
    return tiny_network.state_dict()


def test_files_that_are_written_may_be_read_by_whom_other_files_may(tmp_path, weights):
    other = tmp_path / "other"
    other.write_text("")
    write_checkpoint(tmp_path / "tiny.safetensors", weights)
    assert (tmp_path / "tiny.safetensors").stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("zipped", [True, False])
def test_the_published_layout_loads(tmp_path, weights, zipped):
    path = tmp_path / "sam_med3d.pth"
    torch.save(published_layout(weights), path, _use_new_zipfile_serialization=zipped)
    network = build("sam_med3d", TINY_SIZES)
    load_weights(network, read_checkpoint(path))
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())


def test_the_published_layout_loads_with_numpy_1_whose_inner_modules_have_other_names(tmp_path, weights, monkeypatch):
    torch.save(published_layout(weights), tmp_path / "sam_med3d.pth")
    monkeypatch.delattr(np, "_core")
    assert read_checkpoint(tmp_path / "sam_med3d.pth").weights.keys() == weights.keys()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_optimizers_that_were_saved_as_objects_are_left_out(tmp_path, optimizer, zipped):
    layer = torch.nn.Linear(3, 4)
    used = optimizer(layer.parameters(), lr=1e-4)
    layer(torch.ones(1, 3)).sum().backward()
    used.step()
    data = {"model": layer.state_dict(), "optimizer": used}
    torch.save(data, tmp_path / "sam-med2d_b.pth", _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(tmp_path / "sam-med2d_b.pth").weights.keys() == {"weight", "bias"}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_keys_are_the_networks_own_whatever_wrapped_it(tmp_path, weights, prefix):
    wrapped = {prefix + key: value for key, value in weights.items()}
    for name, data in (("bare.pt", wrapped), ("nested.pt", {"model": wrapped})):
        torch.save(data, tmp_path / name)
        assert read_checkpoint(tmp_path / name).weights.keys() == weights.keys()
    write_checkpoint(tmp_path / "w.safetensors", wrapped)
    assert read_checkpoint(tmp_path / "w.safetensors").weights.keys() == weights.keys()


NEGATIVE = "prompt_encoder.point_embeddings.0.weight"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda w: 1e300 * w.double(), "1 weights are not finite"),
        (lambda w: w.to(torch.complex64), f"1 weights are no plain real numbers ({NEGATIVE} is complex64)"),
        (lambda w: w.to(torch.float8_e4m3fn), f"1 weights are no plain real numbers ({NEGATIVE} is float8_e4m3fn)"),
        (lambda w: w.to(torch.int8), f"1 weights are no plain real numbers ({NEGATIVE} is int8)"),
        (lambda w: w.to_sparse(), f"1 weights are no plain real numbers ({NEGATIVE} is sparse_coo)"),
        (lambda w: w.to("meta"), f"1 weights are no plain real numbers ({NEGATIVE} is without values)"),
    ],
)
def test_numbers_that_float32_cannot_hold_are_refused(tmp_path, weights, changed, words):
    torch.save(weights | {NEGATIVE: changed(weights[NEGATIVE])}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w\.pth: .*{re.escape(words)}"):
        load_weights(build("sam_med3d", TINY_SIZES), read_checkpoint(tmp_path / "w.pth"))


def test_a_file_that_holds_itself_is_refused(tmp_path):
    data = {"a": torch.zeros(1)}
    data["self"] = data
    torch.save(data, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: is nested without end"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, weights, name, monkeypatch):
    """Files of safetensors are written for their owner alone."""
    write_checkpoint(tmp_path / name, weights)

    def refused(*_, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(CheckpointError, match=rf"{name}: cannot be read \(Permission denied\). Check its permissions"):
        read_checkpoint(tmp_path / name)


def test_safetensors_round_trip_with_metadata(tmp_path, weights):
    write_checkpoint(tmp_path / "w.safetensors", weights, network="sam_med3d", preset=TINY_PRESET.to_json())
    read = read_checkpoint(tmp_path / "w.safetensors")
    assert all(torch.equal(v, weights[k]) for k, v in read.weights.items())
    assert read.metadata["network"] == "sam_med3d"


def test_a_loaded_network_does_not_change_with_its_file(tmp_path, weights):
    """Files are mapped into memory while they are read."""
    torch.save(weights, tmp_path / "w.pth")
    network = build("sam_med3d", TINY_SIZES)
    load_weights(network, read_checkpoint(tmp_path / "w.pth"))
    with (tmp_path / "w.pth").open("r+b") as file:
        file.write(bytes((tmp_path / "w.pth").stat().st_size))
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())


def test_half_precision_weights_become_float32(tmp_path, weights):
    write_checkpoint(tmp_path / "w.safetensors", {k: v.half() for k, v in weights.items()})
    network = build("sam_med3d", TINY_SIZES)
    load_weights(network, read_checkpoint(tmp_path / "w.safetensors"))
    assert {v.dtype for v in network.state_dict().values()} == {torch.float32}


class Malice:
    """Runs a command when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, weights, zipped):
    marker = tmp_path / "harm"
    data = published_layout(weights) | {"args": Malice(marker)}
    torch.save(data, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"bad\.pth: refused, because it holds objects that could run code"):
        read_checkpoint(tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malice(marker)))
    with pytest.raises(CheckpointError, match=r"plain\.pth"):
        read_checkpoint(tmp_path / "plain.pth")
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 10, 600, 1000, 3000, -100])
@pytest.mark.parametrize("name", ["w.pth", "old.pth", "w.safetensors"])
def test_truncated_files_are_named(tmp_path, weights, name, keep):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(published_layout(weights), path, _use_new_zipfile_serialization=not name.startswith("old"))
    else:
        write_checkpoint(path, weights)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=re.escape(name)):
        read_checkpoint(path)


def test_files_without_weights_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "nothing.pth")
    if sys.platform != "win32":  # which has no pipes in folders
        os.mkfifo(tmp_path / "pipe.pth")
        with pytest.raises(CheckpointError, match=r"pipe\.pth: is a pipe or a device, .* Write them into a file"):
            read_checkpoint(tmp_path / "pipe.pth")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match=r"empty\.pth: no weights found"):
        read_checkpoint(tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"list\.pth: expected a dict of weights, found list"):
        read_checkpoint(tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("not found")
    with pytest.raises(CheckpointError, match=r"text\.pth: damaged"):
        read_checkpoint(tmp_path / "text.pth")


def test_partial_and_wrong_weights_list_what_differs(tmp_path, weights):
    wrong = dict(weights)
    del wrong["mask_decoder.iou_token.weight"]
    wrong["extra.weight"] = torch.zeros(1)
    wrong["image_encoder.neck.1.bias"] = torch.zeros(7)
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError) as caught:
        load_weights(build("sam_med3d", TINY_SIZES), read_checkpoint(tmp_path / "wrong.pth"))
    message = str(caught.value)
    assert f"1 of {len(weights)} weights are missing (mask_decoder.iou_token.weight)" in message
    assert "1 weights are unexpected (extra.weight)" in message
    assert "image_encoder.neck.1.bias is (7,), not (48,)" in message


def test_weights_that_are_not_finite_are_refused(tmp_path, weights):
    broken = dict(weights) | {"image_encoder.neck.1.bias": torch.full((48,), torch.nan)}
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"nan\.pth.*not finite \(image_encoder.neck.1.bias\)"):
        load_weights(build("sam_med3d", TINY_SIZES), read_checkpoint(tmp_path / "nan.pth"))


@pytest.mark.slow
def test_the_network_is_recognised_by_keys_and_shapes(tmp_path):
    twelve_layers = ["sam_med3d", "fastsam3d_teacher", "ct_lidc"]  # the same keys and shapes
    for name, family in FAMILIES.items():
        if family.on_request:
            continue
        with torch.device("meta"):
            state = build(family.network).state_dict()
        expected = twelve_layers if name in twelve_layers else [name]
        assert recognise(Checkpoint(state)) == expected
        del state["mask_decoder.iou_token.weight"]
        assert recognise(Checkpoint(state)) == expected, "what is missing is said when it is loaded"
    assert len(build("sam_med3d_boxes").state_dict()) == 326
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"resnet\.pth: none of the known networks"):
        load_predictor(tmp_path / "resnet.pth")


def test_the_family_can_be_named_where_keys_do_not_tell(tmp_path):
    sizes = {"encoder": {"width": 24, "depth": 1, "heads": 2, "out_channels": 48}}
    state = filled(build("sam_med3d", sizes)).state_dict()
    write_checkpoint(tmp_path / "m.safetensors", state, sizes=sizes)
    click, patch = (
        [PatchClick((60.0, 61.0, 62.0), True)],
        Patch(golden_patch(0)[0], Box((0,) * 3, (128,) * 3), Grid((128,) * 3, np.eye(4))),
    )
    answers = [
        load_predictor(tmp_path / "m.safetensors", "cpu", family=family).predict(patch, PatchPrompts(click)).low_res
        for family in ("sam_med3d", "fastsam3d_teacher")
    ]
    assert not np.allclose(*answers)
    write_checkpoint(tmp_path / "named.safetensors", state, network="sam_med3d", sizes=sizes)
    named = load_predictor(tmp_path / "named.safetensors", "cpu")
    assert np.array_equal(named.predict(patch, PatchPrompts(click)).low_res, answers[0])
    with pytest.raises(ModelError, match="says of itself that its network is sam_med3d"):
        load_predictor(tmp_path / "named.safetensors", "cpu", family="fastsam3d_teacher")
    with pytest.raises(ModelError, match="no family named 'best'"):
        load_predictor(tmp_path / "m.safetensors", "cpu", family="best")


def test_a_checkpoint_brings_its_preset_and_name(tiny_checkpoint):
    predictor = load_predictor(tiny_checkpoint, device="cpu")
    assert predictor.preset == TINY_PRESET
    assert predictor.name == "Tiny"


def test_published_weights_get_the_published_preset(tmp_path):
    network = filled(build("sam_med3d", {"encoder": {"width": 24, "depth": 1, "heads": 2, "out_channels": 48}}))
    sizes = {"encoder": {"width": 24, "depth": 1, "heads": 2, "out_channels": 48}}
    write_checkpoint(tmp_path / "m.safetensors", network.state_dict(), network="sam_med3d", sizes=sizes)
    assert load_predictor(tmp_path / "m.safetensors", device="cpu").preset == Preset()


def test_unknown_names_say_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="no model named 'best'"):
        load_predictor("best")
    write_checkpoint(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, network="sam_med3d", preset="{")
    with pytest.raises(CheckpointError):
        load_predictor(tmp_path / "m.safetensors")


@pytest.mark.slow
def test_a_file_that_fits_several_families_asks_for_one(tmp_path):
    torch.save({"model_state_dict": filled(build("sam_med3d")).state_dict()}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"m\.pth: .* sam_med3d, fastsam3d_teacher, ct_lidc\. Say which"):
        load_predictor(tmp_path / "m.pth", "cpu")
    (tmp_path / "sam_med3d_turbo.pth").hardlink_to(tmp_path / "m.pth")
    predictor = load_predictor(tmp_path / "sam_med3d_turbo.pth", "cpu")
    assert predictor.preset == Preset()
    assert predictor.notes == ("taken for sam_med3d: SAM-Med3D-turbo is published under this file name",)
    fork = load_predictor(tmp_path / "m.pth", "cpu", family="ct_lidc")
    assert fork.preset.clamp == (-1024, 300)
    assert fork.preset.normalisation == "none"
    assert fork.notes == ()


def test_metadata_that_is_no_json_is_refused(tmp_path, weights):
    for key in ("sizes", "preset"):
        metadata = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json()} | {key: "{"}
        write_checkpoint(tmp_path / "m.safetensors", weights, **metadata)
        with pytest.raises(CheckpointError, match=f"'{key}' in its metadata is not JSON"):
            load_predictor(tmp_path / "m.safetensors")
