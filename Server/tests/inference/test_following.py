"""Objects larger than a patch: where they are followed to, where that ends, what stays when it is stopped."""

import gc
import json
import weakref

import numpy as np
import pytest
from scipy import ndimage

from helpers import make_affine
from large_objects import PRESET, FloodPredictor, bar, start_of
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click
from sammed3d.errors import PromptError
from sammed3d.files.volume import Volume
from sammed3d.inference.follow_limits import FollowSettings
from sammed3d.inference.following import exits
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.patch_inferer import PatchInferer
from sammed3d.inference.session import Session

pytestmark = pytest.mark.slow


def mask_of(inferer, volume, *clicks):
    mask, _ = inferer.mask_of(PromptState(clicks))
    return mask.full(volume.grid.shape).astype(bool)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def predictor():
    return FloodPredictor()


@pytest.fixture
def session(predictor):
    session = Session(bar()[0], predictor)
    session.following = FollowSettings()
    return session


# Where an object is followed to


def test_an_object_larger_than_any_patch_is_followed_to_its_ends(session, predictor):
    truth = bar()[1]
    session.following = FollowSettings("never")
    session.click(start_of(session.volume))
    alone = session.mask().astype(bool)
    assert dice(alone, truth) < 0.4
    assert len(predictor.calls) == 1
    update = session.follow()
    whole = session.mask().astype(bool)
    assert dice(whole, truth) > 0.9
    assert (whole & truth)[..., -7].any()  # the last slices of the bar, 0.8 m from the click
    assert 3 <= update.followed.patches <= 8
    assert not update.followed.goes_on
    assert session.current.clicks[0].follow == update.followed.patches == len(predictor.calls) - 1


def test_a_limit_of_patches_is_kept_and_going_on_reaches_the_same(session):
    session.following = FollowSettings(patches=2)
    update = session.click(start_of(session.volume))
    assert (update.followed.patches, update.followed.goes_on) == (2, True)
    assert update.followed.message.startswith("The object was followed into 2 further patches and goes on.")
    steps = 0
    while update.followed.goes_on:
        update = session.follow()
        steps += 1
    assert steps >= 1
    in_steps, clicks = session.mask(), session.current.clicks
    other = Session(session.volume, FloodPredictor())
    other.set_clicks(clicks)
    assert np.array_equal(other.mask(), in_steps)
    other = Session(session.volume, FloodPredictor())
    other.following = FollowSettings(patches=100)
    other.click(start_of(session.volume))
    assert np.array_equal(other.mask(), in_steps)


def test_a_limit_of_seconds_is_kept(session):
    session.following = FollowSettings(seconds=1e-9)
    update = session.click(start_of(session.volume))
    assert (update.followed.patches, update.followed.goes_on) == (0, True)


def test_asking_tells_that_there_is_more_and_never_does_not_look(session, predictor):
    session.following = FollowSettings("ask")
    update = session.click(start_of(session.volume))
    assert (update.followed.patches, update.followed.goes_on, len(predictor.calls)) == (0, True, 1)
    assert "may go on" in update.followed.message
    session.following = FollowSettings("never")
    assert session.click(start_of(session.volume)).followed is None


def test_an_object_that_ends_in_its_patch_is_looked_at_once_more(predictor):
    volume, truth = bar()
    short = np.where(np.arange(150) < 22, volume.array, 310).astype(np.int16)
    session = Session(Volume(short, volume.grid), predictor)
    session.following = FollowSettings()
    update = session.click(start_of(volume, 0.05))
    assert (update.followed.patches, update.followed.goes_on) == (1, False)
    assert dice(session.mask().astype(bool), truth & (np.arange(150) < 22)) > 0.85


def test_a_volume_that_a_patch_shows_whole_has_nothing_to_follow(predictor):
    volume, _ = bar(length=180)
    session = Session(volume, predictor)
    session.following = FollowSettings()
    update = session.click(start_of(volume, 0.5))
    assert (update.followed.patches, update.followed.goes_on, update.followed.message) == (0, False, "")


def test_negative_clicks_are_not_followed(session, predictor):
    session.click(start_of(session.volume))
    calls = len(predictor.calls)
    update = session.click(start_of(session.volume, 0.12), positive=False)
    assert update.followed is None
    assert len(predictor.calls) == calls + 1
    with pytest.raises(PromptError, match="no positive click to follow"):
        session.follow()


