"""The in-process predictor, with a small network of the real class."""

import threading

import numpy as np
import pytest
import torch

from counting import CLICKS, Counting, patch_at
from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.errors import ModelError, PredictionCancelled, PromptError
from sammed3d.inference.predictor import Cancellation, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.predictors.tensor_cache import TensorCache
from sammed3d.predictors.torch_predictor import TorchPredictor, choose_device, choose_precision


@pytest.fixture
def network(tiny_network):
    return Counting(tiny_network)


@pytest.fixture
def predictor(network):
    return TorchPredictor(network, TINY_PRESET, device="cpu")


def test_clicks_are_applied_one_by_one_with_the_logits_fed_back(predictor, tiny_network):
    patch = patch_at()
    with torch.inference_mode():
        embedding = tiny_network.encode(torch.tensor(patch.voxels)[None, None])
        low_res = torch.zeros(1, 1, 16, 16, 16)
        for click in CLICKS:
            coords, labels = torch.tensor([[click.voxel]]), torch.tensor([[int(click.positive)]])
            low_res, _ = tiny_network.decode(embedding, coords, labels, low_res)
    prediction = predictor.predict(patch, PatchPrompts(CLICKS))
    assert np.array_equal(prediction.low_res, low_res[0, 0].numpy())
    assert prediction.score is None, "SAM-Med3D's scores are untrained"


def test_a_further_click_costs_one_decoder_pass_and_a_known_one_none(predictor, network):
    patch = patch_at()
    for count, decodes in ((1, 1), (2, 2), (3, 3), (2, 3), (3, 3)):
        predictor.predict(patch, PatchPrompts(CLICKS[:count]))
        assert (network.encodes, network.decodes) == (1, decodes)
    predictor.predict(patch, PatchPrompts(CLICKS[1:]))
    assert (network.encodes, network.decodes) == (1, 5)
    predictor.predict(patch_at((100.0, 120.0, 90.0)), PatchPrompts(CLICKS[:1]))
    assert network.encodes == 2


def test_an_initial_mask_is_the_first_mask_prompt(predictor):
    patch = patch_at()
    mask = np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32)
    plain = predictor.predict(patch, PatchPrompts(CLICKS[:1])).low_res
    refined = predictor.predict(patch, PatchPrompts(CLICKS[:1], mask_prompt=mask)).low_res
    zeros = predictor.predict(patch, PatchPrompts(CLICKS[:1], mask_prompt=np.zeros_like(mask))).low_res
    assert not np.array_equal(plain, refined)
    assert np.array_equal(plain, zeros)


def test_a_cache_too_small_changes_nothing_but_the_work(tiny_network):
    network = Counting(tiny_network)
    forgetful = TorchPredictor(network, TINY_PRESET, device="cpu", cache_mib=0)
    patch = patch_at()
    first = forgetful.predict(patch, PatchPrompts(CLICKS)).low_res
    assert np.array_equal(forgetful.predict(patch, PatchPrompts(CLICKS)).low_res, first)
    assert network.encodes == 2


def test_cancelling_stops_between_layers(predictor, network):
    cancellation = Cancellation()
    network.on_layer = cancellation.cancel
    with pytest.raises(PredictionCancelled):
        predictor.predict(patch_at(), PatchPrompts(CLICKS), cancellation)
    assert (network.layers, network.decodes) == (1, 0)
    network.on_layer = lambda: None
    predictor.predict(patch_at(), PatchPrompts(CLICKS))
    assert network.decodes == 3


def test_a_cancelled_click_leaves_the_session_as_it_was(predictor, network):
    session = Session(small_volume((70, 80, 60)), predictor)
    session.click((60.0, 75.0, 45.0))
    mask = session.mask()
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        session.click((70.0, 75.0, 45.0), cancellation=cancellation)
    assert np.array_equal(session.mask(), mask)
    assert len(session.current.clicks) == 1


def test_threads_get_the_answers_they_would_get_alone(predictor, tiny_network):
    patches = [patch_at(w) for w in ((60.0, 75.0, 45.0), (100.0, 120.0, 90.0), (30.0, 30.0, 30.0))]
    alone = [
        TorchPredictor(tiny_network, TINY_PRESET, device="cpu").predict(p, PatchPrompts(CLICKS)).low_res
        for p in patches
    ]
    answers = {}

    def work(n):
        answers[n] = predictor.predict(patches[n % 3], PatchPrompts(CLICKS)).low_res

    threads = [threading.Thread(target=work, args=(n,)) for n in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answers[n], alone[n % 3]) for n in range(9))


def test_no_click_is_an_error(predictor):
    with pytest.raises(PromptError, match="at least one click"):
        predictor.predict(patch_at(), PatchPrompts([]))


def test_devices_are_chosen_and_refused_in_words():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected
    for bad in ("gpu", "cuda:99", "toaster:1"):
        with pytest.raises(ModelError, match=f"'{bad}' cannot be used here"):
            choose_device(bad)


def test_precisions_are_chosen_and_refused_in_words():
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) is None
    assert choose_precision("bfloat16", cpu) is torch.bfloat16
    with pytest.raises(ModelError, match="float16 is not supported on the CPU"):
        choose_precision("float16", cpu)
    with pytest.raises(ModelError, match="Unknown precision 'int3'"):
        choose_precision("int3", cpu)


def test_bfloat16_gives_nearly_the_same_mask(tiny_network):
    patch = patch_at()
    exact = TorchPredictor(tiny_network, TINY_PRESET, device="cpu").predict(patch, PatchPrompts(CLICKS)).low_res > 0
    mixed = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", precision="bfloat16")
    assert mixed.precision == "mixed bfloat16"
    rough = mixed.predict(patch, PatchPrompts(CLICKS)).low_res > 0
    assert 2 * (exact & rough).sum() / (exact.sum() + rough.sum()) > 0.95


def test_the_result_belongs_to_the_caller(predictor):
    patch = patch_at()
    first = predictor.predict(patch, PatchPrompts(CLICKS)).low_res
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(predictor.predict(patch, PatchPrompts(CLICKS)).low_res, kept)


def test_caches_count_what_they_hold_and_hold_no_more_than_they_count(predictor, tiny_network):
    large = torch.zeros(4, 8)
    cache = TensorCache(torch.device("cpu"), 64, 0)
    cache.put("part", large[:1])
    assert cache.bytes == (32, 64)
    assert cache.get("part").untyped_storage().nbytes() == 32, "not all of the tensor that it was a part of"
    predictor.predict(patch_at(), PatchPrompts(CLICKS))
    held = predictor.cache_bytes()
    assert held["logits"][0] == len(CLICKS) * 16**3 * 4
    assert held["embeddings"][0] == tiny_network.encode(torch.zeros(1, 1, 64, 64, 64)).nelement() * 4
