"""Clicks on a mask that was given mean the same on a server as in this process."""

import numpy as np
import pytest

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.inference.session import Session
from sammed3d.nets.tempering import Tempering
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from servers import serving


def clicked(volume, predictor):
    """Masks of an object that started from a mask, after one click and another."""
    session = Session(volume, predictor)
    squared = sum((axis - n / 2) ** 2 for axis, n in zip(np.ogrid[:70, :80, :60], volume.grid.shape, strict=True))
    session.start_from(squared <= 18**2)
    masks = []
    for place, positive in (((35.0, 40.0, 46.0), False), ((35.0, 62.0, 30.0), True)):
        session.click(tuple(volume.grid.to_world(place)), positive=positive)
        masks.append(session.mask())
    return masks


@pytest.mark.parametrize("refines", [True, False])
def test_a_server_refines_a_mask_as_this_process_does(tiny_network, monkeypatch, refines):
    reach = {"depth": 1.2, "beyond": 2.5} if refines else {}
    tempering = Tempering(early=1.5, reach=4.0, against=0.2, hold=True, **reach)
    monkeypatch.setattr(tiny_network, "tempering", tempering, raising=False)
    predictor, volume = TorchPredictor(tiny_network, TINY_PRESET, device="cpu"), small_volume((70, 80, 60))
    assert predictor.capabilities.refines_masks == refines
    here = clicked(volume, predictor)
    with serving(predictor) as server:
        there = clicked(volume, RemotePredictor(server.url))
    assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))
    monkeypatch.setattr(tiny_network, "tempering", Tempering(early=1.5, reach=4.0, against=0.2, hold=True))
    plain = clicked(volume, TorchPredictor(tiny_network, TINY_PRESET, device="cpu"))
    assert all(np.array_equal(one, other) != refines for one, other in zip(here, plain, strict=True))
