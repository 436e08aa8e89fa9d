"""What networks do to a click: it arrives all the same, or the user is told; Cancel acts at once."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import requests

from helpers import ThresholdPredictor, small_volume
from networks_that_fail import BadNetwork
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Grid
from sammed3d.errors import ModelError, PredictionCancelled
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.predictors import transport
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.server.compute.worker import WorkerError
from sammed3d.wire import messages
from servers import serving
from workers import job

PLACE = (60.0, 75.0, 45.0)
CLICK = PatchPrompts([PatchClick((1.0, 2.0, 3.0), True)])
SMALL = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4))


@pytest.fixture
def fake():
    return ThresholdPredictor(preset=SMALL)


@pytest.fixture
def network(fake):
    with serving(fake) as server:
        network = BadNetwork(server.url)
        yield network
        network.close()


def patch():
    return replace(job(1).patch)  # with its own digest


@pytest.mark.slow
def test_an_answer_that_breaks_off_is_asked_for_again(network, fake):
    remote = RemotePredictor(network.url)
    remote.predict(patch(), CLICK)
    for cut in (0, 20, 400, 600):  # nothing, in the head, in the body
        remote.close()
        network.cuts = [cut, cut, None]
        assert np.array_equal(remote.predict(patch(), CLICK).low_res, fake.predict(patch(), CLICK).low_res)
        assert not network.cuts


@pytest.mark.slow
def test_a_network_that_always_breaks_is_said_in_words_and_the_click_can_be_made_again():
    with serving(ThresholdPredictor()) as server:
        network = BadNetwork(server.url)
        session = Session(small_volume(), RemotePredictor(network.url, patience=0.5))
        session.click(PLACE)
        before = session.mask()
        session.predictor.close()
        network.cuts = [400] * 100
        with pytest.raises(ModelError, match=r"cannot be reached: .*Nothing was lost"):
            session.click((50.0, 75.0, 45.0), positive=False)
        assert np.array_equal(session.mask(), before)
        network.cuts = []
        session.click((50.0, 75.0, 45.0), positive=False)
        assert not np.array_equal(session.mask(), before)
        network.close()


def test_a_silent_connection_is_given_up_and_another_one_tried(network, fake, monkeypatch):
    remote = RemotePredictor(network.url)
    monkeypatch.setattr(transport, "TIMEOUTS", (5.0, 0.3))
    network.silent = True
    threading.Timer(0.5, setattr, (network, "silent", False)).start()
    assert np.array_equal(remote.predict(patch(), CLICK).low_res, fake.predict(patch(), CLICK).low_res)


def test_cancel_acts_at_once_on_a_silent_connection(network):
    remote = RemotePredictor(network.url)
    remote.close()
    network.silent = True
    cancellation = Cancellation()
    threading.Timer(0.3, cancellation.cancel).start()
    begin = time.monotonic()
    with pytest.raises(PredictionCancelled):
        remote.predict(patch(), CLICK, cancellation)
    assert time.monotonic() - begin < transport.SILENCE / 3


@pytest.mark.slow
def test_a_server_that_computes_for_long_gives_signs_of_life(network, fake, monkeypatch):
    remote = RemotePredictor(network.url)
    remote.predict(patch(), CLICK)
    monkeypatch.setattr(messages, "SIGN_SECONDS", 0.1)
    monkeypatch.setattr(transport, "TIMEOUTS", (5.0, 1.0))
    asked = len(fake.calls)
    fake.close_for(2.5)
    again = PatchPrompts([*CLICK.clicks, PatchClick((4.0, 5.0, 6.0), False)])
    answer = remote.predict(patch(), again)
    assert len(fake.calls) == asked + 1
    assert not fake.cancelled.is_set(), "nobody lost patience"
    assert np.array_equal(answer.low_res, ThresholdPredictor(preset=SMALL).predict(patch(), again).low_res)


@pytest.mark.slow
def test_what_fails_after_signs_of_life_is_said(network, fake, monkeypatch):
    remote = RemotePredictor(network.url, patience=0.5)
    monkeypatch.setattr(messages, "SIGN_SECONDS", 0.1)
    fake.fail = WorkerError("The prediction failed twice.")
    fake.close_for(0.5)
    with pytest.raises(ModelError, match=r"failed twice\. \(HTTP 500\)"):
        remote.predict(patch(), CLICK)
    fake.close_for(0.5)
    fake.fail = PredictionCancelled("by the server")
    with pytest.raises(PredictionCancelled):
        remote.predict(patch(), CLICK)


def noise(seed=0):
    """A volume whose patches are as large on the wire as they get."""
    array = np.random.default_rng(seed).integers(0, 30_000, (100, 100, 100), dtype=np.int16)
    return Volume(array, Grid(array.shape, np.diag([2.0, 2.0, 2.0, 1.0])), "noise")


def click_that_is_cancelled(session, cancellation):
    with pytest.raises(PredictionCancelled):
        session.click(PLACE, True, cancellation)


def test_an_upload_says_how_far_it_is_and_stops_at_once():
    with serving(ThresholdPredictor()) as server:
        network = BadNetwork(server.url)
        remote = RemotePredictor(network.url)
        network.rate = 400_000
        session = Session(noise(), remote)
        cancellation, seen = Cancellation(), []
        thread = threading.Thread(target=click_that_is_cancelled, args=(session, cancellation))
        thread.start()
        while len(seen) < 3:
            if cancellation.stage == "send" and cancellation.share not in (None, *seen):
                seen.append(cancellation.share)
            time.sleep(0.01)
        cancellation.cancel()
        thread.join(2)
        assert not thread.is_alive()
        assert seen == sorted(seen)
        assert 0 < seen[0] < seen[-1] < 1
        assert session.objects == []
        network.close()


@pytest.mark.slow
def test_a_click_on_a_known_patch_overtakes_an_upload():
    with serving(ThresholdPredictor()) as server:
        network = BadNetwork(server.url)
        remote = RemotePredictor(network.url)
        known, new = Session(small_volume(), remote), Session(noise(1), remote)
        known.click(PLACE)
        network.rate = 2_000_000
        cancellation = Cancellation()
        thread = threading.Thread(target=new.click, args=(PLACE, True, cancellation))
        thread.start()
        while not cancellation.share:
            time.sleep(0.01)
        known.click((50.0, 75.0, 45.0), positive=False)
        assert cancellation.stage == "send", "the upload still goes on"
        thread.join(30)
        assert new.mask().any()
        network.close()


def test_no_thread_is_made_for_a_request(network):
    remote = RemotePredictor(network.url)
    remote.predict(patch(), CLICK)

    def helpers():
        return {t.ident for t in threading.enumerate() if t.name == "sammed3d-request"}

    before = helpers()
    for n in range(5):
        remote.predict(patch(), PatchPrompts([PatchClick((1.0, 2.0, float(n)), True)]))
    assert helpers() <= before


def test_threads_that_have_no_request_to_send_end(network, monkeypatch):
    monkeypatch.setattr(transport, "IDLE", 0.2)
    before = set(threading.enumerate())
    remotes = [RemotePredictor(network.url) for _ in range(3)]
    deadline = time.monotonic() + 10
    while left := {t for t in threading.enumerate() if t.name == "sammed3d-request"} - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    assert remotes[0].predict(patch(), CLICK).low_res.any(), "and are there again when they are needed"


@pytest.mark.parametrize(("key", "sent"), [("of-anna", "Bearer of-anna"), ("", None)])
def test_what_netrc_says_of_the_machine_does_not_replace_the_key(tmp_path, monkeypatch, key, sent):
    (tmp_path / "netrc").write_text("default login anna password of-another-server")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    request = requests.Request("GET", "https://gpu.hospital.example:8443/v1/info")
    prepared = transport.session(key, True, proxies=True).prepare_request(request)
    assert prepared.headers.get("Authorization") == sent
