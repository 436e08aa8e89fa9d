"""A series whose object moves: mask and prompts go with it; where nothing moves, they stay exactly where they are."""

from dataclasses import replace

import numpy as np
import pytest

from large_objects import FloodPredictor
from moving_ball import moving_ball
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.evaluation.metrics import dice
from sammed3d.files.volume import Volume
from sammed3d.inference.motion import Neighbourhood, Sighting
from sammed3d.inference.series import propagate


class Recording(FloodPredictor):
    """Notes of each question where its clicks are in the world, and the rest of the prompts."""

    def __init__(self, **capabilities):
        super().__init__()
        self.threshold = 1.0
        self.asked: list = []
        self.capabilities = replace(self.capabilities, **capabilities)

    def predict(self, patch, prompts, cancellation=None):
        clicks = [click.voxel for click in (*prompts.earlier, *prompts.clicks)]
        self.asked.append((patch.grid.to_world(np.reshape(clicks, (-1, 3))), prompts))
        return super().predict(patch, prompts, cancellation)


def small_ball(count=4, step=24.0, radius=12.0, **options):
    """A ball that has left its place altogether by the next frame."""
    ball = moving_ball(count, step, **options)
    ball.radii[:] = radius
    return ball


def at(ball, number):
    return Click(tuple(ball.centres[number].tolist()))


def run(ball, predictor=None, clicks=None, count=None, frame=None, **options):
    clicks = clicks or {0: (at(ball, 0),)}
    prompts = {number: ObjectPrompts("", tuple(each)) for number, each in clicks.items()}
    frames = range(count or ball.count)
    return list(propagate(frame or ball.volume, predictor or Recording(), prompts, 0, frames, **options))


def score(ball, found):
    full = np.zeros(ball.grid.shape, np.uint8) if found.mask is None else found.mask.full(ball.grid.shape)
    return dice(full, ball.truth(found.frame).astype(np.uint8))


def test_a_ball_that_leaves_its_place_is_followed_and_has_no_remark():
    ball = small_ball()
    for found in run(ball):
        assert score(ball, found) > 0.7
        assert not found.remark
        assert found.moved == (0 if found.frame == 0 else pytest.approx(24.0, abs=6.0))
        assert found.overlap is None or found.overlap > 0.6, "with the mask at the place to which it was moved"


def test_from_the_last_frame_it_is_followed_backwards():
    ball = small_ball()
    prompts = {3: ObjectPrompts("", (at(ball, 3),))}
    found = list(propagate(ball.volume, Recording(), prompts, 3, range(4)))
    assert [each.frame for each in found] == [3, 2, 1, 0]
    assert all(score(ball, each) > 0.7 for each in found)


def test_clicks_are_told_where_the_object_is_by_then_and_a_frame_s_own_where_they_are():
    ball, predictor = small_ball(), Recording()
    own = Click(tuple((ball.centres[2] + [6.0, 0, 0]).tolist()))
    clicks = {0: (at(ball, 0),), 2: (own,)}
    run(ball, predictor, clicks)
    for number in range(4):
        told = next(places for places, _ in predictor.asked if np.linalg.norm(places[0] - ball.centres[number]) < 9)
        assert len(told) == (1 if number < 2 else 2)
        if number >= 2:
            assert np.linalg.norm(told[1] - ball.centres[number] - [6.0, 0, 0]) < (3.1 if number == 2 else 9)
    assert clicks[2] == (own,)


class Silent(Recording):
    """Adds nothing to a mask."""

    def predict(self, patch, prompts, cancellation=None):
        answer = super().predict(patch, prompts, cancellation)
        return answer if prompts.mask_prompt is None else replace(answer, low_res=prompts.mask_prompt)


def test_small_steps_of_less_than_a_voxel_add_up():
    """The network adds nothing here: what is carried alone decides, for 7 frames of 2.8 mm on voxels of 6 mm."""
    ball = moving_ball(8, 2.8)
    ball.radii[:] = 34
    truth = BoxedMask.of(ball.truth(0).astype(np.uint8))
    found = run(ball, Silent(refines_masks=True), kept={0: truth})
    assert np.linalg.norm(ball.centres[7] - ball.centres[0]) > 19
    assert min(score(ball, each) for each in found) > 0.85


