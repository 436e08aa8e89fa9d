"""Tempered answers: what is shown of them and what counts, with a small network of the real class."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from counting import CLICKS, Counting, patch_at
from networks import TINY_PRESET
from sammed3d.errors import PromptError
from sammed3d.inference.predictor import PatchPrompts
from sammed3d.nets.tempering import Tempering
from sammed3d.predictors.torch_predictor import TorchPredictor


@pytest.fixture
def predictor(tiny_network):
    return TorchPredictor(tiny_network, TINY_PRESET, device="cpu")


def test_early_answers_of_a_new_object_are_raised_and_what_is_fed_back_is_not(tiny_network):
    patch, mask = patch_at(), np.ones((16, 16, 16), np.float32)
    raised = Counting(tiny_network)
    raised.tempering = Tempering(early=1.5, reach=1e6, against=1.0)  # of each answer all counts
    plain, shown = (TorchPredictor(n, TINY_PRESET, device="cpu") for n in (tiny_network, raised))
    for count in (3, 1, 2, 3):  # in another order than they were clicked, and known already
        prompts = PatchPrompts(CLICKS[:count])
        difference = shown.predict(patch, prompts).low_res - plain.predict(patch, prompts).low_res
        assert np.allclose(difference, 1.5 / count, atol=1e-4)
    drawn = PatchPrompts(CLICKS[:1], mask_prompt=mask)
    assert np.array_equal(shown.predict(patch, drawn).low_res, plain.predict(patch, drawn).low_res)


def test_a_further_click_counts_less_where_it_goes_against_its_sign(tiny_network):
    patch, tempered = patch_at(), Counting(tiny_network)
    tempered.tempering = Tempering(early=0.0, reach=2.0, against=0.25)
    predictor = TorchPredictor(tempered, TINY_PRESET, device="cpu")
    before = TorchPredictor(tiny_network, TINY_PRESET, device="cpu").predict(patch, PatchPrompts(CLICKS[:1])).low_res
    with torch.inference_mode():
        embedding = tiny_network.encode(torch.tensor(patch.voxels)[None, None])
        for click in (CLICKS[1], CLICKS[2]):  # negative, positive
            coords, labels = torch.tensor([[click.voxel]]), torch.tensor([[int(click.positive)]])
            answer, _ = tiny_network.decode(embedding, coords, labels, torch.tensor(before)[None, None])
            change = answer[0, 0].numpy() - before
            counted = predictor.predict(patch, PatchPrompts([CLICKS[0], click])).low_res - before
            with_it = change > 0 if click.positive else change < 0
            assert np.allclose(counted[~with_it], 0.25 * change[~with_it], atol=1e-5)
            if click.positive:
                assert np.allclose(counted[with_it], change[with_it], atol=1e-5)
            else:
                place = np.array(click.voxel) / 4 - 0.375
                squared = sum((axis - at) ** 2 for axis, at in zip(np.ogrid[:16, :16, :16], place, strict=True))
                assert np.allclose(counted[with_it], (np.exp(-squared / 8) * change)[with_it], atol=1e-5)


def ball(radius):
    """A mask as a mask prompt: 5 inside, -5 outside."""
    squared = sum((axis - 8) ** 2 for axis in np.ogrid[:16, :16, :16])
    return np.where(squared <= radius**2, 5, -5).astype(np.float32)


@pytest.mark.parametrize("click", CLICKS[:2], ids=["positive", "negative"])
def test_the_first_click_on_a_mask_counts_as_a_further_one_does(tiny_network, click):
    patch, refining = patch_at(), Counting(tiny_network)
    refining.tempering = Tempering(early=1.5, reach=8.0, against=0.25, depth=1.0, beyond=2.0)
    predictor = TorchPredictor(refining, TINY_PRESET, device="cpu")
    assert predictor.capabilities.refines_masks
    place = [voxel / 4 - 0.375 for voxel in click.voxel]
    with torch.inference_mode():
        embedding = tiny_network.encode(torch.tensor(patch.voxels)[None, None])
        coords, labels = torch.tensor([[click.voxel]]), torch.tensor([[int(click.positive)]])
        before = torch.tensor(ball(5))[None, None]
        answer, _ = tiny_network.decode(embedding, coords, labels, before)
        counts = refining.tempering.further(before, answer, place, click.positive, from_mask=True)
        again, _ = tiny_network.decode(embedding, coords, labels, counts)
        after_two = refining.tempering.further(counts, again, place, click.positive, from_mask=True)
    assert not torch.allclose(counts, answer, atol=0.1)
    asked = PatchPrompts([click], mask_prompt=ball(5), from_mask=True)
    for prompts, expected in ((asked, counts), (replace(asked, clicks=[click, click]), after_two)):
        assert np.allclose(predictor.predict(patch, prompts).low_res, expected[0, 0].numpy(), atol=1e-4)
    for prompts in (
        replace(asked, from_mask=False),
        replace(asked, from_mask=False, mask_prompt=np.zeros_like(ball(5))),
    ):
        plain = TorchPredictor(tiny_network, TINY_PRESET, device="cpu").predict(patch, prompts)
        assert np.array_equal(predictor.predict(patch, prompts).low_res, plain.low_res), "answers and hints are none"


def test_a_published_network_takes_a_mask_as_it_was_trained_to(predictor):
    assert not predictor.capabilities.refines_masks
    asked = PatchPrompts(CLICKS[:2], mask_prompt=ball(5))
    found = [predictor.predict(patch_at(), replace(asked, from_mask=word)).low_res for word in (True, False)]
    assert np.array_equal(*found)


def test_a_click_on_a_mask_reaches_as_far_as_it_lies_from_the_edge_and_a_little_more():
    tempering, outside = Tempering(early=0.0, reach=8.0, against=0.2, depth=1.5), torch.full((1, 1, 16, 16, 16), -5.0)

    def far_gone(before, place, from_mask):
        found = tempering.further(before, outside, place, positive=False, from_mask=from_mask)
        gone = np.argwhere(((before > 0) & (found <= 0))[0, 0].numpy())
        return np.linalg.norm(gone - place, axis=1).max()

    half = np.sqrt(2 * np.log(2))  # of what the answer takes away that much counts at this many standard deviations
    mask = -outside.clone()
    mask[..., :4] = -5.0
    for depth, reach in ((1, 2.0), (2, 3.0), (4, 6.0)):
        place = (8, 8, 3 + depth)
        assert reach * half - 1 < far_gone(mask, place, from_mask=True) <= reach * half
        assert far_gone(mask, place, from_mask=False) > 8.0, "of an answer of its own"
    adding = replace(tempering, beyond=2.0)
    for distance, reach in ((1, 2.0), (3, 6.0)):
        place = (8, 8, 3 - distance + 1)
        added = adding.further(mask, -outside, place, positive=True, from_mask=True) > 0
        new = np.argwhere((added & (mask <= 0))[0, 0].numpy())
        assert reach * half - 1 < np.linalg.norm(new - place, axis=1).max() <= reach * half
        everywhere = adding.further(mask, -outside, place, positive=True)
        assert bool((everywhere > 0).all()), "on an answer of its own it counts everywhere"
    all_inside = -outside
    assert far_gone(all_inside, (8, 8, 8), from_mask=True) == far_gone(all_inside, (8, 8, 8), from_mask=False)


def test_every_click_holds_where_it_lies_and_an_answer_that_agrees_is_left_alone():
    tempering = Tempering(early=1.0, reach=8.0, against=0.2, hold=True)
    noise = np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32)
    places, kinds = [(3.25, 9.75, 12.0), (0.0, 15.0, 7.5), (11.5, 4.25, -0.25)], [True, False, False]
    rounded = [np.add(place, np.subtract(way, 1) / 4) for place in places for way in np.ndindex(3, 3, 3)]
    far = np.ones(noise.shape, bool)
    for place in places:
        far[tuple(slice(max(0, int(np.floor(at - 0.25))), int(np.floor(at + 0.25)) + 2) for at in place)] = False
    assert far.mean() > 0.9
    for answer in (noise, noise - 3, noise + 3):
        held = answer.copy()
        tempering.make_hold(held, places, kinds)
        found = map_coordinates(held, np.transpose(rounded), order=1, mode="nearest").reshape(3, 27)
        assert ((found > 0) == np.array(kinds)[:, None]).all(), "wherever it was before it was rounded"
        assert np.array_equal(held[far], answer[far])
    agrees = np.where(far, noise, 0.4).astype(np.float32)
    for unchanged, asked in ((agrees, tempering), (noise, Tempering(early=1.0, reach=8.0, against=0.2))):
        held = unchanged.copy()
        asked.make_hold(held, places, [True] * 3)
        assert np.array_equal(held, unchanged)


def test_answers_to_one_click_and_to_more_hold(tiny_network):
    patch, holding = patch_at(), Counting(tiny_network)
    holding.tempering = Tempering(early=1.5, reach=1e6, against=1.0, hold=True)
    plain, held = (TorchPredictor(n, TINY_PRESET, device="cpu") for n in (tiny_network, holding))

    def agree(predictor, clicks):
        shown = predictor.predict(patch, PatchPrompts(clicks)).low_res
        places = np.transpose([(np.array(click.voxel) + 0.5) / 4 - 0.5 for click in clicks])
        inside = map_coordinates(shown, places, order=1, mode="nearest") > 0
        return inside.tolist() == [click.positive for click in clicks]

    agreed = []
    for first, second in ((True, True), (True, False), (False, True), (False, False)):
        clicks = [replace(CLICKS[0], positive=first), replace(CLICKS[2], positive=second)]
        for count in (2, 1):
            assert agree(held, clicks[:count])
            agreed.append(agree(plain, clicks[:count]))
    assert not all(agreed), "by itself the network agrees with some only"


WIDE = Tempering(early=1.5, reach=1e6, against=1.0, wide=0.75, large=100, small=0.5)  # of further answers all counts


def wide_answer(voxels):
    """A wide patch's answer, with so many voxels inside."""
    answer = np.full((16, 16, 16), -6.0, np.float32)
    answer.reshape(-1)[:voxels] = 4.0
    return answer


