"""Clicks on a mask that somebody made: what the answer does not change keeps its own voxels."""

from dataclasses import replace

import numpy as np
import pytest

from helpers import FakePredictor, make_affine
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click
from sammed3d.files.volume import Volume
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.patch_inferer import PatchInferer
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session

SHAPE = (120, 110, 130)
LOGITS = 3.0
"""mm between logits of `PRESET`; the volume's voxels are 1 mm."""
PRESET = Preset(patch_shape=(64, 64, 64), low_res_shape=(32, 32, 32))
REACH = 12.0


class Round(FakePredictor):
    """Changes what it is shown round its clicks alone, or everywhere by a little that changes no sign."""

    def answer(self, patch, prompts):
        logits = prompts.mask_prompt * 0.9
        places = np.moveaxis(np.indices(logits.shape), 0, -1) * LOGITS
        for click in prompts.clicks:
            near = np.linalg.norm(places - (np.array(click.voxel) - 0.5) * LOGITS / 2, axis=-1) < REACH
            logits[near] = 6.0 if click.positive else -6.0
        return logits


@pytest.fixture(params=[(0, 0, 0), (0.2, -0.3, 0.1)], ids=["straight", "oblique"])
def grid(request):
    return Grid(SHAPE, make_affine((1.0, 1.0, 1.0), request.param, (5, -7, 9)))


def made_by_hand():
    """A box with a rough surface, and a line of single voxels that leads away from it."""
    i, j, k = np.indices(SHAPE)
    depth = np.minimum.reduce([20 - abs(i - 60), 20 - abs(j - 55), 20 - abs(k - 65)])
    mask = depth + np.random.default_rng(0).integers(-1, 2, SHAPE) > 0
    mask[60, 55, 85:112] = True
    return mask


def session_on(grid, refines=True):
    predictor = Round(PRESET)
    predictor.capabilities = replace(predictor.capabilities, refines_masks=refines)
    image = np.random.default_rng(1).integers(0, 1000, SHAPE).astype(np.int16)
    return Session(Volume(image, grid), predictor)


def distance(grid, index):
    return np.linalg.norm(np.moveaxis(np.indices(grid.shape), 0, -1) - np.array(index), axis=-1)


@pytest.mark.parametrize(("index", "positive"), [((60, 55, 47), False), ((60, 80, 65), True)])
def test_voxels_far_from_what_a_click_changed_are_those_of_the_mask(grid, index, positive):
    session, mask = session_on(grid), made_by_hand()
    session.start_from(mask)
    session.click(tuple(grid.to_world(index)), positive=positive)
    found, away = session.mask() != 0, distance(grid, index)
    assert np.array_equal(found[away > REACH + 3 * LOGITS], mask[away > REACH + 3 * LOGITS])
    assert (found[away < REACH - LOGITS] == positive).all()
    session.undo()
    assert np.array_equal(session.mask() != 0, mask)
    session.redo()
    assert np.array_equal(session.mask() != 0, found)


def test_prompts_and_mask_alone_make_it_again_also_over_several_patches(grid):
    session, mask = session_on(grid), made_by_hand()
    session.start_from(mask)
    clicks = [((60, 55, 47), False), ((60, 80, 65), True), ((45, 50, 70), False), ((60, 55, 118), True)]
    for index, positive in clicks:
        session.click(tuple(grid.to_world(index)), positive=positive)
    found = session.mask() != 0
    state = PromptState(
        tuple(Click(tuple(grid.to_world(index)), positive) for index, positive in clicks), BoxedMask.of(mask)
    )
    inferer = PatchInferer(session.volume, session_on(grid).predictor)
    again, _ = inferer.mask_of(state)
    assert len({visit.window for visit in inferer.visits(state)}) > 1
    assert np.array_equal(again.full(SHAPE) != 0, found)
    near = np.minimum.reduce([distance(grid, index) for index, _ in clicks])
    assert np.array_equal(found[near > REACH + 3 * LOGITS], mask[near > REACH + 3 * LOGITS])


def test_a_click_on_what_is_finer_than_the_logits_holds(grid):
    class Silent(FakePredictor):
        def answer(self, patch, prompts):
            return np.full(patch.voxels[::2, ::2, ::2].shape, -5.0)

    session, mask = session_on(grid), np.zeros(SHAPE, bool)
    mask[60, 55, 60:112] = True
    session.predictor.answer = Silent.answer.__get__(session.predictor)
    session.start_from(mask)
    session.click(tuple(grid.to_world((60, 55, 70))), positive=False)
    found = session.mask() != 0
    assert not found[60, 55, 70]
    assert found[60, 55, 60:66].any()
    assert np.array_equal(found[:, :, 76:], mask[:, :, 76:]), "the rest of the line stays"


def test_a_model_that_refines_no_masks_paints_its_whole_patch(grid):
    session, mask = session_on(grid, refines=False), made_by_hand()
    session.start_from(mask)
    session.click(tuple(grid.to_world((60, 55, 47))), positive=False)
    away = distance(grid, (60, 55, 47)) > REACH + 3 * LOGITS
    assert not np.array_equal((session.mask() != 0)[away], mask[away])