def test_a_frame_in_which_the_object_changed_its_shape_is_named_where_its_mask_did_not():
    ball = small_ball(4, 0.0, 28.0)
    ball.radii[2:] = 31.5
    kept = {0: BoxedMask.of(ball.truth(0).astype(np.uint8))}
    found = run(ball, Silent(refines_masks=True), kept=kept)
    assert [each.remark for each in found[:2]] == ["", ""]
    assert found[2].changed > 0.25
    assert found[2].remark == f"edge changed ({found[2].changed:.0%}), mask not"
    assert found[3].remark.endswith("goes on from frame 3")
    own = {0: (at(ball, 0),), 2: (at(ball, 2),)}
    assert not run(ball, Silent(refines_masks=True), own, kept=kept)[2].remark, "somebody looked at it"
    assert [each.remark for each in run(ball, kept=kept)] == [""] * 4, "the network saw it, too"


@pytest.mark.parametrize("seen", [Sighting(np.zeros(3), 0.0), None], ids=["stays", "not looked for"])
def test_a_series_that_stands_still_is_asked_about_and_answered_exactly_as_if_nothing_could_move(monkeypatch, seen):
    ball = small_ball(step=0.0, radius=30.0)
    with_motion = Recording()
    found = run(ball, with_motion)
    monkeypatch.setattr(Neighbourhood, "found_in", lambda self, volume: seen)
    without = Recording()
    for one, other in zip(found, run(ball, without), strict=True):
        assert one.mask.box == other.mask.box
        assert np.array_equal(one.mask.voxels, other.mask.voxels)
    assert len(with_motion.asked) == len(without.asked)
    for (places, prompts), (same_places, same) in zip(with_motion.asked, without.asked, strict=True):
        assert np.array_equal(places, same_places)
        assert prompts.mask_digest == same.mask_digest


def test_a_mask_that_goes_with_its_object_is_right_but_for_what_is_clicked_and_one_of_another_image_is_not():
    ball, predictor = small_ball(3, 30.0, 16.0, angles=(0, 0, 0)), Recording(refines_masks=True)

    def frame(number):
        volume = ball.volume(number)
        return Volume(2000 - volume.array, ball.grid, volume.name) if number == 2 else volume

    said = []
    for _ in propagate(frame, predictor, {0: ObjectPrompts("", (at(ball, 0),))}, 0, range(3)):
        said.append({prompts.from_mask for _, prompts in predictor.asked})
        predictor.asked.clear()
    assert said == [{False}, {True}, {False}]


def test_a_click_that_has_left_the_image_is_not_told_and_comes_back_with_the_object():
    ball, predictor = small_ball(3, angles=(0, 0, 0)), Recording()
    face = ball.grid.to_world((-0.5, 20, 18))
    ball.centres[:] = face + np.array([[27.0, 0, 0], [15.0, 0, 0], [27.0, 0, 0]])
    ball.radii[:] = 14
    beside = Click(tuple((ball.centres[0] - [18.0, 0, 0]).tolist()), False)
    clicks = (at(ball, 0), beside)
    kept, counts = {0: BoxedMask.of(ball.truth(0).astype(np.uint8))}, []
    for _ in propagate(ball.volume, predictor, {0: ObjectPrompts("", clicks)}, 0, range(3), kept=kept):
        counts.append([len(places) for places, _ in predictor.asked])
        predictor.asked.clear()
    assert counts == [[], [1], [2]]


def test_a_box_goes_with_its_object_where_the_model_knows_boxes():
    class Boxes(Recording):
        preset = replace(FloodPredictor.preset, boxes=True)

    ball, predictor = small_ball(2), Boxes(boxes=True)
    box = BoxPrompt(tuple(ball.centres[0] - 14), tuple(ball.centres[0] + 14))
    clicks = (at(ball, 0),)
    grids = []
    for _ in propagate(ball.volume, predictor, {0: ObjectPrompts("", clicks, box=box)}, 0, range(2)):
        window, prompts = predictor.calls[-1], predictor.asked[-1][1]
        grids.append(np.add(prompts.box.begin, prompts.box.end) / 2 + window.begin)
    moved = (grids[1] - grids[0]) * predictor.preset.spacing
    assert np.linalg.norm(np.abs(moved)) == pytest.approx(24.0, abs=6.0)
