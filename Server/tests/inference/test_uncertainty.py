"""How sure a model is, and where it would like to be told: with a network that is undecided in a known place."""

import numpy as np
import pytest

from helpers import RegionPredictor, make_affine
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box, Grid
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Capabilities, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.inference.suggestion import KNOWN, suggestion_from
from sammed3d.inference.uncertainty import PASSES, SHIFTS, Uncertainty

PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))
SURE, DOUBTFUL, SHAKY = (45.0, 45.0, 45.0), (105.0, 110.0, 60.0), (60.0, 130.0, 120.0)
"""Middles of balls, RAS mm: inside, undecided, and answered as the clicks happen to lie."""


class DoubtPredictor:
    """Knows one ball, cannot tell of another, and changes its mind about a third with every voxel of a click."""

    name = "doubt"
    preset = PRESET
    capabilities = Capabilities(all_clicks=True)

    def __init__(self, undecided=0.2) -> None:
        self.calls: list = []
        self.answers: list = []
        self.undecided = undecided

    def predict(self, patch, prompts: PatchPrompts, cancellation=None) -> Prediction:
        prompts.check(self.preset)
        if cancellation is not None:
            cancellation.check()
        self.calls.append(prompts)
        centres = np.stack(np.meshgrid(*[np.arange(16) * 4 + 1.5] * 3, indexing="ij"), axis=-1)
        places = patch.grid.to_world(centres)
        logits = np.full((16, 16, 16), -9, np.float32)
        for middle, radius, value in (
            (SURE, 30, 9),
            (DOUBTFUL, 24, self.undecided),
            (SHAKY, 18, 9 if sum(v for c in prompts.clicks for v in c.voxel) % 2 else -9),
        ):
            logits[np.linalg.norm(places - np.array(middle), axis=-1) < radius] = value
        self.answers.append(logits)
        return Prediction(logits)


def volume_of(angles=(0, 0, 0), shape=(60, 60, 60)):
    rng = np.random.default_rng(0)
    return Volume(rng.integers(1, 900, shape).astype(np.int16), Grid(shape, make_affine((3,) * 3, angles)))


@pytest.fixture
def session():
    session = Session(volume_of(), DoubtPredictor())
    session.click(SURE)
    return session


def at(uncertainty, field, world):
    index = np.rint(np.array(world) / 3).astype(int) - uncertainty.box.begin
    return float(field[tuple(index)])


def test_it_is_large_where_answers_are_undecided_or_contradict_one_another(session):
    found = session.uncertainty()
    assert found.probability.shape == found.disagreement.shape == found.box.shape
    assert at(found, found.entropy, SURE) < 0.01
    assert at(found, found.entropy, DOUBTFUL) > 0.95
    assert at(found, found.disagreement, DOUBTFUL) < 0.01
    assert at(found, found.entropy, SHAKY) > 0.6
    assert at(found, found.disagreement, SHAKY) > 0.3
    assert at(found, found.entropy, (170, 20, 20)) < 0.01
    assert at(found, found.probability, SURE) > 0.99
    assert at(found, found.probability, DOUBTFUL) == pytest.approx(1 / (1 + np.exp(-0.2)), abs=0.1)
    for field in (found.probability, found.entropy):
        assert field.dtype == np.float32
        assert 0 <= field.min() <= field.max() <= 1


def test_each_pass_is_asked_a_bit_differently_within_the_patch_with_the_answer_weakened_or_as_it_is():
    session = Session(volume_of(shape=PRESET.patch_shape), DoubtPredictor())
    corner = (0.0, 189.0, 0.0)
    for click in (SURE, corner):
        session.click(click)
    *_, first, last = session.predictor.calls
    answer, before = session.predictor.answers[-1], len(session.predictor.calls)
    session.uncertainty()
    asked = session.predictor.calls[before:]
    ends = np.array(PRESET.patch_shape) - 1
    for prompts, shift, strength in zip(asked, SHIFTS, (1, 0.25, 1, 0.25), strict=True):
        assert np.array_equal(prompts.mask_prompt, answer * np.float32(strength))
        moved = [*prompts.earlier, *prompts.clicks]
        assert len(moved) == 2, "the model takes all clicks"
        for each, unmoved in zip(moved, (first.clicks[0], last.clicks[-1]), strict=True):
            assert np.array_equal(each.voxel, np.clip(np.add(unmoved.voxel, shift), 0, ends))
            assert each.positive == unmoved.positive
        assert prompts.box is None