def test_the_first_answer_on_a_large_object_is_blended_with_the_wide_patchs_and_goes_on_from_there(tiny_network):
    network, patch, wide = Counting(tiny_network), patch_at(), wide_answer(101)
    network.tempering = WIDE
    predictor = TorchPredictor(network, TINY_PRESET, device="cpu")
    assert predictor.capabilities.looks_wide
    plain = TorchPredictor(tiny_network, TINY_PRESET, device="cpu").predict(patch, PatchPrompts(CLICKS[:1])).low_res
    assert (plain > 0).sum() > 25, "a quarter of what is large"
    blended = 0.25 * plain + 0.75 * wide
    for count in (2, 1):  # in another order than they were clicked
        prompts = PatchPrompts(CLICKS[:count], mask_prompt=wide, from_wide=True)
        found = predictor.predict(patch, prompts).low_res
        with torch.inference_mode():
            expected = torch.tensor(blended)[None, None]
            if count == 2:
                embedding = tiny_network.encode(torch.tensor(patch.voxels)[None, None])
                coords, labels = torch.tensor([[CLICKS[1].voxel]]), torch.tensor([[0]])
                expected, _ = tiny_network.decode(embedding, coords, labels, expected)
        assert np.allclose(found, expected[0, 0].numpy() + 1.5 / count, atol=1e-4)
    assert (network.encodes, network.decodes) == (1, 2), "and the first answer is known"
    assert not np.allclose(predictor.predict(patch, PatchPrompts(CLICKS[:1], mask_prompt=wide)).low_res, found)


