"""Whatever a user does with an object that is followed, its mask is the one that its prompts make anew."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from helpers import make_affine
from large_objects import FloodPredictor, bar, start_of
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume
from sammed3d.inference.follow_limits import FollowSettings
from sammed3d.inference.session import Session

pytestmark = pytest.mark.slow
BAR, _ = bar(length=660, angles=(0.2, -0.1, 0.3))
SHARES = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])


class FollowedObject(RuleBasedStateMachine):
    """Clicks, following, undo, redo, moves, removals, drawings, saving: in any order."""

    def __init__(self):
        super().__init__()
        self.session = Session(BAR, FloodPredictor())
        self.session.add_object("bar")
        self.known = [self.session.mask()]
        self.position = 0

    def changed(self):
        """Remember the mask of a new state, which has to be what the prompts make in a session of their own."""
        mask = self.session.mask()
        fresh = Session(BAR, FloodPredictor())
        fresh.add_object("bar")
        fresh.set_prompts(self.session.current.prompts)
        assert np.array_equal(fresh.mask(), mask)
        self.known[self.position + 1 :] = [mask]
        self.position += 1

    @property
    def clicks(self):
        return self.session.current.clicks

    @rule(
        share=SHARES, positive=st.booleans(), mode=st.sampled_from(["always", "ask", "never"]), most=st.integers(1, 3)
    )
    def click(self, share, positive, mode, most):
        self.session.following = FollowSettings(mode, most)
        self.session.click(start_of(BAR, share), positive)
        self.changed()

    @precondition(lambda self: self.clicks and self.clicks[-1].positive)
    @rule(most=st.integers(1, 3))
    def follow(self, most):
        drawn_last = any(drawing.after >= len(self.clicks) for drawing in self.session.current.drawings)
        if not drawn_last and self.session.follow(FollowSettings("always", most)).followed.patches:
            self.changed()

    @rule(share=SHARES, positive=st.booleans())
    def scribble(self, share, positive):
        middle = np.array(start_of(BAR, share))
        self.session.scribble([tuple(middle), tuple(middle + 6)], positive)
        self.changed()

    @precondition(lambda self: self.clicks)
    @rule(share=SHARES)
    def move(self, share):
        self.session.move_click(0, start_of(BAR, share))
        self.changed()

    @precondition(lambda self: self.clicks)
    @rule()
    def remove(self):
        self.session.remove_click(0)
        self.changed()

    @rule()
    def undo(self):
        self.position = max(self.position - 1, 0)
        self.session.undo()
        assert np.array_equal(self.session.mask(), self.known[self.position])

    @rule()
    def redo(self):
        self.position = min(self.position + 1, len(self.known) - 1)
        self.session.redo()
        assert np.array_equal(self.session.mask(), self.known[self.position])

    @rule()
    def save_and_reopen(self):
        with tempfile.TemporaryDirectory() as folder:
            self.session.save_prompts(Path(folder) / "prompts.json")
            other = Session(BAR, FloodPredictor())
            other.load_prompts(Path(folder) / "prompts.json")
        assert other.current.prompts == self.session.current.prompts
        assert np.array_equal(other.mask(), self.session.mask())


FollowedObject.TestCase.settings = settings(
    max_examples=10, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestHistories = FollowedObject.TestCase


def test_moved_in_the_world_the_same_voxels_are_followed():
    there = make_affine((1, 1, 1), (0.4, 0.1, -0.2), (300, -40, 12))
    moved = Volume(BAR.array, Grid(BAR.grid.shape, there @ BAR.grid.index_to_world), "moved")
    straight = Volume(BAR.array, Grid(BAR.grid.shape, np.diag([6.0, 6, 6, 1])), "straight")
    shifted = Volume(BAR.array, Grid(BAR.grid.shape, make_affine((6, 6, 6), (0, 0, 0), (300, -40, 12))), "shifted")
    masks = []
    for volume in (straight, shifted, moved):
        session = Session(volume, FloodPredictor())
        session.following = FollowSettings("always", 40)
        session.click(start_of(volume))
        masks.append(session.mask())
    assert np.array_equal(masks[0], masks[1])
    assert 2 * (masks[2] & masks[0]).sum() > 0.9 * (masks[2].sum() + masks[0].sum()), "turned, it is sampled elsewhere"
