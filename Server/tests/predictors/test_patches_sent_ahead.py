"""The patch of a first click goes to the server while it answers in the wide patch."""

import threading

import numpy as np
import pytest

from helpers import long_volume
from rough import PLACES, PRESET, RoughPredictor
from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import ModelError, PredictionCancelled
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.predictors.patch_uploads import UPLOAD
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.transport import Transport
from servers import serving


class WaitsForNext(RoughPredictor):
    """Answers the question about a wide patch when the server has another patch too, or never."""

    def __init__(self):
        super().__init__(looks_wide=True)
        self.arrived = threading.Event()

    def answer(self, patch, prompts):
        if not prompts.from_wide:
            assert self.arrived.wait(20), "the patch of the next question does not come"
        return super().answer(patch, prompts)


def put_patches_of(server, monkeypatch, arrived=None):
    """Set `arrived` when a second patch comes; returns all that come."""
    came, put = [], server.engine.put_patch

    def noted(user, digest, voxels):
        put(user, digest, voxels)
        came.append(digest)
        if len(came) == 2 and arrived is not None:
            arrived.set()

    monkeypatch.setattr(server.engine, "put_patch", noted)
    return came


def test_the_patch_of_the_next_question_is_sent_while_a_wide_one_is_answered(monkeypatch):
    predictor = WaitsForNext()
    with serving(predictor) as server:
        came = put_patches_of(server, monkeypatch, predictor.arrived)
        session = Session(long_volume(), RemotePredictor(server.url))
        session.click(PLACES[0])
        assert len(came) == 2, "each once"
    expected = Session(long_volume(), RoughPredictor(looks_wide=True))
    expected.click(PLACES[0])
    assert np.array_equal(session.mask(), expected.mask())


def ahead(monkeypatch, do):
    """Do something before each request about a patch that is sent ahead."""
    ask = Transport.ask

    def asked(self, *args, **options):
        if threading.current_thread().name == UPLOAD:
            do()
        return ask(self, *args, **options)

    monkeypatch.setattr(Transport, "ask", asked)


@pytest.mark.parametrize("error", [ModelError("no way"), RuntimeError("no memory")])
def test_what_goes_wrong_with_a_patch_sent_ahead_is_left_to_who_needs_it(monkeypatch, error):
    tried = []

    def fail():
        tried.append(1)
        raise error

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    ahead(monkeypatch, fail)
    with serving(RoughPredictor(looks_wide=True)) as server:
        session = Session(long_volume(), RemotePredictor(server.url))
        session.click(PLACES[0])
    assert tried
    assert session.mask().any()


def test_who_waits_for_a_patch_that_is_on_its_way_can_leave(monkeypatch):
    cancellation, left = Cancellation(), threading.Event()

    def hang():
        threading.Timer(0.3, cancellation.cancel).start()
        assert left.wait(20), "the upload was waited for"

    ahead(monkeypatch, hang)
    with serving(RoughPredictor(looks_wide=True)) as server:
        session = Session(long_volume(), RemotePredictor(server.url))
        with pytest.raises(PredictionCancelled):
            session.click(PLACES[0], cancellation=cancellation)
        left.set()
        session.click(PLACES[0])
    assert session.mask().any()


def test_a_patch_is_not_sent_ahead_for_a_question_that_was_never_asked(monkeypatch):
    predictor = RoughPredictor()
    volume = long_volume()
    lattice = Lattice(volume.grid, PRESET.spacing)
    windows = (lattice.window_at(place, PRESET.patch_shape) for place in (PLACES[0], PLACES[-1]))
    first, other = (cut_patch(volume, lattice, window, PRESET) for window in windows)
    prompts = PatchPrompts([PatchClick((10.0, 10.0, 10.0), True)])
    cancelled = Cancellation()
    cancelled.cancel()
    with serving(predictor) as server:
        came = put_patches_of(server, monkeypatch)
        remote = RemotePredictor(server.url)
        remote.send_next(other)
        with pytest.raises(PredictionCancelled):
            remote.predict(first, prompts, cancelled)
        remote.predict(first, prompts)
        for thread in threading.enumerate():
            if thread.name == UPLOAD:
                thread.join(20)
    assert came == [first.digest]
