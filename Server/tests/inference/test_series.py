"""Series in time: a ball that moves and pulsates is carried from frame to frame, and nothing is hidden."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from large_objects import FloodPredictor
from moving_ball import moving_ball, predictor
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import EmptyVolumeError, PredictionCancelled, PromptError, VolumeError
from sammed3d.evaluation.metrics import dice
from sammed3d.files.volume import Volume
from sammed3d.inference.series import FrameMask, propagate
from sammed3d.inference.session import Session

CLOSE = 0.85
"""Dice that the stand-in's answers of 12 mm allow."""


@pytest.fixture(scope="module")
def ball():
    return moving_ball()


def at(ball, number, positive=True):
    return Click(tuple(ball.centres[number].tolist()), positive)


def run(ball, first=0, frames=None, clicks=None, **options):
    frames = range(ball.count) if frames is None else frames
    clicks = {first: (at(ball, first),)} if clicks is None else clicks
    return list(propagate(ball.volume, predictor(), prompts_of(clicks), first, frames, **options))


def prompts_of(clicks):
    return {number: ObjectPrompts("", tuple(each)) for number, each in clicks.items()}


def full(ball, found):
    return np.zeros(ball.grid.shape, np.uint8) if found.mask is None else found.mask.full(ball.grid.shape)


def score(ball, found):
    return dice(full(ball, found), ball.truth(found.frame).astype(np.uint8))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_frames_without_an_image_are_left_out_and_said(ball, value):
    def frame(number):
        if number in {0, 3}:
            return Volume(np.full(ball.grid.shape, value), ball.grid, f"frame {number + 1}")
        return ball.volume(number)

    def found(prompts, first=1):
        return {each.frame: each for each in propagate(frame, predictor(), prompts_of(prompts), first, range(6))}

    masks = found({1: (at(ball, 1),)})
    assert [number for number, each in sorted(masks.items()) if each.mask is None] == [0, 3]
    assert masks[3].remark == "no image, nothing in it to segment"
    assert (masks[4].overlap or 0) > 0.5, "with that of frame 3, the last that has an image"
    assert not masks[4].remark
    assert score(ball, masks[5]) > CLOSE
    with pytest.raises(EmptyVolumeError, match="frame 4"):
        found({1: (at(ball, 1),), 3: (at(ball, 3),)})
    with pytest.raises(EmptyVolumeError, match="frame 1"):
        found({0: (at(ball, 0),)}, 0)


@pytest.mark.slow
def test_the_ball_is_found_in_every_frame_also_where_the_click_is_not_in_it_any_more(ball):
    found = run(ball)
    assert [each.frame for each in found] == list(range(8))
    assert np.linalg.norm(ball.centres[7] - ball.centres[0]) > ball.radii[7]
    for each in found:
        assert score(ball, each) > CLOSE
        assert not each.remark


def test_overlap_and_jump_are_those_of_the_masks():
    ball = moving_ball(step=0.0)
    found = run(ball, frames=range(3))
    assert (found[0].overlap, found[0].jump) == (None, None)
    for before, now in itertools.pairwise(found):
        assert now.overlap == pytest.approx(dice(full(ball, now), full(ball, before)))
        assert now.jump == pytest.approx(full(ball, now).sum() / full(ball, before).sum() - 1)
        assert now.millilitres == pytest.approx(full(ball, now).sum() * 0.216)


@pytest.mark.slow
def test_from_a_frame_in_the_middle_it_goes_both_ways(ball):
    found = run(ball, first=3, frames=range(1, 6))
    assert [each.frame for each in found] == [3, 4, 5, 2, 1]
    for each in found:
        assert score(ball, each) > CLOSE


def test_the_first_frame_is_what_a_session_makes(ball):
    [found] = run(ball, frames=range(1))
    session = Session(ball.volume(0), predictor())
    session.click(ball.centres[0])
    assert np.array_equal(full(ball, found), session.mask())
    assert (found.overlap, found.jump) == (None, None)


