"""What a search is answered: the network's own answers, in this process and from a server."""

import numpy as np
import pytest

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.errors import ModelError, PromptError
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.nets.tempering import Tempering
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from servers import serving

CLICKS = [PatchClick((30.0, 31.0, 32.0), True), PatchClick((10.0, 40.0, 20.0), True)]


@pytest.fixture
def tempered(tiny_network, monkeypatch):
    """A predictor that does for users what the default model does: two first passes, tempered, clicks hold."""
    monkeypatch.setattr(tiny_network, "first_passes", 2, raising=False)
    tempering = Tempering(early=1.5, reach=4.0, against=0.2, wide=0.75, large=100, small=0.5, hold=True)
    monkeypatch.setattr(tiny_network, "tempering", tempering, raising=False)
    return TorchPredictor(tiny_network, TINY_PRESET, device="cpu")


@pytest.fixture
def patch():
    volume = small_volume()
    lattice = Lattice(volume.grid, TINY_PRESET.spacing)
    return cut_patch(volume, lattice, lattice.window_at((0, 0, 0), TINY_PRESET.patch_shape), TINY_PRESET)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_server_answers_a_search_as_this_process_does(tempered, patch, passes):
    with serving(tempered) as server:
        there = RemotePredictor(server.url).predict_each(patch, CLICKS, passes)
    here = tempered.predict_each(patch, CLICKS, passes)
    shown = tempered.predict(patch, PatchPrompts(CLICKS[:1])).low_res
    assert np.abs(there - here).max() < 1e-4
    assert np.abs(shown - here[0]).max() > 0.5, "a user is shown something else"


def test_a_search_with_a_server_that_cannot_answer_it_so_is_refused(tempered, patch, monkeypatch):
    with serving(tempered) as server:
        remote = RemotePredictor(server.url)
        monkeypatch.setattr("sammed3d.wire.prompts._KINDS", frozenset({"clicks", "box", "earlier", "mask", "layers"}))
        with pytest.raises(ModelError, match="Update the older of the two"):
            remote.predict_each(patch, CLICKS, 2)


@pytest.mark.parametrize("more", [{"clicks": CLICKS}, {"earlier": CLICKS[1:]}, {"from_mask": True}])
def test_the_networks_own_answer_is_that_to_one_click(tempered, patch, more):
    with pytest.raises(PromptError, match="one click"):
        tempered.predict(patch, PatchPrompts(**{"clicks": CLICKS[:1], **more}, raw=True))
