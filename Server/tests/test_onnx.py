"""Exported networks in onnxruntime against torch."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.cli import app
from sammed3d.errors import CheckpointError, ModelError
from sammed3d.session import Session
from sammed3d.zoo import load_predictor
from sammed3d.zoo.onnx_network import OnnxNetwork


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "tiny"
    result = CliRunner().invoke(app, ["export", str(tiny_checkpoint), str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_encoder_and_decoder_agree_with_torch(exported, tiny_network):
    network = OnnxNetwork(exported)
    patch = torch.randn(1, 1, 64, 64, 64)
    low_res = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        embedding = tiny_network.encode(patch)
        assert (network.encode(patch) - embedding).abs().max() < 1e-3
        for count in (1, 2, 7):
            coords, labels = 64 * torch.rand(1, count, 3), torch.randint(0, 2, (1, count))
            expected = tiny_network.decode(embedding, coords, labels, low_res)
            for ours, theirs in zip(network.decode(embedding, coords, labels, low_res), expected, strict=True):
                assert ours.shape == theirs.shape
                assert (ours - theirs).abs().max() < 1e-3
    with pytest.raises(ModelError, match="single mask"):
        network.decode(embedding, coords, labels, low_res, multimask=True)


def test_a_session_runs_on_exported_files(exported, tiny_checkpoint):
    predictor = load_predictor(exported)
    assert predictor.name == "Tiny"
    assert predictor.preset == TINY_PRESET
    masks = []
    for chosen in (predictor, load_predictor(tiny_checkpoint, "cpu")):
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
    with pytest.raises(CheckpointError, match="half: not a complete export"):
        load_predictor(tmp_path / "half")
    (tmp_path / "half" / "model.json").write_bytes((exported / "model.json").read_bytes())
    (tmp_path / "half" / "image_encoder.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="half: not a complete export"):
        load_predictor(tmp_path / "half")
    assert json.loads((exported / "model.json").read_text())["name"] == "Tiny"


def test_full_size_export_agrees_with_torch(tmp_path):
    """SAM-Med3D and FastSAM3D's student at 128³, every weight in place."""
    from networks import filled
    from sammed3d.nets import build
    from sammed3d.preset import Preset
    from sammed3d.zoo.onnx_export import export_onnx

    network = filled(build("fastsam3d"))
    export_onnx(network, Preset(), "FastSAM3D", tmp_path)
    patch = torch.randn(1, 1, 128, 128, 128)
    with torch.inference_mode():
        difference = np.abs(OnnxNetwork(tmp_path).encode(patch).numpy() - network.encode(patch).numpy())
    assert difference.max() < 1e-3
