"""The rules of a timeline: case by case, and driven at random against a model of them."""

from dataclasses import replace

import numpy as np
import pytest

from sammed3d.core.drawings import Scribble
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.errors import PromptError
from sammed3d.inference.history import PackedMask
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline, same_click
from sammed3d.inference.prompt_checks import check_box, check_click
from timelines import BOX, A, B, C, D, clicked, drawn, evaluate, same


def test_undo_and_redo_walk_through_all_states_and_know_their_masks():
    timeline = clicked(A, B, C)
    for expected in ((A, B), (A,), ()):
        assert timeline.undo()
        assert timeline.recall()
        assert timeline.now.clicks == expected
        assert same(timeline.mask, evaluate(timeline.now))
    assert not timeline.undo()
    for expected in ((A,), (A, B), (A, B, C)):
        assert timeline.redo()
        assert timeline.recall()
        assert timeline.now.clicks == expected
        assert same(timeline.mask, evaluate(timeline.now))
    assert not timeline.redo()


def test_a_new_state_forgets_what_was_undone():
    timeline = clicked(A, B)
    timeline.undo()
    timeline.put_clicks((A, C), "m")
    assert not timeline.can_redo
    assert [s.clicks for s in timeline.states] == [(), (A,), (A, C)]


def test_masks_are_shown_as_they_come_but_never_backwards():
    timeline = ObjectTimeline()
    for count in (1, 2, 3):
        timeline.put_clicks((A, B, C)[:count], "m")
    first, second, third = timeline.states[1:]
    assert timeline.evaluated(first, evaluate(first))
    assert timeline.pending
    assert same(timeline.mask, evaluate(first))
    assert timeline.evaluated(third, evaluate(third))
    assert not timeline.pending
    assert not timeline.evaluated(second, evaluate(second)), "overtaken"
    assert timeline.shown is third
    assert timeline.undo()
    assert timeline.recall(), "what came late is known all the same"


def test_what_cannot_be_shown_leaves_what_was_shown_and_is_known_for_redo():
    timeline = clicked(A)
    shown = timeline.shown
    timeline.put_clicks((A, B), "m")

    def show():
        with timeline.showing():
            assert timeline.evaluated(timeline.now, evaluate(timeline.now))
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        show()
    assert timeline.shown is shown
    assert same(timeline.mask, evaluate(shown))
    assert timeline.pending
    assert timeline.failed().clicks == (A, B)
    assert not timeline.pending
    assert timeline.redo()
    assert timeline.recall()
    assert same(timeline.mask, evaluate(timeline.now))


def test_the_mask_of_a_forgotten_state_is_not_shown():
    timeline = clicked(A)
    timeline.put_clicks((A, B), "m")
    forgotten = timeline.now
    timeline.undo()
    timeline.put_clicks((A, C), "m")
    assert not timeline.evaluated(forgotten, evaluate(forgotten))


def test_a_failure_takes_back_what_was_not_shown_and_redo_brings_it_back():
    timeline = clicked(A)
    timeline.put_clicks((A, B), "m")
    timeline.put_clicks((A, B, C), "m")
    assert timeline.failed().clicks == (A, B, C)
    assert timeline.now.clicks == (A,)
    assert timeline.redo()
    assert not timeline.recall()
    assert timeline.redo()
    assert timeline.now.clicks == (A, B, C)


def test_a_failure_after_what_is_shown_was_forgotten_goes_to_the_newest_known_mask():
    timeline = ObjectTimeline()
    for count in (1, 2, 3):
        timeline.put_clicks((A, B, C)[:count], "m")
    timeline.evaluated(timeline.now, evaluate(timeline.now))
    timeline.undo()
    assert not timeline.recall(), "it was overtaken"
    timeline.put_clicks((A, B, D), "m")
    timeline.failed()
    assert timeline.recall()
    assert timeline.now.clicks == ()
    assert timeline.mask is None


def test_another_model_starts_from_the_mask_that_is_shown():
    timeline = clicked(A, B, model="one")
    shown = timeline.mask
    timeline.put_clicks((A, B, C), "two")
    assert timeline.now.clicks == (C,)
    assert same(timeline.now.base, shown)
    assert timeline.now.model == "two"
    timeline.undo()
    assert timeline.recall()
    assert (timeline.now.clicks, timeline.now.model) == ((A, B), "one")
    assert same(timeline.mask, shown)


