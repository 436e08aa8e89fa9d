"""The in-process predictor, with a small network of the real class."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from counting import CLICKS, Counting, patch_at
from helpers import small_volume
from networks import TINY_2D, TINY_PRESET, TINY_PRESET_2D, TINY_SIZES, filled
from sammed3d.core.geometry import Box, Grid
from sammed3d.errors import ModelError, PredictionCancelled, PromptError
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import Cancellation, PatchBox, PatchClick, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.nets import Slicewise, build
from sammed3d.nets.slicewise import normalised
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


@pytest.mark.parametrize("name", ["sam_med3d_boxes", "sam_med2d"])
def test_a_box_is_its_first_and_last_corner_and_masks_are_weighed_best_first(name):
    """And a further click is a pass of its own: in 2-D with the box again, in 3-D alone."""
    box, click = PatchBox((9.0, 12.0, 0.0), (50.0, 44.0, 0.0)), PatchClick((30.0, 20.0, 0.0), True)
    flat = name == "sam_med2d"
    network = filled(build(name, TINY_2D if flat else TINY_SIZES))
    network.mask_decoder.iou_prediction_head.layers[-1].bias.data[3] += 2  # the last of three masks is the best
    preset = TINY_PRESET_2D if flat else replace(TINY_PRESET, boxes=True)
    voxels = np.random.default_rng(0).uniform(0, 255, preset.patch_shape).astype(np.float32)
    patch = Patch(voxels, Box((0, 0, 0), preset.patch_shape), Grid(preset.patch_shape, np.eye(4)))
    predictor = TorchPredictor(Slicewise(network) if flat else network, preset, device="cpu")
    nothing = torch.zeros(1, 0, 2 if flat else 3), torch.zeros(1, 0)
    with torch.inference_mode():
        if flat:
            image = torch.tensor(voxels[..., 0].T)[None, None]
            embedding = network.encode(normalised(image))
            corners, coords = torch.tensor([[9.0, 12.0, 50.0, 44.0]]), torch.tensor([[[30.0, 20.0]]])
            masks, scores = network.decode(embedding, *nothing, None, corners)
            best = masks[:, scores.argmax(1)]
            masks, scores = network.decode(embedding, coords, torch.ones(1, 1), best.sigmoid(), corners)
            expected = masks[0, scores[0].argsort(descending=True)].transpose(1, 2)[..., None]
        else:
            embedding = network.encode(torch.tensor(voxels)[None, None])
            corners, coords = torch.tensor([[9.0, 12, 0, 50, 44, 0]]), torch.tensor([[[30.0, 20, 0]]])
            first, _ = network.decode(embedding, *nothing, torch.zeros(1, 1, 16, 16, 16), boxes=corners)
            expected = network.decode(embedding, coords, torch.ones(1, 1), first)[0][0]
    prompts = PatchPrompts([click], box)
    assert np.abs(predictor.predict(patch, prompts).low_res - expected[0].numpy()).max() < 1e-5
    if flat:
        weighed = predictor.candidates(patch, prompts)
        assert [each.score for each in weighed] == pytest.approx(scores[0].sort(descending=True)[0].tolist())
        assert scores[0].argmax() == 2
        assert np.abs(np.stack([each.low_res for each in weighed]) - expected.numpy()).max() < 1e-5


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
