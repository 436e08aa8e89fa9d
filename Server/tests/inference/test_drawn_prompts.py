"""Scribbles, lassos and boxes: what a model is told, what holds, and that history works as for clicks."""

import numpy as np
import pytest

from drawn import BOX, LOOP, PRESET, STROKE, bright_ball, marks, session_of
from helpers import CENTRE, RegionPredictor, make_affine, phantom, small_volume
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click
from sammed3d.core.rasterisation import voxels_of
from sammed3d.files.volume import Volume
from sammed3d.inference.compositing import MASK_LOGIT
from sammed3d.inference.prompt_translation import FEW, MISSED, MOST
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from servers import serving


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


def test_what_a_model_is_told_does_not_depend_on_the_rounding_of_the_images_matrix():
    """Files hold a matrix with other last digits than the scene; places that are equally far away stay so."""
    oblique = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    told = set()
    for seed in range(8):
        noise = np.random.default_rng(seed).uniform(-1, 1, (3, 4)) * np.abs(oblique[:3]) * 3e-15 * bool(seed)
        matrix = oblique.copy()
        matrix[:3] += noise
        session = session_of(Volume(phantom((40, 50, 30)), Grid((40, 50, 30), matrix), "saved"), threshold=1000.0)
        session.scribble(Grid((40, 50, 30), oblique).to_world([(10, 12, 15), (24, 12, 15)]))
        session.set_honour(False)
        low, high = Grid((40, 50, 30), oblique).to_world([(13.5, 13.5, 8.5), (26.5, 24.5, 20.5)])
        session.set_box(np.minimum(low, high), np.maximum(low, high))
        clicks = [click for translation in session.translations(session.current.name) for click in translation.clicks]
        told.add(tuple(tuple(np.rint(session.volume.grid.to_index(click.world)).astype(int)) for click in clicks))
    assert len(told) == 1, "\n".join(str([tuple(map(int, v)) for v in t]) for t in told)