class Elsewhere(DoubtPredictor):
    """Finds nothing in a patch that does not begin where the volume does."""

    def predict(self, patch, prompts, cancellation=None):
        found = super().predict(patch, prompts, cancellation)
        return found if patch.window.begin[0] <= 0 else Prediction(np.full_like(found.low_res, -9))


def test_in_a_further_patch_earlier_clicks_are_told_and_earlier_layers_count_where_it_fades():
    session = Session(volume_of(shape=(130, 60, 60)), Elsewhere())
    session.click((66.0, 45.0, 45.0))
    session.click((150.0, 45.0, 45.0), positive=False)
    [told], before = session.predictor.calls[-1].earlier, len(session.predictor.calls)
    found = session.uncertainty()
    for prompts, shift in zip(session.predictor.calls[before:], SHIFTS, strict=True):
        assert [each.voxel for each in prompts.earlier] == [tuple(np.add(told.voxel, shift))]
    begin = found.box.begin[0] * 3.0
    assert SURE[0] < begin < SURE[0] + 24, "it begins within the ball"
    assert at(found, found.probability, (begin, *SURE[1:])) > 0.9
    assert at(found, found.probability, (begin + 60, *SURE[1:])) < 0.1


def test_it_costs_few_passes_on_the_same_patch_and_changes_nothing(session):
    predictor = session.predictor
    before, calls = session.mask(), len(predictor.calls)
    first, again = session.uncertainty(), session.uncertainty()
    assert len(predictor.calls) == calls + 2 * PASSES <= calls + 8
    assert all(len(prompts.clicks) == 1 and prompts.mask_prompt is not None for prompts in predictor.calls[calls:])
    assert len({prompts.clicks for prompts in predictor.calls[calls:]}) == PASSES
    assert np.array_equal(first.entropy, again.entropy)
    assert np.array_equal(session.mask(), before)
    session.undo()
    assert not session.current.can_undo


def test_the_next_click_is_suggested_in_the_middle_of_the_largest_doubt(session):
    place = session.suggest()
    assert np.linalg.norm(np.array(place.world) - DOUBTFUL) < 10
    assert place.looks_inside
    assert place.probability == pytest.approx(0.55, abs=0.05)
    assert 10 < place.millilitres < 4 / 3 * np.pi * 2.4**3


def test_what_looks_outside_is_said_to():
    session = Session(volume_of(), DoubtPredictor(undecided=-0.2))
    session.click(SURE)
    assert not session.suggest().looks_inside


def test_skipped_places_and_clicks_are_not_suggested_again(session):
    places = []
    for _ in range(4):
        place = session.suggest(skipped=places)
        assert all(np.linalg.norm(np.array(place.world) - p) > KNOWN for p in places)
        places.append(place.world)
    session.click(places[0], positive=True)
    assert np.linalg.norm(np.array(session.suggest().world) - places[0]) > KNOWN


def test_places_are_right_in_oblique_volumes():
    session = Session(volume_of((0.4, -0.3, 0.2)), DoubtPredictor())
    session.click(tuple(session.volume.grid.to_world([20, 20, 20]).tolist()))
    found = session.uncertainty()
    index = session.volume.grid.to_index(session.suggest().world)
    assert session.volume.grid.contains(session.suggest().world)
    assert found.entropy[tuple(np.rint(index).astype(int) - found.box.begin)] > 0.5


def test_without_an_object_or_a_doubt_there_is_nothing_to_suggest():
    empty = Session(volume_of(), DoubtPredictor())
    assert empty.uncertainty() is None
    assert empty.suggest() is None
    empty.click(SURE, positive=False)
    assert empty.suggest() is None
    box = Box((0, 0, 0), (4, 5, 6))
    nothing = np.zeros(box.shape, np.float32)
    sure = Uncertainty(box, nothing, nothing, nothing)
    assert suggestion_from(sure, volume_of().grid) is None


def test_one_voxel_of_doubt_at_the_edge_is_found():
    box = Box((10, 20, 30), (14, 25, 36))
    probability = np.zeros(box.shape, np.float32)
    probability[3, 4, 5] = 0.4
    found = Uncertainty(box, probability, 0 * probability, (probability > 0).astype(np.float32))
    place = suggestion_from(found, volume_of().grid)
    assert place.world == pytest.approx((39, 72, 105))
    assert not place.looks_inside
    assert place.millilitres == pytest.approx(0.027)


def test_it_can_be_cancelled_and_2d_models_are_refused(session):
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        session.uncertainty(cancellation)
    flat = Session(volume_of(), RegionPredictor())
    flat.click(SURE)
    with pytest.raises(PromptError, match="slice by slice"):
        flat.suggest()
