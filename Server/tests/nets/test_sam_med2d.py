"""SAM-Med2D and FT-SAM: published keys and shapes, prompts, and the adapter against its formula."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from networks import filled
from sammed3d.errors import ModelError
from sammed3d.nets import build
from sammed3d.nets.image_encoder_2d import Adapter, Attention2d
from sammed3d.nets.slicewise import normalised

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(("name", "count"), [("sam_med2d", 386), ("ft_sam2d", 314)])
def test_state_dict_has_the_published_keys_and_shapes(name, count):
    with torch.device("meta"):
        state = build(name).state_dict()
    published = json.loads((GOLDEN / f"{name}_keys.json").read_text())
    assert {k: list(v.shape) for k, v in state.items()} == published
    assert len(published) == count


def test_images_are_normalised_as_published_and_are_nothing_in_the_padding():
    image = torch.tensor([[0.0, 255.0], [-1.0, 100.0]])[None, None]
    expected = torch.tensor(
        [[[-2.117904, 2.248908], [0.0, -0.405428]], [[-2.035714, 2.428571], [0.0, -0.285014]],
         [[-1.804444, 2.64], [0.0, -0.061525]]]
    )  # fmt: skip
    assert (normalised(image)[0] - expected).abs().max() < 1e-5
    assert (normalised(image.expand(1, 3, 2, 2))[0] - expected).abs().max() < 1e-5


@pytest.mark.slow
def test_points_boxes_and_masks_all_matter():
    network = filled(build("ft_sam2d"))
    coords, labels = torch.tensor([[[64.0, 70.0], [200.0, 30.0]]]), torch.tensor([[1, 0]])
    box, mask = torch.tensor([[20.0, 30.0, 100.0, 120.0]]), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        embedding = network.encode(torch.randn(1, 3, 256, 256))
        assert embedding.shape == (1, 256, 16, 16)
        answers = [
            network.decode(embedding, coords, labels, None)[0],
            network.decode(embedding, coords[:, :1], labels[:, :1], None)[0],
            network.decode(embedding, coords[:, :0], labels[:, :0], None, box)[0],
            network.decode(embedding, coords, labels, None, box)[0],
            network.decode(embedding, coords, labels, mask)[0],
        ]
        single, score = network.decode(embedding, coords, labels, mask, box, multimask=False)
    assert single.shape == (1, 1, 64, 64)
    assert score.shape == (1, 1)
    for n, one in enumerate(answers):
        assert one.shape == (1, 3, 64, 64)
        assert all((one - other).abs().max() > 1e-3 for other in answers[:n])


@pytest.mark.slow
def test_the_order_of_points_does_not_matter_but_their_label_does():
    network = filled(build("ft_sam2d"))
    coords, labels = torch.tensor([[[64.0, 70.0], [200.0, 30.0]]]), torch.tensor([[1, 0]])
    with torch.inference_mode():
        embedding = network.encode(torch.randn(1, 3, 256, 256))
        one, _ = network.decode(embedding, coords, labels, None)
        swapped, _ = network.decode(embedding, coords.flip(1), labels.flip(1), None)
        flipped, _ = network.decode(embedding, coords, 1 - labels, None)
    assert (one - swapped).abs().max() < 1e-4
    assert (one - flipped).abs().max() > 1e-3


def test_boxes_in_3d_are_for_networks_that_know_them():
    sizes = {"encoder": {"image_size": 64, "width": 24, "depth": 1, "heads": 2, "out_channels": 48}}
    network = filled(build("sam_med3d_boxes", sizes))
    embedding, low_res = torch.randn(1, 48, 4, 4, 4), torch.zeros(1, 1, 16, 16, 16)
    no_click = (torch.zeros(1, 0, 3), torch.zeros(1, 0))
    box = torch.tensor([[10.0, 12, 14, 40, 42, 44]])
    with torch.inference_mode():
        one, _ = network.decode(embedding, *no_click, low_res, boxes=box)
        other, _ = network.decode(embedding, *no_click, low_res, boxes=box + 5)
        assert (one - other).abs().max() > 1e-3
        with pytest.raises(ModelError, match="does not know boxes"):
            build("sam_med3d", sizes).decode(embedding, *no_click, low_res, boxes=box)


def test_the_adapter_is_its_formula():
    adapter = filled(Adapter(16)).double()
    x = torch.randn(2, 8, 8, 16, dtype=torch.float64)
    image = x.permute(0, 3, 1, 2)
    pooled = functional.adaptive_avg_pool2d(image, 1).flatten(1)
    gate = torch.sigmoid(torch.relu(pooled @ adapter.channel[0].weight.T) @ adapter.channel[2].weight.T)
    down = torch.relu(functional.conv2d(image * gate[..., None, None], adapter.spatial[0].weight, stride=2, padding=1))
    up = torch.relu(functional.conv_transpose2d(down, adapter.spatial[2].weight, stride=2, padding=1))
    expected = functional.layer_norm(x + up.permute(0, 2, 3, 1), (16,), adapter.norm.weight, adapter.norm.bias, 1e-5)
    with torch.inference_mode():
        assert (adapter(x) - expected).abs().max() < 1e-12


@pytest.mark.parametrize(("grid", "window"), [(16, 14), (8, 4), (6, 0)])
def test_attention_is_its_formula_with_padded_tokens(grid, window):
    attention = filled(Attention2d(8, 2, window, grid)).double()
    x = torch.randn(1, grid, grid, 8, dtype=torch.float64)
    n = attention.window
    size = -(-grid // n) * n
    padded = functional.pad(x, (0, 0, 0, size - grid, 0, size - grid))
    expected = torch.zeros_like(padded)
    with torch.inference_mode():
        for i in range(0, size, n):
            for j in range(0, size, n):
                qkv = attention.qkv(padded[0, i : i + n, j : j + n]).view(n * n, 3, 2, 4)
                heads = []
                for head in range(2):
                    q, k, v = qkv[:, :, head].unbind(1)
                    bias = torch.zeros(n, n, n, n, dtype=torch.float64)
                    for a in range(n):
                        bias[a] += (q.view(n, n, 4)[a] @ attention.rel_pos_h[a - torch.arange(n) + n - 1].T)[..., None]
                        columns = attention.rel_pos_w[a - torch.arange(n) + n - 1]
                        bias[:, a] += (q.view(n, n, 4)[:, a] @ columns.T)[:, None, :]
                    heads.append(torch.softmax(q @ k.T / 2 + bias.view(n * n, n * n), -1) @ v)
                expected[0, i : i + n, j : j + n] = attention.proj(torch.cat(heads, -1)).view(n, n, 8)
        assert (attention(x) - expected[:, :grid, :grid]).abs().max() < 1e-12
