"""SAM-Med3D and FastSAM3D at full size against what the published code answers for the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import golden_fill
from networks import filled
from sammed3d.errors import ModelError
from sammed3d.nets import build

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity 3d")]  # networks of full size, each built once


@pytest.fixture(scope="module", params=["sam_med3d", "fastsam3d", "fastsam3d_teacher"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def golden(name):
    return np.load(GOLDEN / f"{name}_seed0.npz")


@pytest.fixture(scope="module")
def network(name):
    return filled(build(name))


@pytest.fixture(scope="module")
def embedding(network, golden):
    patch = torch.from_numpy(golden_fill.patch(int(golden["seed"])))[None]
    with torch.inference_mode():
        return network.encode(patch)


def decode(network, embedding, golden, clicks, low_res, multimask=False):
    coords = torch.from_numpy(golden["clicks"])[None, clicks].float()
    labels = torch.from_numpy(golden["labels"])[None, clicks]
    with torch.inference_mode():
        return network.decode(embedding, coords, labels, low_res, multimask)


def differs(logits, expected):
    return np.abs(logits.numpy() - expected).max()


def test_state_dict_has_the_published_keys_and_shapes(name, network):
    published = json.loads((GOLDEN / f"{name}_keys.json").read_text())
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == published
    assert len(published) == {"sam_med3d": 324, "fastsam3d": 216, "fastsam3d_teacher": 324}[name]


def test_image_embedding(embedding, golden):
    assert embedding.shape == (1, 384, 8, 8, 8)
    assert differs(embedding[0, ::8], golden["embedding_every_8th_channel"]) < TOLERANCE
    assert np.allclose([embedding.mean(), embedding.std()], golden["embedding_mean_std"], atol=1e-5)


def test_newest_click_only_with_logits_fed_back(network, embedding, golden):
    low_res = torch.zeros(1, 1, 32, 32, 32)
    for n in range(5):
        low_res, scores = decode(network, embedding, golden, slice(n, n + 1), low_res)
        assert low_res.shape == (1, 1, 32, 32, 32)
        assert scores.shape == (1, 1)
        assert differs(low_res[0, 0], golden[f"newest_only_{n}"]) < TOLERANCE


def test_accumulated_clicks_and_mask_prompt_alone(network, embedding, golden):
    low_res = torch.zeros(1, 1, 32, 32, 32)
    for n in range(5):
        low_res, _ = decode(network, embedding, golden, slice(0, n + 1), low_res)
        if f"accumulated_{n}" in golden:
            assert differs(low_res[0, 0], golden[f"accumulated_{n}"]) < TOLERANCE
    alone, _ = decode(network, embedding, golden, slice(0, 0), low_res)
    assert differs(alone[0, 0], golden["mask_prompt_only"]) < TOLERANCE


def test_multimask_without_mask_prompt(network, embedding, golden):
    logits, scores = decode(network, embedding, golden, slice(0, 1), None, multimask=True)
    assert logits.shape == (1, 3, 32, 32, 32)
    assert differs(logits[0, 1], golden["no_mask_multimask_1"]) < TOLERANCE
    assert differs(scores[0], golden["iou_multimask"]) < TOLERANCE


def test_one_embedding_serves_a_batch_of_prompts(network, embedding, golden):
    coords = torch.from_numpy(golden["clicks"])[:3, None].float()
    labels = torch.from_numpy(golden["labels"])[:3, None]
    with torch.inference_mode():
        batch, _ = network.decode(embedding, coords, labels, torch.zeros(3, 1, 32, 32, 32))
        for n in range(3):
            one, _ = network.decode(embedding, coords[n : n + 1], labels[n : n + 1], torch.zeros(1, 1, 32, 32, 32))
            assert (batch[n] - one[0]).abs().max() < TOLERANCE


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(ModelError, match="no network named 'sam4'"):
        build("sam4")
    with pytest.raises(ModelError, match="Unknown network size"):
        build("sam_med3d", {"encoder": {"colour": 3}})