@pytest.mark.slow
def test_a_correction_counts_in_its_frame_and_in_those_after_it(ball):
    class Recording(FloodPredictor):
        def __init__(self):
            super().__init__()
            self.told, self.threshold = [], 1.0

        def predict(self, patch, prompts, cancellation=None):
            self.told.append(len(prompts.earlier) + len(prompts.clicks))
            return super().predict(patch, prompts, cancellation)

    recording = Recording()
    clicks = {0: (at(ball, 0),), 2: (at(ball, 2),)}
    told = {}
    for each in propagate(ball.volume, recording, prompts_of(clicks), 0, range(4)):
        told[each.frame] = max(recording.told)
        recording.told.clear()
    assert told == {0: 1, 1: 1, 2: 2, 3: 2}


@pytest.mark.slow
def test_a_ball_that_jumps_is_remarked_on():
    ball = moving_ball(3)
    ball.centres[1] += (80, 0, 0)
    found = run(ball, frames=range(2))
    assert found[1].overlap < 0.5
    assert "overlap" in found[1].remark or found[1].remark == "empty"
    ball.centres[1] = ball.centres[0]
    ball.radii[:2] = 25, 40
    found = run(ball, frames=range(2))
    assert "volume +" in found[1].remark


@pytest.mark.slow
def test_what_was_done_before_a_cancellation_stays(ball):
    cancellation = Cancellation()
    going = propagate(ball.volume, predictor(), prompts_of({0: (at(ball, 0),)}), 0, range(8), cancellation)
    done = [next(going) for _ in range(3)]
    cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        next(going)
    for stopped, whole in zip(done, run(ball, frames=range(3)), strict=True):
        assert np.array_equal(full(ball, stopped), full(ball, whole))


def test_bad_input_gets_one_line(ball):
    with pytest.raises(PromptError, match="Frame 1 needs a positive click"):
        run(ball, clicks={0: (at(ball, 0, False),)})
    with pytest.raises(PromptError, match="Frame 8 is clicked in, but frames 1 to 4 are asked for"):
        run(ball, frames=range(4), clicks={0: (at(ball, 0),), 7: (at(ball, 7),)})
    with pytest.raises(PromptError, match="outside"):
        run(ball, clicks={0: (Click((9000, 0, 0)),)})
    other = moving_ball(angles=(0, 0, 0))

    def mixed(number) -> Volume:
        return (ball if number == 0 else other).volume(number)

    with pytest.raises(VolumeError, match="frame 2: this frame is on another grid"):
        list(propagate(mixed, predictor(), prompts_of({0: (at(ball, 0),)}), 0, range(2)))


@pytest.mark.slow
def test_what_goes_on_from_a_doubtful_frame_is_doubtful_until_it_is_corrected():
    ball = moving_ball(4)
    ball.radii[:] = 25, 40, 40, 40
    ball.centres[1:] = ball.centres[0]
    found = run(ball)
    assert found[1].doubted is None
    assert "volume +" in found[1].remark
    assert [found[2].remark, found[3].remark] == ["goes on from frame 2"] * 2
    corrected = run(ball, clicks={0: (at(ball, 0),), 2: (at(ball, 2),)})
    assert [corrected[2].remark, corrected[3].remark] == ["", ""]


@pytest.mark.slow
def test_what_is_drawn_holds_in_its_frame_and_becomes_clicks_in_the_others(ball):
    """The ball leaves the box and the stroke: what does not fit any more must not cut it, nor be forced into it."""
    middle = ball.centres[0]
    box = BoxPrompt(tuple(middle - 20), tuple(middle + 20))  # smaller than the ball
    stroke = Scribble((tuple(middle), tuple(middle + np.array([0, 0, 70]))))  # it goes beyond the ball
    found = list(propagate(ball.volume, predictor(), {0: ObjectPrompts("", (), box=box)}, 0, range(4)))
    corners = ball.grid.to_world(found[0].mask.box.begin), ball.grid.to_world(np.array(found[0].mask.box.end) - 1)
    assert score(ball, found[0]) < 0.6, "cut by its box"
    assert np.linalg.norm(corners[1] - corners[0]) < 40 * 3**0.5 + 12
    drawn = {0: ObjectPrompts("", (), drawings=(stroke,))}
    stroked = list(propagate(ball.volume, predictor(), drawn, 0, range(4)))
    ends = np.rint(ball.grid.to_index(stroke.points[-1])).astype(int)
    assert [bool(full(ball, each)[tuple(ends)]) for each in stroked] == [True, False, False, False]
    for each in (*found[1:], *stroked[1:]):
        assert score(ball, each) > CLOSE