def test_a_click_where_the_object_was_followed_to_refines_its_patch_alone(session, predictor):
    session.click(start_of(session.volume))
    before = session.mask()
    session.click(start_of(session.volume, 0.7), positive=False)
    window = predictor.calls[-1]
    assert window.shape == PRESET.patch_shape
    changed = np.flatnonzero((before != session.mask()).any(axis=(0, 1)))
    assert len(changed)
    assert (changed + 0.5).min() * 2 >= window.begin[2]
    assert (changed + 0.5).max() * 2 <= window.end[2]


def test_a_click_whose_answer_loses_a_followed_object_is_answered_in_the_wide_patch(session, predictor):
    session.click(start_of(session.volume))
    before, calls = session.mask().astype(bool), len(predictor.calls)
    predictor.answer[calls + 1] = lambda logits: -np.abs(logits)
    session.following = FollowSettings("never")
    session.click(start_of(session.volume, 0.12))
    assert [window.shape[0] for window in predictor.calls[calls:]] == [64, 128]
    assert dice(session.mask().astype(bool), before) > 0.9
    predictor.answer = dict.fromkeys(range(len(predictor.calls) + 1, 200), lambda logits: -np.abs(logits))
    session.click(start_of(session.volume, 0.13), positive=False)  # what the wide patch says, holds
    assert session.mask().sum() < before.sum() / 1.5


def test_each_click_on_a_followed_object_starts_from_what_the_one_before_left(session):
    session.following = FollowSettings(patches=1)
    session.click(start_of(session.volume))
    session.following = FollowSettings("never")
    for share in (0.11, 0.12, 0.13):
        session.click(start_of(session.volume, share))
    visits = session.inferer.inner.visits(session.current.state)
    assert [visit.followed for visit in visits] == [False, True, False, False, False]
    assert all(len(visit.clicks) == 1 for visit in visits)


def test_a_wide_patch_is_looked_at_after_three_clicks_at_most(session, predictor):
    session.following = FollowSettings(patches=1)
    for share in (0.1, 0.11, 0.12, 0.13, 0.14):
        session.click(start_of(session.volume, share))
    assert [window.shape[0] for window in predictor.calls[:6]] == [64, 128] * 3
    first = predictor.calls[1]
    assert predictor.calls.count(first) == 3


@pytest.mark.parametrize("angles", [(0.3, -0.2, 0.5), (1.2, 0.1, -0.4)])
def test_objects_in_oblique_volumes_are_followed(predictor, angles):
    volume, truth = bar(angles=angles)
    session = Session(volume, predictor)
    session.following = FollowSettings(patches=20)
    session.click(start_of(volume))
    assert dice(session.mask().astype(bool), truth) > 0.85


def test_a_volume_of_one_slice_is_followed(predictor):
    volume, _ = bar()
    thin = Volume(np.ascontiguousarray(volume.array[10:11]), Grid((1, *volume.grid.shape[1:]), make_affine((6, 6, 6))))
    session = Session(thin, predictor)
    session.following = FollowSettings()
    update = session.click(tuple(thin.grid.to_world([0, 10, 20]).tolist()))
    assert update.followed.patches >= 1
    other = Session(thin, FloodPredictor())
    other.set_clicks(session.current.clicks)
    assert np.array_equal(other.mask(), session.mask())


# Where it stops


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda logits: -np.abs(logits), id="lost"),
        pytest.param(lambda logits: -logits, id="another object"),
    ],
)
def test_an_answer_that_disagrees_with_what_is_known_is_left_out_and_not_followed(session, predictor, answer):
    predictor.answer = dict.fromkeys(range(2, 100), answer)
    session.following = FollowSettings("never")
    session.click(start_of(session.volume))
    before = session.mask()
    update = session.follow()
    assert np.array_equal(session.mask(), before)
    assert update.followed.patches >= 1
    assert not update.followed.goes_on


def test_a_patch_that_takes_everything_is_left_out(session, predictor):
    """A leak: in a further patch of the same size the answer is everything there is."""
    session.following = FollowSettings(patches=1)
    session.click(start_of(session.volume))  # the wide patch, to 0.38 m
    truth = bar()[1]
    predictor.answer = dict.fromkeys(range(3, 100), lambda logits: np.full_like(logits, 6))
    session.follow(FollowSettings(patches=20))
    leaked = session.mask().astype(bool) & ~ndimage.binary_dilation(truth, iterations=4)
    assert not leaked.any()


# Stopping, undo, files


