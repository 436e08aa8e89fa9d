"""A timeline used at random agrees with its rules, written down once more on plain lists."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sammed3d.core.prompts import Click
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline
from timelines import BOX, drawn, evaluate, same


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
