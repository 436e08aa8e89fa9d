"""Exported networks in onnxruntime against torch."""

import errno
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from helpers import small_volume
from networks import TINY_2D, TINY_PRESET, TINY_PRESET_2D, TINY_SIZES, filled
from sammed3d.cli.app import app
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.inference.images import ImageFrame
from sammed3d.inference.session import Session
from sammed3d.nets import Slicewise, build
from sammed3d.nets.slicewise import normalised as prepared
from sammed3d.zoo import load_predictor
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.folders import exported_folder
from sammed3d.zoo.load import load_model
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.onnx import cache, export
from sammed3d.zoo.onnx.export import ENCODER, OnnxOptions, export_onnx
from sammed3d.zoo.onnx.network import load_exported

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("onnx")]  # an export takes half a minute: each once

SIZES = {**TINY_SIZES, "encoder": {**TINY_SIZES["encoder"], "window": 6}}  # one padded window: a small graph


@pytest.fixture(scope="module")
def network():
    return filled(build("sam_med3d", SIZES))


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.safetensors"
    metadata = {"network": "sam_med3d", "sizes": SIZES, "preset": TINY_PRESET.to_json(), "name": "Tiny"}
    write_checkpoint(path, network.state_dict(), **metadata)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "tiny"
    result = CliRunner().invoke(app, ["models", "export", str(checkpoint), str(folder), "--format", "onnx"])
    assert result.exit_code == 0, result.output
    return folder


def test_an_export_that_was_stopped_is_no_mixture_of_two_models(exported, checkpoint, tmp_path, monkeypatch):
    folder = tmp_path / "again"
    shutil.copytree(exported, folder)

    def stopped(_network, _preset, folder):
        (folder / ENCODER).write_bytes(b"of another model")
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_export_3d", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(load_model(checkpoint), folder)
    with pytest.raises(ModelError, match="neither a training run nor exported files"):
        load_model(folder)
    assert not (folder / ENCODER).exists()


