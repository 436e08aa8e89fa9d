"""Sessions with predictors that need no network: geometry, caches, history, patches that overlap."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helpers import (
    AXIS_MAPS,
    CENTRE,
    ThresholdPredictor,
    long_volume,
    make_affine,
    phantom,
    stored_as,
)
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Cancellation
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session

# Geometry


@pytest.mark.parametrize(("slices", "spacing"), [(1, 0.2), (2, 0.1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_thinner_than_half_a_voxel_of_the_model_are_seen_as_thick_ones_are(axis, slices, spacing):
    picture = phantom((50, 60, 1))

    def session_of(count, thickness):
        array = np.moveaxis(np.repeat(picture, count, axis=2), 2, axis)
        grid = Grid(array.shape, make_affine(np.insert([3.0, 3.0], axis, thickness)))
        session = Session(Volume(array, grid, "slices"), ThresholdPredictor())
        session.click(grid.to_world(np.insert([20, 30], axis, 0)))
        return session

    thin, thick = session_of(slices, spacing), session_of(1, 3.0)
    (one,), (other,) = (each.predictor.calls for each in (thin, thick))
    assert one.window == other.window
    patches = [each.inferer.inner.patch(one.window) for each in (thin, thick)]
    assert patches[0].digest == patches[1].digest


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    axes=st.sampled_from(AXIS_MAPS),
    voxels=st.tuples(*[st.sampled_from([(0.3, 10), (0.5, 9), (0.75, 4), (1.0, 3), (1.5, 2), (2.4, 5), (6.0, 1)])] * 3),
    counts=st.tuples(*[st.integers(3, 6)] * 3),
    angles=st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    mirrored=st.booleans(),
    where=st.tuples(*[st.sampled_from([0.0, 0.37, 0.5, 1.0])] * 3),
)
@example(AXIS_MAPS[0], ((3.0, 2),) * 3, (6, 6, 6), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), False, (1.0, 1.0, 1.0))
@pytest.mark.slow
def test_a_phantom_gives_the_same_mask_however_it_is_stored(axes, voxels, counts, angles, origin, mirrored, where):
    """All 48 orders and flips, oblique, 0.3-6 mm, mirrored, borders and corner voxels, smaller than the patch.

    The extents are multiples of 1.5 mm, so that the lattice starts at a corner of the volume from either end.
    """
    spacing = np.array([size for size, _ in voxels])
    shape = tuple(count * multiple for count, (_, multiple) in zip(counts, voxels, strict=True))
    affine = make_affine(spacing, angles, origin)
    if mirrored:
        affine[:3, 0] *= -1
    image = (phantom(shape) > 400).astype(np.int16) * 300 + phantom(shape, 1) % 7 + 1
    plain = Session(Volume(image, Grid(shape, affine)), ThresholdPredictor(preset=Preset()))
    stored, grid = stored_as(image, affine, axes)
    other = Session(Volume(stored, grid), ThresholdPredictor(preset=Preset()))
    assert grid.matches(Grid(shape, affine)) == (axes == AXIS_MAPS[0])
    for fraction, positive in ((where, True), ((0.9, 0.2, 0.7), False)):
        world = tuple(plain.volume.grid.to_world(np.multiply(fraction, np.subtract(shape, 1))).tolist())
        plain.click(world, positive)
        other.click(world, positive)
        assert np.array_equal(axes.undo(other.mask()), plain.mask())
        assert plain.mask().any() or not positive


@pytest.mark.parametrize("spacing", [(0.3, 0.3, 6.0), (1.1, 0.7, 2.3)])
def test_the_mask_follows_the_object_at_the_volumes_own_resolution(spacing):
    """A bright ball: every voxel further than one low-res cell from its surface is right."""
    shape = tuple(int(90 / s) for s in spacing)
    grid = Grid(shape, make_affine(spacing, (0.2, -0.1, 0.3), (5, 6, 7)))
    centre = grid.to_world(np.array(shape) / 2)
    distance = np.linalg.norm(grid.to_world(np.stack(np.indices(shape), -1)) - centre, axis=-1)
    image = np.where(distance < 25, 900, 100).astype(np.int16)
    session = Session(Volume(image, grid), ThresholdPredictor(1.0, Preset()))
    session.click(tuple(centre))
    mask = session.mask()
    assert mask.dtype == np.uint8
    assert mask.shape == shape
    assert mask[distance < 19].all()
    assert not mask[distance > 31].any()


def test_the_update_reports_exactly_what_changed(session):
    before = session.mask()
    for world, positive in ((CENTRE, True), ((20.0, 20.0, 20.0), False), ((90.0, 100.0, 60.0), True)):
        update = session.click(world, positive)
        after = session.mask()
        changed = np.argwhere(before != after)
        assert update.box.begin == tuple(changed.min(axis=0))
        assert update.box.end == tuple(changed.max(axis=0) + 1)
        assert np.array_equal(update.voxels, after[update.box.slices])
        assert np.array_equal(update.previous, before[update.box.slices])
        before = after


def test_corner_voxels_can_be_clicked_and_beyond_them_not(session):
    grid = session.volume.grid
    for corner in grid.corners():
        session.click(tuple(corner))
    with pytest.raises(PromptError, match=r"outside phantom, which reaches from \(0.0, 0.0, 0.0\)"):
        session.click((-2.0, 10.0, 10.0))
    assert len(session.current.clicks) == 8


# Prompts and caches


def test_every_click_is_one_call_with_all_clicks_in_order(session, predictor):
    session.click(CENTRE)
    session.click((20.0, 20.0, 20.0), positive=False)
    windows, clicks, initials, *_ = zip(*predictor.calls, strict=True)
    assert [len(c) for c in clicks] == [1, 2]
    assert clicks[1][0] == clicks[0][0]
    assert [c.positive for c in clicks[1]] == [True, False]
    assert initials == (None, None)
    assert len(set(windows)) == 1


@pytest.mark.slow
def test_undo_and_redo_without_limit_ask_the_network_nothing(session, predictor):
    rng = np.random.default_rng(0)
    states = [session.mask()]
    for n in range(40):
        session.click(tuple(rng.uniform(5, 80, 3)), positive=n % 3 != 1)
        states.append(session.mask())
    calls = len(predictor.calls)
    for state in states[-2::-1]:
        assert session.undo() is not None
        assert np.array_equal(session.mask(), state)
    assert session.undo() is None
    for state in states[1:]:
        assert session.redo() is not None
        assert np.array_equal(session.mask(), state)
    assert session.redo() is None
    assert len(predictor.calls) == calls


def test_a_click_after_undo_drops_the_redo(session):
    session.click(CENTRE)
    session.click((20.0, 20.0, 20.0))
    session.undo()
    session.click((30.0, 30.0, 30.0))
    assert session.redo() is None
    assert [c.world for c in session.current.clicks] == [CENTRE, (30.0, 30.0, 30.0)]


def test_removing_and_moving_an_early_click_replays_and_can_be_undone(session):
    session.click(CENTRE)
    session.click((20.0, 20.0, 20.0), positive=False)
    session.click((80.0, 80.0, 60.0))
    full = session.mask()
    session.remove_click(1)
    without = session.mask()
    session.undo()
    session.move_click(1, (30.0, 40.0, 50.0))
    moved = session.mask()
    assert session.current.clicks[1] == Click((30.0, 40.0, 50.0), positive=False)
    session.undo()
    assert np.array_equal(session.mask(), full)
    assert not np.array_equal(without, full)

    fresh = Session(session.volume, ThresholdPredictor())
    fresh.set_clicks([Click(CENTRE), Click((80.0, 80.0, 60.0))])
    assert np.array_equal(fresh.mask(), without)
    fresh.set_clicks([Click(CENTRE), Click((30.0, 40.0, 50.0), False), Click((80.0, 80.0, 60.0))])
    assert np.array_equal(fresh.mask(), moved)


def test_negative_clicks_before_the_first_positive_one_wait_for_it(session, predictor):
    update = session.click((20.0, 20.0, 20.0), positive=False)
    assert update.box is None
    assert not predictor.calls
    session.click(CENTRE)
    [(_, clicks, *_)] = predictor.calls
    assert [c.positive for c in clicks] == [True, False]


def test_a_failed_or_cancelled_prediction_leaves_the_session_as_it_was(session, predictor):
    session.click(CENTRE)
    before, calls = session.mask(), len(predictor.calls)
    predictor.fail = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        session.click((20.0, 20.0, 20.0))
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        session.click((20.0, 20.0, 20.0), cancellation=cancellation)
    assert np.array_equal(session.mask(), before)
    assert session.current.clicks == (Click(CENTRE),)
    predictor.fail = None
    session.click((20.0, 20.0, 20.0))
    assert len(predictor.calls) == calls + 2, "the failed one and this one; the cancelled one was never asked for"
    assert len(session.current.clicks) == 2


def test_a_first_click_that_is_cancelled_leaves_no_object(session, predictor):
    predictor.fail = PredictionCancelled("cancelled")
    with pytest.raises(PredictionCancelled):
        session.click(CENTRE)
    assert session.objects == []
    assert session.current is None
    assert not session.mask().any()
    assert session.undo() is None


def test_reset_can_be_undone(session):
    session.click(CENTRE)
    mask = session.mask()
    update = session.reset()
    assert not session.mask().any()
    assert not update.voxels.any()
    session.undo()
    assert np.array_equal(session.mask(), mask)


# Objects


def test_objects_have_their_own_clicks_history_and_mask(session):
    session.add_object("liver")
    session.click(CENTRE)
    liver = session.mask()
    session.add_object("spleen")
    session.click((20.0, 20.0, 20.0))
    session.undo()
    assert not session.mask("spleen").any()
    assert np.array_equal(session.mask("liver"), liver)
    session.select("liver")
    session.undo()
    assert not session.mask().any()
    assert session.objects[0].color != session.objects[1].color
    with pytest.raises(PromptError, match="already"):
        session.add_object("liver")
    with pytest.raises(PromptError, match="no object named 'kidney'"):
        session.mask("kidney")


def test_bad_click_indices_are_named(session):
    with pytest.raises(PromptError, match="no click 0"):
        session.remove_click(0)
    session.click(CENTRE)
    with pytest.raises(PromptError, match="no click 1; the object has 1"):
        session.move_click(1, CENTRE)


def test_prompts_survive_saving_and_give_the_same_mask(session, tmp_path):
    session.add_object("liver")
    session.click(CENTRE)
    session.click((20.0, 20.0, 20.0), positive=False)
    session.add_object("spleen")
    session.click((30.0, 100.0, 40.0))
    session.save_prompts(tmp_path / "prompts.json")
    tomorrow = Session(session.volume, ThresholdPredictor())
    tomorrow.load_prompts(tmp_path / "prompts.json")
    assert [o.name for o in tomorrow.objects] == ["liver", "spleen"]
    for name in ("liver", "spleen"):
        assert np.array_equal(tomorrow.mask(name), session.mask(name))


def test_prompts_that_cannot_be_written_are_named(session, tmp_path):
    with pytest.raises(PromptError, match=r"no.prompts\.json: the prompts cannot be written"):
        session.save_prompts(tmp_path / "no" / "prompts.json")


def test_loading_prompts_that_do_not_fit_adds_nothing(session, tmp_path):
    far = Session(long_volume(), ThresholdPredictor())
    far.click((30.0, 30.0, 30.0))
    far.add_object("far")
    far.click((30.0, 30.0, 590.0))
    far.save_prompts(tmp_path / "far.json")
    session.add_object("mine")
    with pytest.raises(PromptError, match="outside"):
        session.load_prompts(tmp_path / "far.json")
    assert [o.name for o in session.objects] == ["mine"]
    assert session.current.name == "mine"


def test_loading_prompts_that_is_interrupted_adds_nothing(session, tmp_path):
    saved = Session(session.volume, ThresholdPredictor())
    for name in ("liver", "spleen"):
        saved.add_object(name)
        saved.click(CENTRE, positive=True)
        saved.click((30.0, 100.0, 40.0), positive=name == "liver")
    saved.save_prompts(tmp_path / "prompts.json")
    session.add_object("mine")
    called = []

    def interrupt_the_second(patch, prompts):
        called.append(patch)
        if len(called) == 2:
            raise KeyboardInterrupt

    session.predictor.before = interrupt_the_second
    with pytest.raises(KeyboardInterrupt):
        session.load_prompts(tmp_path / "prompts.json")
    assert [o.name for o in session.objects] == ["mine"]
    assert session.current.name == "mine"