def test_drawings_of_a_correction_are_told_after_the_clicks_of_the_frames_before(ball):
    told = {}

    class Recording(FloodPredictor):
        def predict(self, patch, prompts, cancellation=None):
            told.setdefault(len(self.calls), []).append(len(prompts.earlier) + len(prompts.clicks))
            return super().predict(patch, prompts, cancellation)

    recording = Recording()
    recording.threshold = 1.0
    stroke = Scribble((tuple(ball.centres[1]), tuple(ball.centres[1] + 9)))
    prompts = {0: ObjectPrompts("", (at(ball, 0),)), 1: ObjectPrompts("", (at(ball, 1),), drawings=(stroke,))}
    counts = []
    for _ in propagate(ball.volume, recording, prompts, 0, range(3)):
        counts.append(max(max(each) for each in told.values()))
        told.clear()
    assert counts[0] == 1
    assert counts[1] == counts[2] >= 2 + 3, "two clicks, and those that the stroke became"


@pytest.mark.slow
def test_frames_that_are_kept_stay_and_those_after_go_on_from_them():
    ball = moving_ball(step=0.0)
    mask = BoxedMask.of(ball.truth(1).astype(np.uint8)).cropped()
    recording = predictor()
    prompts = prompts_of({0: (at(ball, 0),)})
    found = list(propagate(ball.volume, recording, prompts, 0, range(3), kept={1: mask}))
    assert [each.kept for each in found] == [False, True, False]
    assert np.array_equal(full(ball, found[1]), ball.truth(1))
    assert found[1].overlap == pytest.approx(dice(full(ball, found[1]), full(ball, found[0])))
    assert found[2].overlap == pytest.approx(dice(full(ball, found[2]), ball.truth(1).astype(np.uint8)))
    recording.calls.clear()
    again = list(propagate(ball.volume, recording, prompts, 0, range(2), kept={0: mask, 1: mask}))
    assert not recording.calls, "nothing is asked about frames that are kept"
    assert [each.remark for each in again] == ["", ""]


@pytest.mark.slow
def test_clicks_that_keep_an_answer_in_a_loop_are_not_told_to_other_frames(ball):
    told = []

    class Recording(FloodPredictor):
        def predict(self, patch, prompts, cancellation=None):
            told.append([click.positive for click in (*prompts.earlier, *prompts.clicks)])
            return super().predict(patch, prompts, cancellation)

    recording = Recording()
    recording.threshold = 1.0
    middle = ball.centres[0]
    turns = np.linspace(0, 6, 20)
    loop = Lasso(tuple(tuple(middle + 15 * np.array([np.cos(a), np.sin(a), 0])) for a in turns))
    going = propagate(ball.volume, recording, {0: ObjectPrompts("", (), drawings=(loop,))}, 0, range(2))
    next(going)
    assert any(False in each for each in told), "the ball is larger than the loop"
    told.clear()
    next(going)
    assert told
    assert all(all(each) for each in told)


def test_a_model_that_knows_boxes_is_shown_the_box_again_and_may_leave_it(ball):
    class Boxes(FloodPredictor):
        preset = replace(FloodPredictor.preset, boxes=True)
        capabilities = replace(FloodPredictor.capabilities, boxes=True)

        def predict(self, patch, prompts, cancellation=None):
            shown.append(prompts.box is not None)
            return super().predict(patch, prompts, cancellation)

    shown: list[bool] = []
    asked = Boxes()
    asked.threshold = 1.0
    box = BoxPrompt(tuple(ball.centres[0] - 20), tuple(ball.centres[0] + 20))
    found = list(propagate(ball.volume, asked, {0: ObjectPrompts("", (at(ball, 0),), box=box)}, 0, range(2)))
    assert all(shown[:1])
    assert any(shown[1:])
    assert score(ball, found[0]) < 0.6 < CLOSE < score(ball, found[1])


def test_a_change_of_nothing_is_neither_less_nor_more():
    changes = [FrameMask(0, None, 1.0, None, jump, 0.0).change for jump in (None, -0.001, 0.0, 0.004, -0.006, 0.31)]
    assert changes == ["", "+0%", "+0%", "+0%", "-1%", "+31%"]