def test_moving_an_old_click_is_left_to_its_model():
    timeline = clicked(A, B, model="one")
    timeline.put_clicks((A, D), "two")
    assert (timeline.now.clicks, timeline.now.model, timeline.now.base) == ((A, D), "one", None)


def test_another_model_loses_no_click_that_waits():
    timeline = clicked(A, model="one")
    timeline.put_clicks((A, B), "one")
    timeline.put_clicks((A, B, C), "two")
    assert timeline.now.clicks == (B, C)
    empty = ObjectTimeline()
    empty.put_clicks((A,), "one")
    empty.put_clicks((A, B), "two")
    assert (empty.now.clicks, empty.now.base, empty.now.model) == ((A, B), None, "two")


def test_a_box_goes_before_the_clicks_and_another_models_mask_stays():
    timeline = clicked(A, model="one")
    shown = timeline.mask
    timeline.put_box(BOX, "one")
    assert (timeline.now.clicks, timeline.now.box, timeline.now.base) == ((A,), BOX, None)
    timeline.undo()
    timeline.put_box(BOX, "two")
    assert (timeline.now.clicks, timeline.now.box) == ((), BOX)
    assert same(timeline.now.base, shown)


def test_a_hand_edit_is_a_state_and_waiting_prompts_apply_to_it():
    timeline = clicked(A)
    timeline.put_clicks((A, B), "m")
    timeline.put_box(BOX, "m")
    timeline.take_over(drawn(3))
    assert timeline.pending
    assert timeline.now.clicks == (B,)
    assert timeline.now.box == BOX
    assert timeline.now.base.digest == drawn(3).digest
    timeline.undo()
    assert timeline.recall()
    assert same(timeline.mask, drawn(3))


def test_another_image_is_a_new_beginning():
    timeline = clicked(A, B)
    timeline.other_image("next frame", drawn(1))
    assert (timeline.image, timeline.can_undo, timeline.can_redo) == ("next frame", False, False)
    assert same(timeline.mask, drawn(1))
    assert timeline.fresh((A, B, C)) == (A, B, C)


def test_reset_is_known_at_once():
    timeline = clicked(A)
    timeline.push(PromptState())
    assert timeline.recall()
    assert timeline.mask is None


def test_a_saved_timeline_goes_on():
    timeline = clicked(A, B)
    timeline.undo()
    timeline.recall()
    again = ObjectTimeline.restored(timeline.states, timeline.position, timeline.mask, "image")
    assert (again.can_undo, again.can_redo, again.pending) == (True, True, False)
    assert again.redo()
    assert not again.recall(), "its mask was not saved"


def test_what_the_front_end_keeps_belongs_to_the_state_that_is_shown():
    timeline = clicked(A)
    timeline.kept = "one"
    timeline.put_clicks((A, B), "m")
    assert timeline.kept == "one"
    timeline.evaluated(timeline.now, None)
    assert timeline.kept is None
    timeline.undo()
    timeline.recall()
    assert timeline.kept == "one"


def test_what_others_undid_is_in_force_again():
    timeline = ObjectTimeline()
    timeline.kept = "nothing"
    for count, kept in enumerate(("one", "two", "one"), start=1):
        timeline.put_clicks((A, B, C)[:count], "m")
        assert timeline.evaluated(timeline.now, evaluate(timeline.now))
        timeline.kept = kept
    assert timeline.return_to(lambda kept: kept == "two")
    assert timeline.now.clicks == (A, B)
    assert same(timeline.mask, evaluate(timeline.now))
    assert not timeline.pending
    assert timeline.return_to(lambda kept: kept == "nothing")
    assert timeline.now.clicks == ()
    assert timeline.return_to(lambda kept: kept == "one")
    assert timeline.now.clicks == (A,), "of several, the nearest"
    assert not timeline.return_to(lambda kept: kept == "never")
    assert timeline.now.clicks == (A,)
    timeline.put_clicks((D,), "m")
    assert not timeline.return_to(lambda kept: kept == "two"), "forgotten"


