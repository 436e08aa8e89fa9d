"""Sessions over several patches, and on masks that were there before."""

from dataclasses import replace

import numpy as np
import pytest

from helpers import (
    CENTRE,
    COARSE,
    ThresholdPredictor,
    long_volume,
    make_affine,
)
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click
from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference import patch_inferer
from sammed3d.inference.compositing import MARGIN, Layer, mask_prompt
from sammed3d.inference.predictor import PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session


def test_an_existing_mask_enters_as_mask_prompt_and_is_the_start(session, predictor):
    mask = np.zeros(session.volume.grid.shape, np.uint8)
    mask[10:20, 10:20, 10:20] = 7
    session.start_from(mask)
    assert np.array_equal(session.mask(), mask > 0)
    session.click((45.0, 45.0, 45.0), positive=False)
    initial = predictor.calls[-1].mask_prompt
    assert initial.shape == predictor.preset.low_res_shape
    assert initial.max() > 6
    assert initial.min() < -6
    session.undo()
    assert np.array_equal(session.mask(), mask > 0)
    session.undo()
    assert not session.mask().any()


def test_a_mask_of_another_shape_is_refused(session):
    with pytest.raises(VolumeError, match=r"\(3, 4, 5\)"):
        session.start_from(np.zeros((3, 4, 5)))


