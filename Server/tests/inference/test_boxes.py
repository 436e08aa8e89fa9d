"""Boxes as prompts: in sessions of 3-D models, and through a server."""

from dataclasses import replace

import numpy as np
import pytest
import requests

from helpers import small_volume
from networks import TINY_PRESET, TINY_SIZES, filled
from sammed3d.errors import PromptError
from sammed3d.inference.session import Session
from sammed3d.nets import build
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.wire import messages
from sammed3d.zoo import load_predictor
from servers import serving


@pytest.fixture(scope="module")
def boxes_3d():
    """A predictor of SAM-Med3D's class with box embeddings."""
    return TorchPredictor(filled(build("sam_med3d_boxes", TINY_SIZES)), replace(TINY_PRESET, boxes=True), device="cpu")


def test_a_box_opens_the_patch_and_goes_before_the_clicks(boxes_3d):
    session = Session(small_volume((70, 80, 60)), boxes_3d)
    session.set_box((30.0, 40.0, 30.0), (120.0, 130.0, 110.0))
    [visit] = session.inferer.inner.visits(session.current.state)
    assert visit.clicks == ()
    begin, end = np.array(visit.window.begin), np.array(visit.window.begin) + 64
    grid = session.inferer.inner.lattice.grid
    assert (begin <= grid.to_index((75, 85, 70))).all()
    assert (end > grid.to_index((75, 85, 70))).all()
    assert visit.box.begin == tuple(np.rint(grid.to_index((30, 40, 30))) - begin)
    boxed = session.mask()
    assert boxed.any()
    session.click((75.0, 85.0, 70.0))
    both = session.mask()
    assert not np.array_equal(boxed, both)
    alone = Session(session.volume, boxes_3d)
    alone.click((75.0, 85.0, 70.0))
    assert not np.array_equal(alone.mask(), both)
    session.undo()
    assert np.array_equal(session.mask(), boxed)


def test_a_box_larger_than_the_patch_is_cut_to_it_and_one_outside_refused(boxes_3d):
    session = Session(small_volume((90, 90, 90)), boxes_3d)
    session.set_box((-50.0, 0.0, 0.0), (300.0, 267.0, 267.0))
    [visit] = session.inferer.inner.visits(session.current.state)
    assert visit.box.begin == (0, 0, 0)
    assert visit.box.end == (63, 63, 63)
    with pytest.raises(PromptError, match=r"middle of the box, .* lies outside"):
        session.set_box((-500.0, 0.0, 0.0), (-300.0, 50.0, 50.0))


def test_2d_models_and_boxes_give_the_same_answers_as_here(tiny_checkpoint_2d):
    volume = small_volume((60, 70, 8), (1.0, 1.0, 4.0))
    with serving(load_predictor(tiny_checkpoint_2d, "cpu")) as server:
        masks = []
        for predictor in (RemotePredictor(server.url), load_predictor(tiny_checkpoint_2d, "cpu")):
            session = Session(volume, predictor)
            session.set_box((10.0, 10.0, 8.0), (50.0, 60.0, 24.0))
            session.click((30.0, 35.0, 12.0), positive=False)
            masks.append(session.mask())
        assert np.array_equal(*masks)
        assert masks[0].any()


@pytest.mark.parametrize("box", [[0, 0, 0, 9, 9], [0, 0, 0, 9, 9, 65], [-1, 0, 0, 9, 9, 9], [0, 0, 0, 9, 9, "9"], {}])
def test_boxes_that_are_none_are_refused(tiny_network, box):
    with serving(TorchPredictor(tiny_network, replace(TINY_PRESET, boxes=True), device="cpu")) as server:
        body = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [], "box": box}})
        response = requests.post(server.url + messages.PREDICTIONS.format(digest="0" * 64), data=body, timeout=10)
        assert response.status_code == 422
        assert "A box is" in response.json()["detail"]


def test_a_box_for_a_model_that_knows_none_is_refused_by_the_server(tiny_network):
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        body = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [], "box": [0, 0, 0, 9, 9, 9]}})
        response = requests.post(server.url + messages.PREDICTIONS.format(digest="0" * 64), data=body, timeout=10)
        assert response.status_code == 422
        assert "does not know boxes" in response.json()["detail"]