def test_fresh_clicks_are_told_by_place_and_kind_and_counted():
    timeline = clicked(A, A)
    moved = Click((A.world[0] + 1e-3, 0, 0))
    other = Click(A.world, positive=False)
    assert same_click(A, moved)
    assert timeline.fresh((moved, A, A, other)) == (A, other)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (8, 4, 2)])
def test_a_packed_mask_is_the_mask(shape):
    mask = BoxedMask(Box((1, 2, 3), tuple(np.add((1, 2, 3), shape))), np.asfortranarray(np.ones(shape, np.uint8)))
    mask.voxels[0, 0, shape[2] // 2] = 0
    again = PackedMask.of(mask).mask()
    assert again.box == mask.box
    assert np.array_equal(again.voxels, mask.voxels)
    assert again.digest == mask.digest
    assert PackedMask.of(None).mask() is None


def test_what_lies_outside_is_named_with_where_the_image_is():
    grid = Grid((10, 10, 10), np.eye(4))
    check_click(Click((9.4, 0, 0)), grid, "CT")
    with pytest.raises(
        PromptError, match=r"\(12.0, 0.0, 0.0\) lies outside CT, which reaches from \(0.0.*Click inside"
    ):
        check_click(Click((12, 0, 0)), grid, "CT")
    check_box(BoxPrompt((-5, 0, 0), (6, 1, 1)), grid, "CT")
    with pytest.raises(PromptError, match="middle of the box"):
        check_box(BoxPrompt((-5, 0, 0), (2, 1, 1)), grid, "CT")


def test_an_image_that_moved_keeps_its_masks_and_its_undo():
    timeline = clicked(A, B)
    timeline.image, masks = "here", [evaluate(state) for state in timeline.states]
    timeline.kept = "what the front end knows"
    timeline.put_clicks((A, B, C), "m")
    waiting = timeline.now
    timeline.image_moved("there", lambda state: replace(state, clicks=tuple(map(shifted, state.clicks))))
    assert timeline.image == "there"
    assert timeline.pending
    assert timeline.kept is None
    assert not timeline.evaluated(waiting, drawn(3)), "it was evaluated where the image is not any more"
    timeline.failed()
    for mask, clicks in ((masks[2], (A, B)), (masks[1], (A,)), (masks[0], ())):
        assert timeline.recall()
        assert timeline.now.clicks == tuple(map(shifted, clicks))
        assert same(timeline.mask, mask)
        timeline.undo()


def shifted(click):
    return replace(click, world=tuple(np.add(click.world, (0, 7, 0)).tolist()))


def test_a_drawing_stays_before_the_clicks_after_it_though_points_come_back_rounded():
    timeline, stroke = clicked(A), Scribble(((0, 0, 0), (5, 5, 5)))
    timeline.add_drawing(stroke, "m")
    timeline.evaluated(timeline.now, evaluate(timeline.now))
    rounded = replace(A, world=(1e-9, 0, 0))
    timeline.put_clicks((rounded, B), "m")
    assert [drawing.after for drawing in timeline.now.drawings] == [1]
    assert timeline.now.clicks == (A, B), "nothing moved"


def test_what_waits_for_another_model_keeps_its_order():
    timeline, stroke = clicked(A), Scribble(((0, 0, 0), (5, 5, 5)))
    timeline.put_clicks((A, B), "m")
    timeline.add_drawing(stroke, "m")
    timeline.put_clicks((A, B, C), "another")
    assert timeline.now.clicks == (B, C)
    assert [drawing.after for drawing in timeline.now.drawings] == [1], "between them"


def test_another_model_is_not_told_what_the_mask_was_drawn_with():
    timeline, stroke = clicked(A, B), Scribble(((0, 0, 0), (5, 5, 5)))
    timeline.add_drawing(stroke, "m")
    timeline.evaluated(timeline.now, evaluate(timeline.now))
    timeline.put_clicks((B,), "m")  # the drawing has another place now, and waits with it
    timeline.put_clicks((B, C), "another")
    assert timeline.now.clicks == (C,)
    assert timeline.now.drawings == ()
