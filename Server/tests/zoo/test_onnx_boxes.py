"""Boxes given to exported 3-D networks that know them."""

import json
from dataclasses import replace

import pytest
import torch

from helpers import small_volume
from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d.errors import ModelError
from sammed3d.inference.session import Session
from sammed3d.nets import build
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.zoo import load_predictor
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.onnx.export import MODEL, export_onnx
from sammed3d.zoo.onnx.network import load_exported

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("onnx")]

SIZES = {**TINY_SIZES, "encoder": {**TINY_SIZES["encoder"], "depth": 1, "window": 0, "global_blocks": []}}
PRESET = replace(TINY_PRESET, boxes=True)


@pytest.fixture(scope="module")
def network():
    return filled(build("sam_med3d_boxes", SIZES))


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    export_onnx(LoadedModel(network, "sam_med3d_boxes", SIZES, PRESET, "Boxes"), folder)
    return folder


@pytest.mark.parametrize("prompts", ["a click", "a box", "a box and two clicks"])
def test_answers_agree_with_torch(exported, network, prompts):
    generator = torch.Generator().manual_seed(3)
    count = {"a click": 1, "a box": 0, "a box and two clicks": 2}[prompts]
    coords, labels = 64 * torch.rand(1, count, 3, generator=generator), torch.ones(1, count, dtype=torch.int64)
    boxes = torch.tensor([[10.0, 12, 14, 40, 42, 44]]) if "box" in prompts else None
    low_res = torch.randn(1, 1, 16, 16, 16, generator=generator)
    embedding = torch.randn(1, 48, 4, 4, 4, generator=generator)
    with torch.inference_mode():
        expected = network.decode(embedding, coords, labels, low_res, boxes=boxes)
        found = load_exported(exported).network.decode(embedding, coords, labels, low_res, boxes=boxes)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-3


def test_a_box_and_a_click_in_a_session(exported, network):
    masks = []
    for predictor in (load_predictor(exported), TorchPredictor(network, PRESET, device="cpu")):
        assert predictor.capabilities.boxes
        session = Session(small_volume((60, 70, 50)), predictor)
        session.set_box((30.0, 30.0, 30.0), (130.0, 150.0, 120.0))
        session.click((60.0, 75.0, 45.0))
        masks.append(session.mask())
    assert masks[0].any()
    assert (masks[0] != masks[1]).mean() < 1e-4


def test_exports_of_before_are_told_of_boxes_by_clicks(exported, tmp_path):
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    about = json.loads((tmp_path / MODEL).read_text())
    del about["box_points"]
    (tmp_path / MODEL).write_text(json.dumps(about))
    model = load_exported(tmp_path)
    assert not model.preset.boxes
    with pytest.raises(ModelError, match="takes clicks and a mask prompt"):
        model.network.decode(*(torch.zeros(0),) * 4, boxes=torch.zeros(1, 6))
