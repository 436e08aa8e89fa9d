"""Scribbles, lassos and boxes: what a model is told, what holds, and that history works as for clicks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from helpers import RegionPredictor, ThresholdPredictor, make_affine, phantom, small_volume
from sammed3d.core import prompt_files
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.core.rasterisation import voxels_of
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.files.volume import Volume
from sammed3d.inference.compositing import MASK_LOGIT
from sammed3d.inference.constraints import honoured
from sammed3d.inference.flat_area import FlatArea
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.preset import Preset
from sammed3d.inference.prompt_translation import FEW, MISSED, MOST
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from servers import serving

CENTRE = (60.0, 75.0, 45.0)  # of small_volume()
STROKE = ((45.0, 75.0, 45.0), (60.0, 80.0, 45.0), (80.0, 75.0, 45.0))
LOOP = ((45.0, 60.0, 45.0), (80.0, 60.0, 45.0), (80.0, 95.0, 45.0), (45.0, 95.0, 45.0))
BOX = ((30.0, 45.0, 30.0), (90.0, 105.0, 63.0))


PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))


def session_of(volume=None, threshold=0.437, preset=PRESET):
    return Session(volume or small_volume(), ThresholdPredictor(threshold, preset))


def marks(session, drawing):
    """The mask in the voxels that a drawing marks."""
    return session.mask()[tuple(voxels_of(drawing, session.volume.grid).T)]


def bright_ball(radius=20.0, shape=(40, 50, 30)):
    grid = Grid(shape, make_affine((3, 3, 3)))
    distance = np.linalg.norm(grid.to_world(np.stack(np.indices(shape), -1)) - CENTRE, axis=-1)
    return Volume(np.where(distance < radius, 900, 100).astype(np.int16), grid, "ball")


# What a model is told


def test_a_scribble_on_what_the_model_finds_becomes_few_clicks():
    session = session_of(bright_ball(), 1.0)
    session.scribble(((50.0, 75.0, 45.0), (70.0, 75.0, 45.0)))
    [told] = session.translations(session.current.name)
    assert (told.prompt, told.model) == ("scribble 1", "threshold")
    assert len(told.clicks) == FEW
    assert told.missed <= MISSED
    assert all(click.positive for click in told.clicks)
    assert session.predictor.calls[-1].clicks, "the model was told clicks"
    stroke = voxels_of(session.current.drawings[0], session.volume.grid).tolist()
    for click in told.clicks:
        assert np.rint(session.volume.grid.to_index(click.world)).tolist() in stroke


def test_a_scribble_that_the_model_misses_becomes_more_clicks_until_there_are_enough():
    session = session_of(threshold=1000.0)
    session.scribble(((10.0, 75.0, 45.0), (110.0, 75.0, 45.0)))
    [told] = session.translations(session.current.name)
    assert FEW < len(told.clicks) <= MOST
    assert len(set(told.clicks)) == len(told.clicks)
    assert told.missed > MISSED
    places = np.sort([click.world[0] for click in told.clicks])
    assert np.diff(places).max() < 35, "spread over the stroke"
    assert marks(session, session.current.drawings[0]).all(), "honoured all the same"


def test_a_negative_scribble_where_nothing_is_costs_one_click():
    session = session_of(bright_ball(), 1.0)
    session.click(CENTRE)
    session.scribble(((5.0, 5.0, 5.0), (5.0, 100.0, 5.0)), positive=False)
    [told] = session.translations(session.current.name)
    assert [click.positive for click in told.clicks] == [False]


def test_a_lasso_becomes_clicks_deep_inside_and_negative_ones_where_the_answer_leaves_it():
    session = session_of(bright_ball(30.0), 1.0)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    loop = np.stack([60 + 12 * np.cos(turn), 75 + 12 * np.sin(turn), np.full(40, 45.0)], axis=1)
    session.lasso(loop)
    [told] = session.translations(session.current.name)
    assert told.prompt == "lasso 1"
    inside = [np.hypot(c.world[0] - 60, c.world[1] - 75) for c in told.clicks if c.positive]
    outside = [np.hypot(c.world[0] - 60, c.world[1] - 75) for c in told.clicks if not c.positive]
    assert inside[0] < 4
    assert outside, "the ball is larger than the loop"
    assert min(outside) > 15
    assert {c.world[2] for c in told.clicks} == {45.0}


def test_a_negative_lasso_is_told_as_negative_clicks_inside_it_alone():
    session = session_of(bright_ball(30.0), 1.0)
    session.click(CENTRE)
    session.lasso(LOOP, positive=False)
    [told] = session.translations(session.current.name)
    assert not any(click.positive for click in told.clicks)
    assert not marks(session, session.current.drawings[0]).any()
    assert session.mask().any()


def test_a_box_for_a_model_without_boxes_is_a_click_in_its_middle_and_a_limit():
    session = session_of(threshold=-1000.0)  # floods
    session.set_box(*BOX)
    [told] = session.translations(session.current.name)
    assert told.prompt == "box"
    assert told.clicks == (Click((60.0, 75.0, 48.0)),), "the voxel nearest to the middle"
    assert told.mask_prompt
    shown = session.predictor.calls[0][2]
    share = 4 / 3 * np.pi * 30 * 30 * 16.5 / 12**3  # of an ellipsoid, in voxels of the low-res logits
    assert MASK_LOGIT / 2 < shown.max() <= MASK_LOGIT + 1e-5
    assert shown.min() == 0
    assert shown.sum() / MASK_LOGIT == pytest.approx(share, rel=0.1)
    world = session.volume.grid.to_world(np.argwhere(session.mask()))
    assert len(world)
    assert (world >= np.array(BOX[0]) - 1e-6).all()
    assert (world <= np.array(BOX[1]) + 1e-6).all()
    session.set_honour(False)
    assert session.mask().sum() > len(world), "the model's answer, which leaves the box"
    [told] = session.translations(session.current.name)
    assert any(not c.positive for c in told.clicks), "told where it must not be, as nothing else holds it"
    for click in told.clicks[1:]:
        assert not all(low <= v <= high for v, low, high in zip(click.world, *BOX, strict=True))
    session.undo()
    assert len(np.argwhere(session.mask())) == len(world)


def test_an_object_that_started_from_a_mask_is_not_shown_the_box_in_its_place():
    session = session_of()
    mask = np.zeros(session.volume.grid.shape, np.uint8)
    mask[15:20, 20:25, 12:16] = 1
    session.start_from(mask)
    session.set_box(*BOX)
    assert not session.translations(session.current.name)[0].mask_prompt


def test_models_with_boxes_get_the_box_itself():
    volume = small_volume((60, 70, 8), (1.0, 1.0, 4.0))
    session = Session(volume, RegionPredictor())
    session.set_box((10.0, 10.0, 8.0), (50.0, 60.0, 24.0))
    assert session.translations(session.current.name) == ()
    assert any(box is not None for *_, box in session.predictor.calls)


def test_a_2d_model_is_shown_the_inside_of_a_loop_on_its_slice_alone():
    volume = small_volume((60, 70, 8), (1.0, 1.0, 4.0))
    flat = [(20.0, 20.0, 12.0), (40.0, 20.0, 12.0), (40.0, 50.0, 12.0), (20.0, 50.0, 12.0)]
    upright = [(20.0, 30.0, 2.0), (40.0, 30.0, 2.0), (40.0, 30.0, 26.0), (20.0, 30.0, 26.0)]
    for loop, shown in ((flat, True), (upright, False)):
        session = Session(volume, RegionPredictor())
        session.lasso(loop)
        [told] = session.translations(session.current.name)
        assert told.mask_prompt == shown
        mask_prompt = session.predictor.calls[0][2]
        assert (mask_prompt is not None) == shown
        if shown:
            inside = (mask_prompt > 0).sum() * (60 / 16) * (70 / 16)
            assert inside == pytest.approx(20 * 30, rel=0.3)
        assert marks(session, session.current.drawings[0]).all()
        mask = session.mask()
        session.undo()
        session.redo()
        assert np.array_equal(session.mask(), mask)


@pytest.mark.slow
def test_a_server_answers_drawn_prompts_as_this_process_does(tiny_network):
    predictor = TorchPredictor(tiny_network, PRESET, device="cpu")
    here, there = Session(small_volume(), predictor), None
    with serving(predictor) as server:
        there = Session(small_volume(), RemotePredictor(server.url))
        for session in (here, there):
            session.set_box(*BOX)
            session.scribble(STROKE)
        assert np.array_equal(here.mask(), there.mask())
    with serving(predictor) as server:  # started again, on another port; it has forgotten everything
        again = Session(small_volume(), RemotePredictor(server.url))
        again.set_prompts(there.current.prompts)
        for session in (here, again):
            session.lasso(LOOP, positive=False)
        assert np.array_equal(here.mask(), again.mask())
        assert here.mask().any()


def test_prompts_without_drawings_are_told_as_they_are():
    session = session_of()
    session.click(CENTRE)
    state = session.current.state
    assert session.inferer.inner.mask_of(state)[0].digest == session.current.mask.digest
    assert session.inferer.translations(state) == ()


# What holds


def test_a_positive_click_outside_the_box_widens_it():
    session = session_of(threshold=-1000.0)
    session.set_box(*BOX)
    session.click((105.0, 75.0, 45.0))
    world = session.volume.grid.to_world(np.argwhere(session.mask()))
    assert 90.0 < world[:, 0].max() <= 105.0 + 1e-6


def test_a_box_as_thin_as_a_stroke_holds_the_slice_that_it_was_drawn_on():
    session = session_of(threshold=-1000.0)
    session.set_box((30.0, 45.0, 45.5), (90.0, 105.0, 45.5))
    assert set(np.argwhere(session.mask())[:, 2]) == {15}


def test_the_newer_of_two_drawings_holds_where_they_cross():
    session = session_of(threshold=1000.0)
    session.scribble(((30.0, 75.0, 45.0), (90.0, 75.0, 45.0)))
    session.scribble(((60.0, 45.0, 45.0), (60.0, 105.0, 45.0)), positive=False)
    first, second = session.current.drawings
    assert not marks(session, second).any()
    assert marks(session, first).sum() == len(marks(session, first)) - 1
    session.undo()
    assert marks(session, first).all()


angles = st.tuples(*[st.floats(-0.7, 0.7)] * 3)
voxel_sizes = st.tuples(*[st.sampled_from([0.8, 1.5, 3.0, 5.0])] * 3)
fractions = st.tuples(*[st.floats(-0.2, 1.2)] * 3)


@st.composite
def volumes(draw):
    """Oblique, anisotropic, one voxel thick."""
    shape = [draw(st.sampled_from([9, 24])) for _ in range(3)]
    shape[draw(st.integers(0, 2))] = draw(st.sampled_from([1, 2, 17]))
    affine = make_affine(draw(voxel_sizes), draw(angles), draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    return Volume((phantom(shape) + np.indices(shape).sum(axis=0) % 3 + 1).astype(np.int16), Grid(tuple(shape), affine))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(volumes(), st.lists(fractions, min_size=3, max_size=6), st.sampled_from([Scribble, Lasso]), st.booleans(),
       st.integers(0, 2))  # fmt: skip
@pytest.mark.slow
def test_what_is_drawn_holds_on_every_grid_and_what_lies_outside_is_refused(volume, places, kind, positive, axis):
    index = np.array(places) * (np.array(volume.grid.shape) - 1)
    if kind is Lasso:
        index[:, axis] = (volume.grid.shape[axis] - 1) // 2
    points = volume.grid.to_world(index)
    session = session_of(volume, 200.0, replace(PRESET, normalisation="none"))
    try:
        drawing = kind(tuple(map(tuple, points)), positive)
    except PromptError:  # a loop on one line
        return
    if not len(voxels_of(drawing, volume.grid)):
        with pytest.raises(PromptError, match="outside"):
            session.draw(drawing)
        assert session.objects == []
        return
    session.draw(drawing)
    assert (marks(session, session.current.drawings[0]) == positive).all()
    assert len(marks(session, session.current.drawings[0]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(volumes(), fractions, fractions)
def test_boxes_are_not_left_on_any_grid(volume, begin, end):
    last = np.array(volume.grid.shape) - 1
    corners = volume.grid.to_world(np.array([begin, end]) * last)
    session = session_of(volume, -1e6, replace(PRESET, normalisation="none"))
    if not volume.grid.contains(corners.mean(axis=0)):
        with pytest.raises(PromptError, match="outside"):
            session.set_box(*corners)
        return
    session.set_box(*corners)
    world = volume.grid.to_world(np.argwhere(session.mask()))
    half = np.abs(volume.grid.index_to_world[:3, :3]).sum(axis=1) / 2
    low, high = corners.min(axis=0), corners.max(axis=0)
    thin = high - low < 2 * half
    assert (world >= np.where(thin, (low + high) / 2 - half, low) - 1e-3).all()
    assert (world <= np.where(thin, (low + high) / 2 + half, high) + 1e-3).all()


def test_nothing_is_honoured_where_the_image_was_exchanged_under_it():
    state = PromptState(
        (), None, None, "m", (Scribble(((1e4, 1e4, 1e4),)), Lasso(((1e4, 0, 0), (1e4, 9, 0), (1e4, 9, 9))))
    )
    grid = small_volume().grid
    assert honoured(None, state, grid) is None


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_the_depth_of_a_flat_area_is_measured_in_its_plane(angle):
    grid = Grid((60, 60, 20), make_affine((1.0, 1.0, 4.0), (0, angle, 0)))
    turn = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.stack([30 + 15 * np.cos(turn), 30 + 15 * np.sin(turn), np.full(100, 40.0)], axis=1)
    circle[:, 2] -= (circle[:, 0] - 30) * np.tan(angle)  # level in the world
    voxels = voxels_of(Lasso(tuple(map(tuple, grid.to_world(circle / (1, 1, 4))))), grid)
    area = FlatArea(voxels, grid, 10.0)
    long_axis = 15 / np.cos(angle)
    assert 14 < area.depths.max() < long_axis + 1
    deepest = voxels[area.depths.argmax()]
    assert np.abs(deepest[:2] - 30).max() <= 2
    ring = area.ring(5.0)
    distance = np.hypot(*(ring[:, :2] - 30).T)
    assert len(ring) > 20
    assert distance.min() > 17
    assert distance.max() < 25


# History, saving, failures: as for clicks


def test_places_among_clicks_are_kept_when_a_click_goes():
    session = session_of()
    session.click(CENTRE)
    session.click((20.0, 20.0, 20.0), positive=False)
    session.scribble(STROKE)
    session.click((80.0, 80.0, 60.0))
    assert [d.after for d in session.current.drawings] == [2]
    session.remove_click(0)
    assert [d.after for d in session.current.drawings] == [1]
    session.undo()
    assert [d.after for d in session.current.drawings] == [2]


def test_what_was_told_is_saved_with_the_prompts(tmp_path):
    session = session_of()
    session.set_box(*BOX)
    session.lasso(LOOP)
    session.scribble(STROKE, positive=False)
    session.set_honour(False)
    session.save_prompts(tmp_path / "p.json")
    data = json.loads((tmp_path / "p.json").read_text())
    assert data["version"] == 3
    [saved] = prompt_files.read(tmp_path / "p.json")
    assert [t.prompt for t in saved.translations] == ["box", "lasso 1", "scribble 1"]
    assert all(t.clicks and t.model == "threshold" for t in saved.translations)
    assert saved.drawings == session.current.drawings
    assert saved.honour is False
    again = session_of(session.volume)
    again.load_prompts(tmp_path / "p.json")
    assert np.array_equal(again.mask(), session.mask())
    assert again.translations(again.current.name) == saved.translations


def test_prompts_from_elsewhere_are_put_in_their_order(tmp_path):
    late, early = Scribble(STROKE, after=7), Lasso(LOOP, after=0)
    session = session_of()
    session.set_prompts(session_of().add_object("x").prompts.__class__("x", (Click(CENTRE),), drawings=(late, early)))
    assert [(d.kind, d.after) for d in session.current.drawings] == [("lasso", 0), ("scribble", 1)]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda s: s.lasso([(0, 0, 0), (9, 9, 9)]), "at least 3 points, not 2"),
        (lambda s: s.lasso([(0, 0, 0), (9, 9, 9), (18, 18, 18)]), "on one line"),
        (lambda s: s.scribble([]), "at least 1 point"),
        (lambda s: s.scribble([(1, 2)]), "three coordinates"),
        (lambda s: s.scribble(5), "three coordinates"),
        (
            lambda s: s.scribble([(900, 900, 900), (950, 900, 900)]),
            r"scribble lies outside phantom, which reaches from",
        ),
        (lambda s: s.lasso([(900, 900, 900), (950, 900, 900), (950, 950, 900)]), "lasso lies outside phantom"),
        (lambda s: s.set_box((900, 900, 900), (950, 950, 950)), "box, .* lies outside phantom"),
    ],
)
def test_bad_drawings_are_refused_in_one_line_and_change_nothing(draw, message):
    session = session_of()
    session.click(CENTRE)
    before = session.current.state, session.mask()
    with pytest.raises(PromptError, match=message) as caught:
        draw(session)
    assert "\n" not in str(caught.value)
    assert session.current.state is before[0]
    assert np.array_equal(session.mask(), before[1])


@pytest.mark.parametrize("draw", ["scribble", "lasso"])
def test_a_drawing_that_is_cancelled_leaves_no_trace(draw):
    predictor = ThresholdPredictor()
    predictor.fail = PredictionCancelled("cancelled")
    session = Session(small_volume(), predictor)
    with pytest.raises(PredictionCancelled):
        getattr(session, draw)(LOOP)
    assert session.objects == []
    session = session_of()
    session.click(CENTRE)
    before = session.mask()
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        getattr(session, draw)(LOOP, cancellation=cancellation)
    assert np.array_equal(session.mask(), before)
    assert session.current.drawings == ()
    getattr(session, draw)(LOOP)
    assert len(session.current.drawings) == 1


def test_an_object_that_started_from_a_mask_is_drawn_on():
    session = session_of(bright_ball(), 1.0)
    mask = np.zeros(session.volume.grid.shape, np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    session.start_from(mask)
    session.scribble(((9.0, 9.0, 9.0), (12.0, 9.0, 9.0)), positive=False)
    assert not marks(session, session.current.drawings[0]).any()
    session.undo()
    assert np.array_equal(session.mask(), mask)


class Drawing(RuleBasedStateMachine):
    """A user who clicks, draws, undoes and reopens; every mask is that of a new session with the same prompts."""

    @initialize(thick=st.sampled_from([30, 1]), angle=st.sampled_from([0.0, 0.4]))
    def open(self, thick, angle):
        self.volume = Volume(
            phantom((24, 24, thick)) + 1, Grid((24, 24, thick), make_affine((3, 3, 3), (angle, 0, 0))), "v"
        )
        self.session = session_of(self.volume)
        self.states = [(None, self.session.mask())]
        self.position = 0

    def place(self, fractions):
        return self.volume.grid.to_world(np.multiply(fractions, np.subtract(self.volume.grid.shape, 1)))

    def did(self):
        """Note the state after an operation that was not undo or redo."""
        del self.states[self.position + 1 :]
        self.states.append((self.session.current.state, self.session.mask()))
        self.position += 1

    @rule(where=st.tuples(*[st.floats(0, 1)] * 3), positive=st.booleans())
    def click(self, where, positive):
        self.session.click(self.place(where), positive)
        self.did()

    @rule(where=st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=4), positive=st.booleans())
    def scribble(self, where, positive):
        self.session.scribble(self.place(where), positive)
        self.did()

    @rule(middle=st.floats(0.3, 0.7), radius=st.floats(0.1, 0.3), level=st.floats(0, 1), positive=st.booleans())
    def lasso(self, middle, radius, level, positive):
        turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        circle = np.stack([middle + radius * np.cos(turn), middle + radius * np.sin(turn), np.full(9, level)], axis=1)
        self.session.lasso(self.place(circle), positive)
        self.did()

    @rule(begin=st.floats(0, 0.4), end=st.floats(0.6, 1))
    def box(self, begin, end):
        self.session.set_box(self.place((begin,) * 3), self.place((end,) * 3))
        self.did()

    @rule(honour=st.booleans())
    def honour(self, honour):
        self.session.set_honour(honour)
        self.did()

    @precondition(lambda self: self.session.current is not None and self.session.current.clicks)
    @rule(data=st.data())
    def remove(self, data):
        self.session.remove_click(data.draw(st.integers(0, len(self.session.current.clicks) - 1)))
        self.did()

    @rule()
    def undo(self):
        assert (self.session.undo() is not None) == (self.position > 0)
        self.position = max(0, self.position - 1)
        assert np.array_equal(self.session.mask(), self.states[self.position][1])

    @rule()
    def redo(self):
        assert (self.session.redo() is not None) == (self.position < len(self.states) - 1)
        self.position = min(len(self.states) - 1, self.position + 1)
        assert np.array_equal(self.session.mask(), self.states[self.position][1])

    @precondition(lambda self: self.session.current is not None)
    @rule()
    def fails(self):
        self.session.predictor.fail = RuntimeError("out of memory")
        before = self.session.current.state
        try:
            self.session.scribble(self.place([(0.11, 0.2, 0.3), (0.5, 0.5, 0.5)]))
            self.did()  # known already
        except RuntimeError:
            assert self.session.current.state is before
        self.session.predictor.fail = None

    @precondition(lambda self: self.session.current is not None)
    @rule()
    def reopen(self):
        saved = prompt_files.loads(prompt_files.dumps([self.session.current.prompts]))
        other = session_of(self.volume)
        other.set_prompts(saved[0])
        assert np.array_equal(other.mask(), self.session.mask())
        assert other.current.drawings == self.session.current.drawings
        if self.session.current.state.honour:
            expected = np.zeros(self.volume.grid.shape, int) - 1
            for drawing in self.session.current.drawings:
                expected[tuple(voxels_of(drawing, self.volume.grid).T)] = drawing.positive
            assert (self.session.mask()[expected >= 0] == expected[expected >= 0]).all()


TestDrawing = Drawing.TestCase
TestDrawing.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_every_drawing_is_one_step_of_undo():
    session = session_of()
    steps = [
        lambda: session.click(CENTRE),
        lambda: session.scribble(STROKE),
        lambda: session.lasso(LOOP, positive=False),
        lambda: session.set_box(*BOX),
        lambda: session.set_honour(False),
    ]
    masks = [session.mask()]
    for step in steps:
        step()
        masks.append(session.mask())
    calls = len(session.predictor.calls)
    for mask in masks[-2::-1]:
        session.undo()
        assert np.array_equal(session.mask(), mask)
    for mask in masks[1:]:
        session.redo()
        assert np.array_equal(session.mask(), mask)
    assert len(session.predictor.calls) == calls
    assert session.current.box == BoxPrompt(*BOX)
