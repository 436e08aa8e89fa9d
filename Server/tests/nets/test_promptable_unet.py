"""The small convolutional network of the default model."""

import numpy as np
import pytest
import torch

from helpers import small_volume
from networks import filled
from sammed3d import nets
from sammed3d.errors import ModelError
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.nets import click_maps
from sammed3d.nets.promptable_unet import Pointwise, PromptableUNetConfig, _Convolution
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.zoo import load_predictor
from sammed3d.zoo.checkpoint import write_checkpoint

SIZES = {"patch_size": 32, "widths": [8, 16, 16, 24], "depths": [0, 1, 1, 1], "decoder_widths": [8, 16, 16, 24]}
PRESET = Preset(patch_shape=(32, 32, 32), low_res_shape=(16, 16, 16))


@pytest.fixture(scope="module")
def network():
    return filled(nets.build("promptable_unet", SIZES)).eval()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def clicks(*voxels):
    return torch.tensor([voxels], dtype=torch.float32)


@torch.inference_mode()
def test_shapes_for_any_edge_that_divides_evenly(network):
    for edge in (16, 32, 48):
        embedding = network.encode(torch.randn(2, 1, edge, edge, edge))
        coords, labels = clicks((3, 4, 5), (9, 9, 9)).expand(2, -1, -1), torch.tensor([[1, 0], [1, -1]])
        logits, scores = network.decode(embedding, coords, labels, None)
        assert logits.shape == (2, 1, edge // 2, edge // 2, edge // 2)
        assert scores.shape == (2, 1)
        assert torch.isnan(scores).all(), "it does not pretend to know its quality"


@torch.inference_mode()
def test_one_embedding_serves_several_objects(network):
    embedding = network.encode(torch.randn(1, 1, 32, 32, 32))
    first, second = clicks((3, 4, 5)), clicks((20, 9, 9))
    together, _ = network.decode(embedding, torch.cat([first, second]), torch.ones(2, 1), None)
    for n, alone in enumerate((first, second)):
        assert torch.allclose(network.decode(embedding, alone, torch.ones(1, 1), None)[0][0], together[n], atol=1e-5)


def test_one_embedding_of_several_objects_is_taught_as_if_each_had_its_own(network):
    embedding = network.encode(torch.randn(1, 1, 32, 32, 32)).detach()
    coords, labels = (
        torch.randint(0, 32, (3, 4, 3)).float(),
        torch.tensor([[1, 0, 1, 0], [1, 1, -1, 1], [1, -1, -1, -1]]),
    )

    def gradient(copies):
        shared = embedding.clone().requires_grad_()
        answer, _ = network.decode(shared.expand(copies, -1), coords, labels, None)
        answer.square().mean().backward()
        return answer.detach(), shared.grad

    (alone, of_one), (each, of_copies) = gradient(1), gradient(3)
    assert torch.allclose(alone, each, atol=1e-5)
    assert of_one.abs().max() > 0
    assert torch.allclose(of_one, of_copies, atol=1e-3 * float(of_copies.abs().max()))


@torch.inference_mode()
def test_points_that_are_none_change_nothing(network):
    embedding = network.encode(torch.randn(1, 1, 32, 32, 32))
    plain, _ = network.decode(embedding, clicks((3, 4, 5)), torch.tensor([[1]]), None)
    padded, _ = network.decode(embedding, clicks((3, 4, 5), (8, 8, 8)), torch.tensor([[1, -1]]), None)
    assert torch.allclose(plain, padded, atol=1e-6)


@torch.inference_mode()
def test_polarity_order_and_previous_logits_count_as_they_should(network):
    embedding = network.encode(torch.randn(1, 1, 32, 32, 32))
    a, b = (3.0, 4.0, 5.0), (20.0, 9.0, 9.0)
    positive, _ = network.decode(embedding, clicks(a, b), torch.tensor([[1, 1]]), None)
    mixed, _ = network.decode(embedding, clicks(a, b), torch.tensor([[1, 0]]), None)
    turned, _ = network.decode(embedding, clicks(b, a), torch.tensor([[1, 1]]), None)
    fed_back, _ = network.decode(embedding, clicks(a, b), torch.tensor([[1, 1]]), torch.full((1, 1, 16, 16, 16), 5.0))
    assert torch.allclose(positive, turned, atol=1e-5), "clicks are a set"
    assert not torch.allclose(positive, mixed, atol=1e-3)
    assert not torch.allclose(positive, fed_back, atol=1e-3)


@torch.inference_mode()
def test_the_unit_of_the_intensities_does_not_matter(network):
    patch = torch.randn(1, 1, 32, 32, 32)
    difference = network.encode(patch) - network.encode(40 * patch + 1000)
    assert difference.abs().mean() < 1e-2, "but for rounding, which may put a voxel into the next bin of ranks"


@torch.inference_mode()
def test_an_even_patch_gives_numbers(network):
    assert torch.isfinite(network.encode(torch.zeros(1, 1, 32, 32, 32))).all()


@pytest.mark.slow
def test_it_learns():
    torch.manual_seed(0)
    network = nets.build("promptable_unet", SIZES)
    patch = torch.zeros(1, 1, 32, 32, 32)
    patch[:, :, 8:20, 8:20, 8:20] = 1
    target = patch[:, :, ::2, ::2, ::2]
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        logits, _ = network.decode(network.encode(patch), clicks((12, 12, 12)), torch.ones(1, 1), None)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_it_travels_as_a_checkpoint_with_its_sizes_and_preset(network, tmp_path):
    file = tmp_path / "small.safetensors"
    half = {k: v.half() for k, v in network.state_dict().items()}
    write_checkpoint(file, half, network="promptable_unet", sizes=SIZES, preset=PRESET.to_json(), name="small")
    predictor = load_predictor(file, device="cpu")
    assert predictor.name == "small"
    assert predictor.preset == PRESET


class Watched(nets.PromptableUNet):
    """Notes for each pass how many clicks it sees, and whether logits are fed back."""

    def __init__(self):
        super().__init__(PromptableUNetConfig().with_sizes(SIZES))
        self.seen = []

    def decode(self, embedding, coords, labels, low_res, *, boxes=None):
        self.seen.append((coords.shape[1], bool(low_res.any())))
        return super().decode(embedding, coords, labels, low_res)


@pytest.fixture
def network_watched():
    return Watched()


@pytest.fixture
def watched(network_watched):
    return TorchPredictor(network_watched, PRESET, device="cpu")


@pytest.fixture
def patch():
    volume = small_volume()
    lattice = Lattice(volume.grid, PRESET.spacing)
    return cut_patch(volume, lattice, lattice.window_at((60, 75, 45), PRESET.patch_shape), PRESET)


EARLIER = [PatchClick((20.0, 20.0, 20.0), False)]
CLICKS = [PatchClick((3.0, 4.0, float(n)), True) for n in range(3)]


def test_the_first_click_is_answered_twice_and_every_pass_sees_all_clicks_so_far(watched, network_watched, patch):
    watched.predict(patch, PatchPrompts(CLICKS))
    assert network_watched.seen == [(1, False), (1, True), (2, True), (3, True)]


def test_one_click_after_another_gives_what_all_at_once_give(watched, network_watched, patch):
    alone = TorchPredictor(network_watched, PRESET, device="cpu")
    stepwise = [watched.predict(patch, PatchPrompts(CLICKS[:n])).low_res for n in (1, 2, 3)]
    assert np.array_equal(alone.predict(patch, PatchPrompts(CLICKS)).low_res, stepwise[-1])
    assert len(network_watched.seen) == 8


def test_earlier_clicks_are_seen_at_every_pass_and_have_none_of_their_own(watched, network_watched, patch):
    mask = np.full(PRESET.low_res_shape, -6.9, np.float32)
    told = watched.predict(patch, PatchPrompts(CLICKS[1:], mask_prompt=mask, earlier=EARLIER)).low_res
    assert network_watched.seen == [(2, True), (3, True)], "a mask prompt is answered once"
    untold = watched.predict(patch, PatchPrompts(CLICKS[1:], mask_prompt=mask)).low_res
    assert network_watched.seen[2:] == [(1, True), (2, True)], "another question, so not from the cache"
    assert not np.array_equal(told, untold)


def test_a_model_that_takes_the_newest_click_alone_is_shown_no_earlier_ones(network_watched, patch):
    predictor = TorchPredictor(network_watched, PRESET, device="cpu", all_clicks=False)
    plain = predictor.predict(patch, PatchPrompts(CLICKS[1:])).low_res
    assert np.array_equal(predictor.predict(patch, PatchPrompts(CLICKS[1:], earlier=EARLIER)).low_res, plain)
    assert network_watched.seen == [(1, False), (1, True), (1, True)]


def test_a_convolution_of_one_voxel_is_the_convolution_it_stands_for():
    layer = Pointwise(5, 3)
    x = torch.randn(2, 5, 4, 6, 7)
    plain = torch.nn.functional.conv3d(x, layer.weight, layer.bias)
    assert torch.allclose(layer(x), plain, atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")
def test_a_convolution_of_few_voxels_is_left_to_onednn_and_is_the_same():
    convolution = _Convolution(128).eval()
    x = torch.randn(1, 128, 8, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        expected = convolution(x)  # as it is trained
    with torch.inference_mode(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        found = convolution(x)
    assert torch.allclose(found, expected, atol=1e-5)
    assert "aten::slow_conv3d_forward" not in {event.key for event in profile.key_averages()}


def test_unknown_sizes_are_refused():
    with pytest.raises(ModelError, match="Unknown network size"):
        nets.build("promptable_unet", {"depth": 3})


@torch.inference_mode()
def test_many_clicks_give_what_all_their_maps_at_once_would_give(network, monkeypatch):
    embedding = network.encode(torch.randn(1, 1, 32, 32, 32))
    coords, labels = 32 * torch.rand(1, 50, 3), torch.randint(0, 2, (1, 50))
    labels[:, :17] = 1  # the first few at a time have no negative one
    few_at_a_time, _ = network.decode(embedding, coords, labels, None)
    monkeypatch.setattr(click_maps, "few_at_a_time", lambda clicks: [clicks])
    assert torch.allclose(network.decode(embedding, coords, labels, None)[0], few_at_a_time, atol=1e-5)


@torch.inference_mode()
def test_objects_of_one_batch_do_not_see_the_clicks_of_each_other(network):
    """A click that is positive for one is negative for another, no point for the third; one has no negative at all."""
    embedding = network.encode(torch.randn(1, 1, 32, 32, 32))
    coords, labels = 32 * torch.rand(4, 3, 3), torch.tensor([[1, 0, 1], [0, 1, 1], [1, -1, -1], [1, 1, 1]])
    together, _ = network.decode(embedding, coords, labels, None)
    for row in range(4):
        alone, _ = network.decode(embedding, coords[row : row + 1], labels[row : row + 1], None)
        assert torch.allclose(together[row : row + 1], alone, atol=1e-4)


def test_parts_side_by_side_need_not_be_put_together():
    layer = Pointwise(7, 5)
    features, maps = torch.randn(1, 4, 3, 2, 6), torch.randn(2, 3, 3, 2, 6)
    expected = layer(torch.cat([features.expand(2, -1, -1, -1, -1), maps], dim=1))
    found = layer.of_parts([features, maps])
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)


def test_likeness_is_as_exact_under_autocast():
    features = torch.linspace(-2, 2, 8**3).reshape(1, 1, 8, 8, 8).bfloat16()
    clicked, sharp = clicks((3, 4, 5), (1, 2, 6)), torch.tensor(16.0)
    exact = click_maps.likeness(features.float(), clicked, torch.tensor([[1, 0]]), sharp)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(click_maps.likeness(features, clicked, torch.tensor([[1, 0]]), sharp), exact)


def test_two_negative_clicks_on_each_of_three_objects_can_be_taught_in_bfloat16():
    """In bfloat16, oneDNN's product of 6 x 64³ and 64³ x 16 divides by zero (torch 2.13), which ends the process."""
    features = torch.randn(1, 16, 64, 64, 64).bfloat16().requires_grad_()
    coords = torch.randint(0, 64, (3, 3, 3)).float()
    with torch.autocast("cpu", torch.bfloat16):
        alike = click_maps.likeness(features, coords, torch.tensor([[1, 0, 0]]).expand(3, -1), torch.tensor(1.0))
    alike.sum().backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad.any()
