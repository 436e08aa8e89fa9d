"""The small convolutional network of the default model."""

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
from sammed3d.nets.promptable_unet import PromptableUNetConfig
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


def test_every_pass_sees_all_clicks_so_far():
    seen = []

    class Watched(nets.PromptableUNet):
        def decode(self, embedding, coords, labels, low_res, *, boxes=None):
            seen.append(coords.shape[1])
            return super().decode(embedding, coords, labels, low_res)

    volume = small_volume()
    lattice = Lattice(volume.grid, PRESET.spacing)
    patch = cut_patch(volume, lattice, lattice.window_at((60, 75, 45), PRESET.patch_shape), PRESET)
    predictor = TorchPredictor(Watched(PromptableUNetConfig().with_sizes(SIZES)), PRESET, device="cpu")
    predictor.predict(patch, PatchPrompts([PatchClick((3.0, 4.0, float(n)), True) for n in range(3)]))
    assert seen == [1, 2, 3]


def test_unknown_sizes_are_refused():
    with pytest.raises(ModelError, match="Unknown network size"):
        nets.build("promptable_unet", {"depth": 3})