def test_an_export_for_which_there_is_no_space_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def full(_network, _preset, folder):
        (folder / ENCODER).write_bytes(b"half of")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export, "_export_3d", full)
    with pytest.raises(ModelError, match=r"new: cannot be written\. Check the folder, permissions and free space"):
        export_onnx(load_model(checkpoint), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_place_where_no_export_can_be_kept_is_told(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "models").touch()  # a file, where the folder would be
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    with pytest.raises(ModelError, match=r"exported-onnx: cannot be written"):
        cache.exported_once([checkpoint], None, lambda: load_model(checkpoint), quantise=False)


def test_encoder_and_decoder_agree_with_torch(exported, network):
    model = load_exported(exported)
    assert (model.preset, model.name, model.network_name, model.sizes) == (TINY_PRESET, "Tiny", "sam_med3d", SIZES)
    ours = model.network
    patch = torch.randn(1, 1, 64, 64, 64)
    low_res = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        embedding = network.encode(patch)
        assert (ours.encode(patch) - embedding).abs().max() < 1e-3
        for count in (1, 2, 7):
            coords, labels = 64 * torch.rand(1, count, 3), torch.randint(0, 2, (1, count))
            expected = network.decode(embedding, coords, labels, low_res)
            for answer, wanted in zip(ours.decode(embedding, coords, labels, low_res), expected, strict=True):
                assert answer.shape == wanted.shape
                assert (answer - wanted).abs().max() < 1e-3
        two = torch.cat([patch, patch.flip(2)])
        assert (ours.encode(two) - network.encode(two)).abs().max() < 1e-3, "graphs take one at a time"
        prompts = 64 * torch.rand(3, 2, 3), torch.randint(0, 2, (3, 2)), torch.randn(3, 1, 16, 16, 16)
        for answer, wanted in zip(ours.decode(embedding, *prompts), network.decode(embedding, *prompts), strict=True):
            assert (answer - wanted).abs().max() < 1e-3
    with pytest.raises(ModelError, match="single mask"):
        ours.decode(embedding, coords, labels, low_res, multimask=True)


def test_what_is_known_of_a_model_is_known_of_its_export(exported, tmp_path):
    copied = shutil.copytree(exported, tmp_path / "told")
    about = json.loads((copied / "model.json").read_text())
    tempering = asdict(load_model("default").network.tempering) | {"depth": 3.5}
    told = {
        "notes": ["merged"], "licence": "CC-BY-4.0", "origin": "home", "learnt_from": ["1", "2"],
        "sees_all_clicks": True, "first_passes": 2, "tempering": tempering, "quantised": True,
    }  # fmt: skip
    (copied / "model.json").write_text(json.dumps(about | told))
    model = load_exported(copied)
    found = model.notes, model.licence, model.origin, model.learnt_from
    assert found == (("merged",), "CC-BY-4.0", "home", ("1", "2"))
    assert (model.network.sees_all_clicks, model.network.first_passes) == (True, 2)
    assert asdict(model.network.tempering) == tempering
    assert "8-bit" in model.arithmetic


@pytest.mark.parametrize("option", ["preprocess", "single_mask"])
def test_what_is_exported_for_other_programs_says_so(tmp_path, monkeypatch, option):
    monkeypatch.setattr(export, "_export_2d", lambda *_: None)
    model = LoadedModel(Slicewise(build("sam_med2d", TINY_2D)), "sam_med2d", TINY_2D, TINY_PRESET_2D, "Tiny 2-D")
    for options, runnable in ((OnnxOptions(), True), (OnnxOptions(**{option: True}), False)):
        export_onnx(model, tmp_path, options)
        assert json.loads((tmp_path / "model.json").read_text())["runnable"] is runnable


def test_each_model_has_its_own_exported_files(tmp_path, monkeypatch):
    """Whatever makes it another one: its file, its base, the family that was named, the size of its numbers."""
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    made = []
    monkeypatch.setattr(cache, "export_onnx", lambda model, folder, *_, **_more: made.append(model))
    monkeypatch.setattr(cache, "load_exported", lambda folder: folder)
    one, other, again = (tmp_path / name for name in ("one.pth", "other.pth", "again/one.pth"))
    again.parent.mkdir()
    for file, content in ((one, b"1"), (other, b"2"), (again, b"1")):
        file.write_bytes(content)
    asked = [
        ([one], None, False), ([one], None, True), ([one], "sam_med3d", False), ([one], "fastsam3d_teacher", False),
        ([one, other], None, False), ([other], None, False), ([other, one], None, False),
    ]  # fmt: skip
    folders = [cache.exported_once(files, family, lambda: "model", quantise) for files, family, quantise in asked]
    assert len(set(folders)) == len(made) == len(asked)
    rename = Path.rename
    with monkeypatch.context() as patched:

        def too_late(partial, target):
            target.mkdir()
            (target / "of_another_process").touch()
            return rename(partial, target)

        patched.setattr(Path, "rename", too_late)
        found = cache.exported_once([one], "ct_lidc", lambda: "model", False)
    assert [file.name for file in found.iterdir()] == ["of_another_process"]
    assert not list(exported_folder().glob("tmp*"))
    made.pop()
    assert cache.exported_once([again], None, lambda: "model", False) == folders[0], "wherever the file lies"
    assert len(made) == len(asked)


def test_a_session_runs_on_exported_files(exported, checkpoint):
    predictor = load_predictor(exported)
    assert predictor.name == "Tiny"
    assert predictor.preset == TINY_PRESET
    masks = []
    for chosen in (predictor, load_predictor(checkpoint, "cpu")):
        session = Session(small_volume((70, 80, 60)), chosen)
        session.click((60.0, 75.0, 45.0))
        session.click((90.0, 105.0, 75.0), positive=False)
        masks.append(session.mask())
    assert (masks[0] != masks[1]).mean() < 1e-4


@pytest.mark.parametrize("wish", [{"device": "meta"}, {"precision": "bfloat16"}])
def test_what_exported_files_cannot_do_is_refused(exported, wish):
    with pytest.raises(ModelError, match="exported models run on the CPU in float32"):
        load_predictor(exported, **wish)


def test_incomplete_exports_are_named(exported, tmp_path):
    (tmp_path / "half").mkdir()
    with pytest.raises(ModelError, match="half: this folder holds neither"):
        load_predictor(tmp_path / "half")
    (tmp_path / "half" / "model.json").write_bytes((exported / "model.json").read_bytes())
    (tmp_path / "half" / "image_encoder.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="half: not a complete export"):
        load_predictor(tmp_path / "half")
    assert json.loads((exported / "model.json").read_text())["name"] == "Tiny"


def test_full_size_export_agrees_with_torch(tmp_path):
    """SAM-Med3D and FastSAM3D's student at 128³, every weight in place."""
    network = filled(build("fastsam3d"))
    export_onnx(LoadedModel(network, "fastsam3d", name="FastSAM3D"), tmp_path)
    patch = torch.randn(1, 1, 128, 128, 128)
    with torch.inference_mode():
        difference = np.abs(load_exported(tmp_path).network.encode(patch).numpy() - network.encode(patch).numpy())
    assert difference.max() < 1e-3


@pytest.fixture(scope="module")
def network_2d():
    return filled(build("sam_med2d", TINY_2D))


@pytest.fixture(scope="module", params=[{}, {"single_mask": True, "preprocess": True}], ids=["all", "single"])
def exported_2d(request, network_2d, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx2d")
    model = LoadedModel(Slicewise(network_2d), "sam_med2d", TINY_2D, TINY_PRESET_2D, "Tiny 2-D")
    export_onnx(model, folder, OnnxOptions(**request.param))
    sessions = [onnxruntime.InferenceSession(folder / f"{file}.onnx") for file in ("image_encoder", "mask_decoder")]
    return folder, *sessions, "single_mask" in request.param


def test_2d_models_keep_the_published_names(exported_2d):
    _, encoder, decoder, single = exported_2d
    assert [i.name for i in encoder.get_inputs()] == ["input_image"]
    assert [o.name for o in encoder.get_outputs()] == ["image_embeddings"]
    assert {i.name: i.shape for i in decoder.get_inputs()} == {
        "image_embeddings": [1, 256, 4, 4],
        "point_coords": [1, "points", 2],
        "point_labels": [1, "points"],
        "mask_input": [1, 1, 16, 16],
        "has_mask_input": [1],
        "orig_im_size": [2],
    }
    outputs = {o.name: o.shape for o in decoder.get_outputs()}
    assert list(outputs) == ["masks", "iou_predictions", "low_res_masks"]
    assert outputs["iou_predictions"] == [1, 1 if single else 4]


@pytest.mark.parametrize("prompts", ["point", "points and mask", "box", "many points"])
def test_2d_answers_agree_with_torch(exported_2d, network_2d, prompts):
    _, _, decoder, single = exported_2d
    torch.manual_seed(0)
    mask = torch.rand(1, 1, 16, 16) if "mask" in prompts else None
    box = torch.tensor([[5.0, 6.0, 40.0, 50.0]]) if prompts == "box" else None
    count = {"point": 1, "points and mask": 2, "box": 0, "many points": 6}[prompts]
    coords, labels = 64 * torch.rand(1, count, 2), torch.randint(0, 2, (1, count))
    further = torch.zeros(1, 1, 2) if box is None else box.view(1, 2, 2)
    kinds = [-1.0] if box is None else [2.0, 3.0]
    with torch.inference_mode():
        embedding = network_2d.encode(torch.randn(1, 3, 64, 64))
        both = [network_2d.decode(embedding, coords, labels, mask, box, multimask=m) for m in (False, True)]
        low_res, scores = (torch.cat(parts, dim=1) for parts in zip(*both, strict=True))
        if single:  # the published rule: mask 0 from three points on, the best of the others before
            points = count + len(kinds)
            best = 0 if points >= 3 else 1 + int(scores[0, 1:].argmax())
            low_res, scores = low_res[:, best : best + 1], scores[:, best : best + 1]
        image = functional.interpolate(low_res, (64, 64), mode="bilinear", align_corners=False)
        expected = functional.interpolate(image, (50, 70), mode="bilinear", align_corners=False)
    answers = decoder.run(
        None,
        {
            "image_embeddings": embedding.numpy(),
            "point_coords": torch.cat([coords, further], dim=1).numpy(),
            "point_labels": torch.cat([labels.float(), torch.tensor([kinds])], dim=1).numpy(),
            "mask_input": np.zeros((1, 1, 16, 16), np.float32) if mask is None else mask.numpy(),
            "has_mask_input": np.array([0 if mask is None else 1], np.float32),
            "orig_im_size": np.array([50, 70], np.float32),
        },
    )
    for ours, theirs in zip(answers, (expected, scores, low_res), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs.numpy()).max() < 1e-3


def test_2d_encoders_agree_and_prepare_images_where_asked(exported_2d, network_2d):
    folder, encoder, _, prepares = exported_2d
    if not prepares:
        image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
        tensor = torch.from_numpy(image)
    else:
        image = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.float32)
        normalised = (image - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
        rows, columns = np.arange(64) * 90 // 64, np.arange(64) * 120 // 64
        tensor = torch.from_numpy(normalised[rows][:, columns].transpose(2, 0, 1)).float()[None]
        blue_first = ImageFrame.of((90, 120), TINY_PRESET_2D).image(image.astype(np.uint8))
        assert torch.allclose(prepared(torch.from_numpy(blue_first)[None]), tensor, atol=1e-5), (
            "pixels as they are read"
        )
        with pytest.raises(ModelError, match="exported for other programs"):
            load_predictor(folder)
    with torch.inference_mode():
        expected = network_2d.encode(tensor).numpy()
    assert np.abs(encoder.run(None, {"input_image": image})[0] - expected).max() < 1e-3


def test_a_2d_session_runs_on_exported_files(exported_2d, network_2d, tmp_path):
    folder, _, _, prepares = exported_2d
    if prepares:
        pytest.skip("exported for other programs")
    checkpoint = tmp_path / "tiny2d.safetensors"
    metadata = {"network": "sam_med2d", "sizes": TINY_2D, "preset": TINY_PRESET_2D.to_json(), "name": "Tiny 2-D"}
    write_checkpoint(checkpoint, network_2d.state_dict(), **metadata)
    masks = []
    for chosen in (load_predictor(folder), load_predictor(checkpoint, "cpu")):
        session = Session(small_volume((60, 70, 8), (1.0, 1.0, 4.0)), chosen)
        session.set_box((10.0, 10.0, 8.0), (50.0, 60.0, 24.0))
        session.click((30.0, 35.0, 12.0), positive=False)
        masks.append(session.mask())
    assert masks[0].any()
    assert (masks[0] != masks[1]).mean() < 1e-3


def test_the_runtime_is_chosen_and_exports_once(tiny_checkpoint_2d, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    volume = small_volume((60, 70, 8), (1.0, 1.0, 4.0))
    masks = {}
    for runtime in ("torch", "onnx", "onnx-int8", "onnx"):
        session = Session(volume, load_predictor(tiny_checkpoint_2d, "cpu", runtime=runtime))
        session.click((30.0, 35.0, 12.0))
        masks[runtime] = session.mask()
    assert (masks["torch"] != masks["onnx"]).mean() < 1e-4
    assert 0 < (masks["torch"] != masks["onnx-int8"]).mean() < 0.1, "eight bits are not all"
    folders = sorted(exported_folder().iterdir())
    assert [folder.name.split("-", 2)[2] for folder in folders] in (["onnx", "onnx-int8"], ["onnx-int8", "onnx"])
    assert all(folder.stat().st_mode & 0o055 == 0o055 for folder in folders), "other users of the models read them"
    sizes = {f.name.split("-", 2)[2]: sum(p.stat().st_size for p in f.iterdir()) for f in folders}
    assert sizes["onnx-int8"] < 0.7 * sizes["onnx"]
    assert "8-bit" in load_predictor(tiny_checkpoint_2d, "cpu", runtime="onnx-int8").precision
    with pytest.raises(ModelError, match="Unknown runtime 'java'"):
        load_predictor(tiny_checkpoint_2d, runtime="java")
    with pytest.raises(ModelError, match="on the CPU in float32"):
        load_predictor(tiny_checkpoint_2d, precision="bfloat16", runtime="onnx")
    with pytest.raises(ModelError, match="is exported already"):
        load_predictor(folders[0], runtime="onnx")


def test_the_default_model_runs_on_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    in_inference_mode = torch.inference_mode()(export_onnx)  # in which networks use what cannot be exported
    monkeypatch.setattr(cache, "export_onnx", in_inference_mode)
    volume = small_volume((60, 70, 50))
    masks = []
    for runtime in ("torch", "onnx"):
        session = Session(volume, load_predictor("default", "cpu", runtime=runtime))
        session.click((60.0, 75.0, 45.0))
        session.click((90.0, 105.0, 75.0), positive=False)
        masks.append(session.mask())
    assert masks[0].any()
    assert (masks[0] != masks[1]).mean() < 1e-3


def test_options_of_2d_models_are_refused_for_3d_ones(tiny_network, tmp_path):
    with pytest.raises(ModelError, match="options of 2-D models"):
        export_onnx(LoadedModel(tiny_network, "sam_med3d", name="Tiny"), tmp_path, OnnxOptions(single_mask=True))


def test_a_torch_that_cannot_export_is_named(network, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.7.1+cpu")
    with pytest.raises(ModelError, match=r"needs torch 2\.8 or later, and this is 2\.7\.1"):
        export_onnx(LoadedModel(network, "sam_med3d", TINY_PRESET, name="Tiny"), tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()