def test_the_first_answer_on_a_small_object_is_the_patchs_own_and_raised_by_less(tiny_network):
    network, patch = Counting(tiny_network), patch_at()
    network.tempering, network.first_passes = WIDE, 2
    predictor = TorchPredictor(network, TINY_PRESET, device="cpu")
    for count in (1, 3):
        alone = predictor.predict(patch, PatchPrompts(CLICKS[:count])).low_res
        prompts = PatchPrompts(CLICKS[:count], mask_prompt=wide_answer(100), from_wide=True)
        lower = 0.75 if count == 1 else 0.0
        assert np.allclose(predictor.predict(patch, prompts).low_res, alone - lower, atol=1e-4)


def test_a_wide_patchs_answer_counts_only_where_both_find_something_large():
    for inside, in_wide, counts in ((26, 101, True), (25, 101, False), (26, 100, False)):
        answer, wide = (torch.tensor(wide_answer(voxels)) for voxels in (inside, in_wide))
        blended = WIDE.blended(answer, wide)
        assert (blended is not None) == counts
        if counts:
            assert torch.allclose(blended, 0.25 * answer + 0.75 * wide)


def test_a_model_that_looks_at_no_wide_patch_refuses_its_answer(predictor):
    assert not predictor.capabilities.looks_wide
    with pytest.raises(PromptError, match="takes no answer of a wide patch here"):
        predictor.predict(patch_at(), PatchPrompts(CLICKS[:1], mask_prompt=wide_answer(5), from_wide=True))


def test_that_there_is_a_wide_patchs_answer_is_not_said_without_one(tiny_network):
    network = Counting(tiny_network)
    network.tempering = WIDE
    with pytest.raises(PromptError, match="Ask without it"):
        TorchPredictor(network, TINY_PRESET, device="cpu").predict(patch_at(), PatchPrompts(CLICKS[:1], from_wide=True))


def test_an_object_is_new_or_started_from_a_mask(predictor):
    both = PatchPrompts(CLICKS[:1], mask_prompt=ball(5), from_wide=True, from_mask=True)
    with pytest.raises(PromptError, match="a new one, or it started from a mask"):
        predictor.predict(patch_at(), both)