def test_voxels_outside_every_patch_never_change():
    session = Session(long_volume(), ThresholdPredictor())
    mask = np.random.default_rng(0).integers(0, 2, (60, 60, 200)).astype(np.uint8)
    session.start_from(mask)
    session.click((90.0, 90.0, 300.0))
    outside = np.ones(200, bool)
    outside[(300 - 96) // 3 : (300 + 96) // 3 + 1] = False
    assert np.array_equal(session.mask()[:, :, outside], mask[:, :, outside])
    assert not np.array_equal(session.mask(), mask)


def test_a_click_in_the_inner_part_stays_and_one_near_the_face_opens_a_patch():
    predictor = ThresholdPredictor(preset=Preset())
    session = Session(long_volume(), predictor)
    session.click((90.0, 90.0, 300.0))
    window = predictor.calls[-1].window
    inner_end = session.inferer.inner.lattice.grid.to_world((60, 60, window.end[2] - MARGIN))[2]
    session.click((90.0, 90.0, inner_end - 2.0))
    assert predictor.calls[-1].window == window
    session.click((90.0, 90.0, inner_end + 2.0))
    further = predictor.calls[-1]
    assert further.window != window
    assert len(further.clicks) == 1
    assert further.mask_prompt is not None
    # A click back in the first patch's inner part goes there, with the object as it stands.
    session.click((90.0, 90.0, 250.0))
    assert predictor.calls[-1].window == window
    assert predictor.calls[-1].mask_prompt is not None


def test_further_clicks_in_a_patch_ask_with_the_mask_prompt_that_was_made_for_the_first(monkeypatch):
    made = []
    monkeypatch.setattr(patch_inferer, "mask_prompt", lambda *args: made.append(1) or mask_prompt(*args))
    predictor = ThresholdPredictor(preset=Preset())
    session = Session(long_volume(), predictor)
    session.click((90.0, 90.0, 300.0))
    for z in (390.0, 396.0, 402.0):
        session.click((90.0, 90.0, z))
    assert len(made) == 1
    first, *others = [call.mask_prompt for call in predictor.calls[-3:]]
    assert all(np.array_equal(other, first) for other in others)
    session.click((90.0, 90.0, 297.0))  # back in the first one, of which the object looks different now
    assert len(made) == 2
    assert not np.array_equal(predictor.calls[-1].mask_prompt, first)


@pytest.mark.slow
def test_a_model_that_takes_all_clicks_is_told_of_earlier_ones_that_lie_in_a_further_patch():
    predictor, other = (ThresholdPredictor(preset=Preset(), all_clicks=every) for every in (True, False))
    for each in (predictor, other):
        session = Session(long_volume(), each)
        session.click((90.0, 90.0, 300.0))
        session.click((90.0, 90.0, 240.0), positive=False)
        session.click((90.0, 90.0, 385.0))  # a further patch, in which the first click lies and the second does not
        session.click((90.0, 90.0, 250.0))  # back in the first patch
        session.click((90.0, 90.0, 260.0))
    lattice = session.inferer.inner.lattice
    first, second, third = ((lattice.nearest((90.0, 90.0, s))[2], s != 240.0) for s in (300.0, 240.0, 385.0))
    told = [[(c.voxel[2] + call.window.begin[2], c.positive) for c in call.earlier] for call in predictor.calls]
    assert told == [[], [], [first], [first, second, third], [first, second, third]]
    assert not any(call.earlier for call in other.calls)


def looking_wide():
    """A predictor that looks at a wide patch round a first click."""
    predictor = ThresholdPredictor()
    predictor.capabilities = replace(predictor.capabilities, looks_wide=True)
    return predictor


def test_round_the_first_click_on_a_new_object_a_wide_patch_is_looked_at_once():
    predictor = looking_wide()
    session = Session(long_volume(), predictor)
    session.click((80.0, 80.0, 255.0), positive=False)
    assert not predictor.calls
    session.click((90.0, 90.0, 240.0))
    wide, near = predictor.calls
    assert wide.window.shape == (120, 120, 120)
    assert [click.positive for click in wide.clicks] == [True]
    assert not wide.mask_prompt.any(), "which says that nothing is known, and is answered once"
    assert near.from_wide
    assert [click.positive for click in near.clicks] == [True, False]
    inferer = session.inferer.inner
    answer = predictor.answer(inferer.patch(wide.window), PatchPrompts(wide.clicks))
    layer = Layer(wide.window, answer, None)
    seen = mask_prompt(inferer.lattice, near.window, COARSE.low_res_shape, [layer], None)
    assert np.allclose(near.mask_prompt, seen, atol=1e-5)
    session.click((95.0, 80.0, 235.0))
    assert len(predictor.calls) == 3
    assert predictor.calls[2].from_wide
    assert np.array_equal(predictor.calls[2].mask_prompt, near.mask_prompt)
    session.click((90.0, 90.0, 420.0))
    assert len(predictor.calls) == 4
    assert not predictor.calls[3].from_wide
    for _ in range(2):
        session.undo()
    session.redo()
    assert len(predictor.calls) == 4


def test_where_something_is_known_of_an_object_no_wide_patch_is_looked_at():
    predictor = looking_wide()
    session = Session(long_volume(), predictor)
    mask = np.zeros(session.volume.grid.shape, bool)
    mask[20:30, 20:30, 60:70] = True
    session.start_from(mask)
    session.click((90.0, 90.0, 240.0))
    assert not any(call.from_wide or call.window.shape != COARSE.patch_shape for call in predictor.calls)


def test_that_an_object_started_from_a_mask_is_said_in_every_patch_to_models_that_ask_for_it():
    for refines in (True, False):
        predictor = ThresholdPredictor()
        predictor.capabilities = replace(predictor.capabilities, refines_masks=refines)
        session = Session(long_volume(), predictor)
        session.click((90.0, 90.0, 240.0))
        mask = np.zeros(session.volume.grid.shape, bool)
        mask[20:30, 20:30, 60:70] = True
        session.start_from(mask)
        session.click((90.0, 90.0, 240.0))
        session.click((90.0, 90.0, 420.0))
        assert [call.from_mask for call in predictor.calls] == [False, refines, refines]


def test_at_the_end_of_the_volume_no_further_patch_is_opened(predictor, session):
    session.click(CENTRE)
    for corner in session.volume.grid.corners():
        session.click(tuple(corner))
    assert len({call.window for call in predictor.calls}) == 1


def test_a_further_patch_keeps_what_was_approved_elsewhere_and_leaves_no_seam():
    """A rod that runs through both patches stays one smooth rod; far from the new patch nothing changes."""
    shape = (60, 60, 200)
    grid = Grid(shape, make_affine((3, 3, 3)))
    i, j, _ = np.indices(shape)
    rod = (i - 30) ** 2 + (j - 30) ** 2 < 36
    image = np.where(rod, 1000, 100).astype(np.int16)
    session = Session(Volume(image, grid), ThresholdPredictor(1.0))
    session.click((90.0, 90.0, 200.0))
    first = session.mask()
    session.click((90.0, 90.0, 310.0))
    both = session.mask()
    begin = next(k for k in range(200) if not np.array_equal(first[:, :, k], both[:, :, k]))
    assert np.array_equal(both[:, :, :begin], first[:, :, :begin])
    assert begin * 3 > 200
    assert both.sum() > 1.3 * first.sum()
    per_slice = both.sum(axis=(0, 1))
    inside = per_slice[per_slice > 0]
    assert np.flatnonzero(per_slice).size == np.ptp(np.flatnonzero(per_slice)) + 1
    steps = np.abs(np.diff(inside[2:-2].astype(int)))
    assert steps.max() <= 0.15 * inside.max()


@pytest.mark.slow
def test_layers_do_not_depend_on_how_the_state_was_reached():
    clicks = [Click((90.0, 90.0, s), positive) for s, positive in ((150, True), (320, True), (160, False), (470, True))]
    stepwise = Session(long_volume(), ThresholdPredictor())
    for click in clicks:
        stepwise.click(click.world, click.positive)
    at_once = Session(long_volume(), ThresholdPredictor())
    at_once.set_clicks(clicks)
    assert np.array_equal(stepwise.mask(), at_once.mask())
    stepwise.undo()
    stepwise.undo()
    at_once.set_clicks(clicks[:2])
    assert np.array_equal(stepwise.mask(), at_once.mask())
