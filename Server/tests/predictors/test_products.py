"""Matrix products: the faster library is used, and the answers stay."""

import pytest
import torch
from torch import nn

from networks import TINY_2D, TINY_SIZES, filled
from sammed3d import samples
from sammed3d.nets import build
from sammed3d.nets.common import Doubling
from sammed3d.nets.sam_med2d import SamMed2d
from sammed3d.predictors import processor, products
from sammed3d.predictors.machine import describe_machine
from sammed3d.predictors.products import PackedLinear, Rates
from sammed3d.zoo import load_predictor

WIDE = TINY_SIZES | {"encoder": TINY_SIZES["encoder"] | {"width": 256}}
needs_packing = pytest.mark.skipif(not products.works(), reason="torch has no packed weights here")


@pytest.fixture
def slow_with_mkl(monkeypatch):
    """A processor that MKL leaves unused, or not, as the test says."""

    def found(slow):
        monkeypatch.setattr(processor, "is_slow_with_mkl", lambda: slow)

    return found


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(512, 256), (2, 3, 5, 256), (1, 256)])
def test_a_packed_layer_answers_as_the_plain_one(shape, bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(256, 384, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        expected, answer = linear(x), PackedLinear(linear)(x)
    assert answer.shape == expected.shape
    assert torch.allclose(answer, expected, atol=2e-6)


@needs_packing
def test_an_encoder_answers_as_before_and_holds_its_weights_once(slow_with_mkl):
    slow_with_mkl(True)
    network = filled(build("sam_med3d", WIDE))
    patch = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    before = sum(p.numel() for p in network.image_encoder.parameters())
    large = [m.weight.numel() for m in network.image_encoder.modules() if isinstance(m, nn.Linear)]
    with torch.inference_mode():
        expected = network.encode(patch)
        assert products.pack(network) == len(large) == 4 * 3
        answer = network.encode(patch)
    assert torch.allclose(answer, expected, atol=1e-5 * float(expected.abs().max()))
    assert sum(p.numel() for p in network.image_encoder.parameters()) == before - sum(large)
    assert products.pack(network) == 0, "there is nothing left"


@needs_packing
def test_a_doubling_is_packed_and_answers_as_before(slow_with_mkl):
    slow_with_mkl(True)
    torch.manual_seed(0)
    network = nn.Module()
    network.image_encoder = nn.Sequential(Doubling(256), Doubling(256))
    x = torch.randn(2, 256, 4, 5)
    with torch.inference_mode():
        expected = network.image_encoder(x)
        assert products.pack(network) == 2
        answer = network.image_encoder(x)
    assert answer.shape == expected.shape == (2, 256, 16, 20)
    assert torch.allclose(answer, expected, atol=1e-5 * float(expected.abs().max()))
    assert not list(network.parameters()), "the weights are held once"


def test_what_does_not_pay_is_left_alone(slow_with_mkl):
    slow_with_mkl(False)
    network = build("sam_med3d", WIDE)
    assert products.pack(network) == 0
    assert not any(isinstance(m, PackedLinear) for m in network.modules())


def test_the_processor_decides_not_a_measurement(monkeypatch, slow_with_mkl):
    """So that the same machine answers with the same bits, whatever else it does while a model is loaded."""
    slow_with_mkl(True)
    monkeypatch.setattr(products, "rates", lambda: pytest.fail("measured"))
    products.pack(build("sam_med3d", WIDE))


@needs_packing
def test_small_layers_and_other_networks_are_left_alone(slow_with_mkl):
    slow_with_mkl(True)
    assert products.pack(build("sam_med3d", TINY_SIZES)) == 0
    assert products.pack(build("promptable_unet")) == 0
    assert products.pack(nn.Linear(512, 512)) == 0


@pytest.mark.parametrize(("precision", "packed"), [("auto", True), ("float32", True), ("bfloat16", False)])
def test_a_model_is_packed_where_it_predicts_in_float32(tiny_checkpoint, monkeypatch, precision, packed):
    asked = []
    monkeypatch.setattr(products, "pack", asked.append)
    load_predictor(tiny_checkpoint, "cpu", precision)
    assert len(asked) == packed


def test_of_a_2d_model_the_network_in_it_is_packed(monkeypatch):
    asked = []
    monkeypatch.setattr(products, "pack", asked.append)
    load_predictor(samples.SAM_MED2D_SMALL, "cpu")
    assert isinstance(asked[0], SamMed2d)


@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    [("sam_med3d", TINY_SIZES, (1, 1, 64, 64, 64)), ("sam_med2d", TINY_2D, (1, 3, 64, 64))],
    ids=["3d", "2d"],
)
def test_weights_kept_in_half_precision_give_the_bits_that_autocast_gave(name, sizes, shape):
    network = filled(build(name, sizes))
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layers = [layer for layer in network.image_encoder.modules() if isinstance(layer, nn.Linear | Doubling)]
    held = sum(p.nbytes for layer in layers for p in layer.parameters())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = network.encode(image)
        assert products.narrow(network, torch.bfloat16) == len(layers) > 0
        answer = network.encode(image)
    assert torch.equal(answer, expected)
    assert 2 * sum(p.nbytes for layer in layers for p in layer.parameters()) == held


@pytest.mark.parametrize(("precision", "kinds"), [("auto", []), ("bfloat16", [torch.bfloat16])])
def test_a_model_keeps_half_of_its_weights_where_it_predicts_so(tiny_checkpoint, monkeypatch, precision, kinds):
    asked = []
    monkeypatch.setattr(products, "narrow", lambda network, kind: asked.append(kind))
    load_predictor(tiny_checkpoint, "cpu", precision)
    assert asked == kinds


def test_a_torch_without_the_operators_keeps_its_own(monkeypatch, slow_with_mkl):
    def missing(_linear):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(products, "PackedLinear", missing)
    monkeypatch.setattr(products, "works", products.works.__wrapped__)
    slow_with_mkl(True)
    assert not products.works()
    assert products.pack(build("sam_med3d", WIDE)) == 0
    assert products.rates().packed is None
    assert "no packed weights" in str(products.rates())


@needs_packing
def test_the_machine_is_described_with_what_was_chosen(slow_with_mkl):
    assert "GFLOP/s" in describe_machine()["matrix products"]
    slow_with_mkl(True)
    assert str(Rates(71.2, 168.9)) == "oneDNN's (torch's own 71, oneDNN with packed weights 169 GFLOP/s)"
    slow_with_mkl(False)
    assert str(Rates(160.0, 140.0)).startswith("torch's own (")