@pytest.mark.parametrize("stopped_at", [2, 3, 4])
def test_what_was_followed_stays_when_it_is_stopped(session, predictor, stopped_at):
    cancellation = Cancellation()
    seen = []

    def stop(number):
        seen.append(cancellation.patches)
        if number == stopped_at:
            cancellation.cancel()

    predictor.before = stop
    update = session.click(start_of(session.volume), cancellation=cancellation)
    assert seen == [(n, 8 if n else 0) for n in range(stopped_at)]
    assert update.followed.cancelled
    assert update.followed.patches == session.current.clicks[0].follow == stopped_at - 2
    assert update.followed.message.startswith("Stopped")
    other = Session(session.volume, FloodPredictor())
    other.set_clicks(session.current.clicks)
    assert np.array_equal(other.mask(), session.mask())
    predictor.before = lambda _number: None
    assert session.follow().followed.patches > 0


def test_a_click_and_what_was_followed_are_one_step_of_undo(session, predictor):
    session.click(start_of(session.volume))
    whole, calls = session.mask(), len(predictor.calls)
    session.undo()
    assert not session.mask().any()
    assert session.redo() is not None
    assert np.array_equal(session.mask(), whole)
    assert session.follow().box is None  # there is no more, so it is no step of undo
    session.undo()
    assert not session.mask().any()
    assert len(predictor.calls) == calls


def test_replaying_what_was_followed_asks_the_network_nothing(predictor):
    volume, _ = bar()
    inferer = PatchInferer(volume, predictor)
    click = Click(start_of(volume), follow=5)
    whole = mask_of(inferer, volume, click)
    calls = len(predictor.calls)
    fewer = mask_of(inferer, volume, Click(start_of(volume), follow=2))
    assert fewer.sum() < whole.sum()
    assert np.array_equal(mask_of(inferer, volume, click), whole)
    assert len(predictor.calls) == calls


def test_moving_and_removing_clicks_replays_with_what_was_followed(session):
    session.following = FollowSettings(patches=3)
    session.click(start_of(session.volume))
    session.click(start_of(session.volume, 0.5), positive=False)
    followed = session.current.clicks[0].follow
    session.move_click(0, start_of(session.volume, 0.15))
    assert session.current.clicks[0].follow == followed
    session.remove_click(1)
    other = Session(session.volume, FloodPredictor())
    other.set_clicks(session.current.clicks)
    assert np.array_equal(other.mask(), session.mask())


def test_saved_prompts_say_how_far_the_object_was_followed(session, tmp_path):
    session.click(start_of(session.volume))
    path = tmp_path / "prompts.json"
    session.save_prompts(path)
    saved = json.loads(path.read_text())
    assert saved["version"] == 3
    assert saved["objects"][0]["clicks"][0]["follow"] == session.current.clicks[0].follow > 0
    reopened = Session(session.volume, FloodPredictor())
    reopened.load_prompts(path)
    assert np.array_equal(reopened.mask(), session.mask())


@pytest.mark.parametrize("follow", ["-1", "true", "1.5", '"2"', "1001", "null"])
def test_a_file_with_another_number_of_patches_is_refused(session, tmp_path, follow):
    path = tmp_path / "prompts.json"
    click = f'{{"world": [0, 0, 0], "positive": true, "follow": {follow}}}'
    path.write_text(
        f'{{"format": "sammed3d-prompts", "version": 3, "objects": [{{"name": "a", "clicks": [{click}]}}]}}'
    )
    with pytest.raises(PromptError, match=r"prompts\.json: .*0 to 1000 further patches"):
        session.load_prompts(path)


@pytest.mark.parametrize("wrong", [{"mode": "sometimes"}, {"patches": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(PromptError):
        FollowSettings(**wrong)


def test_places_where_objects_leave_patches_are_kept_within_bounds(predictor, monkeypatch):
    found, sizes, masks = weakref.WeakSet(), [], []

    def noted(*arguments):
        places = exits(*arguments)
        found.update(places)
        sizes.extend(place.samples.nbytes for place in places)
        return places

    monkeypatch.setattr("sammed3d.inference.patch_follower.exits", noted)
    for most in (2**20, 5_000):
        monkeypatch.setattr("sammed3d.inference.patch_follower.EXITS", most, raising=False)
        session = Session(bar()[0], predictor)
        session.following = FollowSettings(patches=4)
        for number in range(3):
            session.click(np.add(start_of(session.volume), (0, 0, 3.0 * number)))
        masks.append(session.mask())
        gc.collect()
        assert sum(place.samples.nbytes for place in found) <= most
    assert sum(sizes) > 2 * most
    assert np.array_equal(*masks)
