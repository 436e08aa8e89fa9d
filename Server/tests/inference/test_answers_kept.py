"""What is kept of answers: all that the newest prompts need, of others what fits; the rest is asked for again."""

import numpy as np

from helpers import ThresholdPredictor, long_volume
from sammed3d.core.prompts import Click
from sammed3d.inference import patch_inferer
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.patch_inferer import PatchInferer
from sammed3d.inference.patch_visits import VisitAnswers
from sammed3d.inference.predictor import Prediction


def answer(number):
    return Prediction(np.full((4, 4, 4), number, np.float32))


def test_answers_of_other_walks_are_dropped_when_they_do_not_fit():
    answers = VisitAnswers(2 * answer(0).nbytes)
    chains = [(None, number) for number in range(4)]
    for number, chain in enumerate(chains):
        answers.begin()
        answers.put(chain, answer(number))
    answers.begin()
    assert [answers.get(chain) is not None for chain in chains] == [False, False, True, True]


def test_no_answer_is_dropped_that_a_long_walk_depends_on():
    answers = VisitAnswers(2 * answer(0).nbytes)
    chains = [(None, number) for number in range(6)]
    for chain in chains:
        answers.put(chain, answer(0))
    assert all(answers.of_walk(chain) is not None for chain in chains)
    for _ in range(3):  # whoever goes the same way again asks nothing
        answers.begin()
        assert all(answers.get(chain) is not None for chain in chains)


def click(z):
    return Click((90.0, 90.0, z), positive=True)


def test_prompts_of_more_visits_than_fit_ask_nothing_twice(monkeypatch):
    monkeypatch.setattr(patch_inferer, "ANSWERS", 2 * answer(0).nbytes)
    volume, predictor = long_volume(), ThresholdPredictor()
    inferer = PatchInferer(volume, predictor)
    there_and_back = tuple(click(z) for z in (100.0, 300.0, 500.0) * 3)
    for count in range(1, len(there_and_back) + 1):
        inferer.mask_of(PromptState(there_and_back[:count]))
        assert len(predictor.calls) == count
    inferer.mask_of(PromptState(there_and_back))
    assert len(predictor.calls) == len(there_and_back)


def test_what_was_dropped_is_asked_again_and_gives_the_same(monkeypatch):
    ways = [[100.0], [100.0, 300.0], [500.0], [500.0, 300.0], [100.0, 300.0, 110.0]]

    def masks_and_calls(kept):
        monkeypatch.setattr(patch_inferer, "ANSWERS", kept)
        predictor = ThresholdPredictor()
        inferer = PatchInferer(long_volume(), predictor)
        masks = [inferer.mask_of(PromptState(tuple(click(z) for z in way)))[0] for way in ways]
        return masks, len(predictor.calls)

    all_kept, asked = masks_and_calls(2**20)
    none_kept, asked_again = masks_and_calls(0)
    assert (asked, asked_again) == (5, 7)  # the first two visits of the last way, a second time
    for one, other in zip(all_kept, none_kept, strict=True):
        assert one.box == other.box
        assert np.array_equal(one.voxels, other.voxels)
