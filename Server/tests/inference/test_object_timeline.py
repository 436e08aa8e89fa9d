"""The rules of a timeline: case by case, and driven at random against a model of them."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.errors import PromptError
from sammed3d.inference.history import PackedMask
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline, same_click
from sammed3d.inference.prompt_checks import check_box, check_click

A, B, C, D = (Click((10.0 * n, 0, 0), positive=n != 2) for n in range(4))
BOX = BoxPrompt((0, 0, 0), (5, 5, 5))


def drawn(number: int) -> BoxedMask:
    """A mask that somebody drew; each number another one."""
    return BoxedMask(Box((number, 0, 0), (number + 2, 3, 1)), np.ones((2, 3, 1), np.uint8, order="F"))


def evaluate(state: PromptState) -> BoxedMask | None:
    """Stands for network and volume: some mask that nothing but the state determines."""
    if state.is_start:
        return state.base
    words = repr((state.clicks, state.base and state.base.digest, state.box, state.model))
    number = int(hashlib.sha256(words.encode()).hexdigest()[:6], 16)
    bits = np.unpackbits(np.frombuffer(number.to_bytes(3, "big"), np.uint8)).reshape((2, 3, 4), order="F")
    return BoxedMask.of(bits)


def same(a: BoxedMask | None, b: BoxedMask | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and a.digest == b.digest)


def clicked(*clicks, model="m"):
    """A timeline with clicks, all evaluated one after the other."""
    timeline = ObjectTimeline()
    for count in range(1, len(clicks) + 1):
        timeline.put_clicks(clicks[:count], model)
        assert timeline.evaluated(timeline.now, evaluate(timeline.now))
    return timeline


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


@dataclass
class Rules:
    """The rules once more, on plain lists: what a timeline must agree with.

    A state is (clicks, name of the base, box, model); `known` holds those whose mask was ever made.
    """

    states: list = field(default_factory=lambda: [((), None, False, "")])
    at: int = 0
    shown: tuple = ((), None, False, "")
    shown_at: int | None = 0
    known: set = field(default_factory=lambda: {0})
    names: dict = field(default_factory=dict)

    def push(self, state):
        del self.states[self.at + 1 :]
        self.known = {n for n in self.known if n <= self.at}
        if self.shown_at is not None and self.shown_at > self.at:
            self.shown_at = None
        self.states.append(state)
        self.at += 1
        if not state[0] and not state[2]:
            self.known.add(self.at)

    def show(self, index):
        self.known.add(index)
        self.shown, self.shown_at = self.states[index], index


class TimelineMachine(RuleBasedStateMachine):
    """Random use of a timeline. Clicks are all different, so the model needs no tolerance."""

    def __init__(self):
        super().__init__()
        self.timeline, self.rules = ObjectTimeline(), Rules()
        self.count = 0
        self.waiting = []  # states handed out for evaluation

    def new_click(self):
        self.count += 1
        return Click((float(self.count), 0, 0), positive=self.count % 3 != 0)

    def base_name(self, mask):
        """Masks are named by their digest, so the model needs no arrays."""
        return None if mask is None else mask.digest

    def shown_name(self):
        return self.base_name(self.timeline.mask)

    @rule(model=st.sampled_from(["one", "two"]))
    def click(self, model):
        clicks, base, box, old = self.rules.states[self.rules.at]
        click = self.new_click()
        fresh = tuple(c for c in clicks if c not in self.rules.shown[0])
        shown = self.shown_name()
        if (not clicks and not box) or old == model or shown is None:
            expected = ((*clicks, click), base, box, model)
        else:
            expected = ((*fresh, click), shown, box and not self.rules.shown[2], model)
        self.timeline.put_clicks((*self.timeline.now.clicks, click), model)
        self.rules.push(expected)
        self.waiting.append(self.timeline.now)

    @precondition(lambda self: self.timeline.now.clicks)
    @rule(data=st.data(), model=st.sampled_from(["one", "two"]))
    def move(self, data, model):
        clicks, base, box, old = self.rules.states[self.rules.at]
        index = data.draw(st.integers(0, len(clicks) - 1))
        changed = (*clicks[:index], self.new_click(), *clicks[index + 1 :])
        self.timeline.put_clicks(changed, model)
        self.rules.push((changed, base, box, old))
        self.waiting.append(self.timeline.now)

    @precondition(lambda self: self.timeline.now.clicks)
    @rule(data=st.data())
    def remove(self, data):
        clicks, base, box, old = self.rules.states[self.rules.at]
        index = data.draw(st.integers(0, len(clicks) - 1))
        changed = (*clicks[:index], *clicks[index + 1 :])
        self.timeline.put_clicks(changed, old)
        self.rules.push((changed, base, box, old))
        self.waiting.append(self.timeline.now)

    @rule()
    def reset(self):
        self.timeline.push(PromptState())
        self.rules.push(((), None, False, ""))
        self.recall()

    @rule()
    def undo(self):
        assert self.timeline.undo() == (self.rules.at > 0)
        self.rules.at -= self.rules.at > 0
        self.recall()

    @rule()
    def redo(self):
        assert self.timeline.redo() == (self.rules.at < len(self.rules.states) - 1)
        self.rules.at += self.rules.at < len(self.rules.states) - 1
        self.recall()

    def recall(self):
        assert self.timeline.recall() == (self.rules.at in self.rules.known)
        if self.rules.at in self.rules.known:
            self.rules.show(self.rules.at)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def answer(self, data):
        state = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        index = next((n for n, s in enumerate(self.timeline.states) if s is state), None)
        shown = self.timeline.evaluated(state, evaluate(state))
        if index is None:
            assert not shown
            return
        nearer = self.rules.shown_at is None or abs(index - self.rules.at) < abs(self.rules.shown_at - self.rules.at)
        assert shown == nearer
        self.rules.known.add(index)
        if nearer:
            self.rules.show(index)

    @precondition(lambda self: self.timeline.pending)
    @rule()
    def fail(self):
        before = self.timeline.states
        self.timeline.failed()
        assert self.timeline.states == before, "no click is lost"
        if self.rules.shown_at is not None:
            self.rules.at = self.rules.shown_at
        else:
            self.rules.at = max(n for n in self.rules.known if n <= self.rules.at)
        self.recall()
        assert not self.timeline.pending

    @rule(number=st.integers(0, 5))
    def edit(self, number):
        mask = drawn(number)
        clicks, _, box, model = self.rules.states[self.rules.at]
        pending = self.rules.shown_at != self.rules.at
        fresh = tuple(c for c in clicks if c not in self.rules.shown[0]) if pending else ()
        box = pending and box and not self.rules.shown[2]
        self.timeline.take_over(mask)
        self.rules.push(((), mask.digest, False, model))
        self.rules.show(self.rules.at)
        if fresh or box:
            self.rules.push((fresh, mask.digest, box, model))
            self.waiting.append(self.timeline.now)

    @rule(model=st.sampled_from(["one", "two"]))
    def draw_box(self, model):
        clicks, base, _, old = self.rules.states[self.rules.at]
        shown = self.shown_name()
        if (not clicks and not self.rules.states[self.rules.at][2]) or old == model or shown is None:
            expected = (clicks, base, True, model)
        else:
            expected = (tuple(c for c in clicks if c not in self.rules.shown[0]), shown, True, model)
        self.timeline.put_box(BOX, model)
        self.rules.push(expected)
        self.waiting.append(self.timeline.now)

    @rule(number=st.integers(0, 5))
    def next_image(self, number):
        self.timeline.other_image(str(number), drawn(number))
        self.rules = Rules([((), drawn(number).digest, False, "")], 0, ((), drawn(number).digest, False, ""))

    @invariant()
    def agrees_with_the_rules(self):
        timeline, rules = self.timeline, self.rules
        plain = [(s.clicks, self.base_name(s.base), s.box is not None, s.model) for s in timeline.states]
        assert plain == rules.states
        assert timeline.position == rules.at
        assert timeline.can_undo == (rules.at > 0)
        assert timeline.can_redo == (rules.at < len(rules.states) - 1)
        assert timeline.pending == (rules.shown_at != rules.at)
        assert same(timeline.mask, evaluate(timeline.shown)), "the mask shown is that of the state shown"


TestTimelineAtRandom = TimelineMachine.TestCase
TestTimelineAtRandom.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
