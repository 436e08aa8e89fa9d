"""The remote predictor against a live server: same numbers, and nothing lost when things go wrong."""

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import trustme

from helpers import ThresholdPredictor, small_volume
from networks import TINY_PRESET
from sammed3d.errors import ModelError, ModelReplacedError, PredictionCancelled
from sammed3d.inference.predictor import Cancellation, PatchBox, PatchClick, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor, diagnose
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server.compute.engine import EnginePredictor
from sammed3d.server.compute.worker import Worker
from sammed3d.server.compute.worker_process import ModelSpec, WorkerSettings
from sammed3d.server.http.guard import ANYBODY
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.wire import messages
from servers import serving
from workers import Echo, echoed, job, load_echo

CLICKS = [((60.0, 75.0, 45.0), True), ((30.0, 100.0, 40.0), False), ((80.0, 60.0, 50.0), True)]


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.json"
    return file, {name: add_key(file, name) for name in ("anna", "ben")}


def masks(predictor):
    session = Session(small_volume((70, 80, 60)), predictor)
    results = []
    for world, positive in CLICKS:
        session.click(world, positive)
        results.append(session.mask())
    return results


def test_the_answers_are_those_of_this_process_bit_for_bit(tiny_network):
    local = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        remote = RemotePredictor(server.url)
        assert remote.preset == TINY_PRESET
        for mine, theirs in zip(masks(local), masks(remote), strict=True):
            assert mine.any()
            assert np.array_equal(mine, theirs)


@pytest.mark.slow
def test_every_prompt_reaches_the_network_as_it_was_given():
    """From the client through HTTP, engine, pipe, process and scheduler."""
    prompts = PatchPrompts(
        [PatchClick((1.0, 2.0, 3.0), True), PatchClick((4.0, 5.0, 6.0), False)],
        PatchBox((0.0, 1.0, 2.0), (8.0, 9.0, 10.0)),
        np.full((4, 4, 4), 0.5, np.float32),
    )
    patch = replace(job(1).patch)  # with its own digest
    worker = Worker(WorkerSettings((ModelSpec("default", "Echo", "", "", Path()),), "cpu", load=load_echo))
    with serving(Echo(), devices=[worker]) as server:
        remote = RemotePredictor(server.url)
        assert remote.capabilities == worker.started.capabilities["default"] == Echo().capabilities
        for asked in (prompts, replace(prompts, clicks=()), replace(prompts, box=None), PatchPrompts(prompts.clicks)):
            answer = remote.predict(patch, asked)
            assert np.array_equal(answer.low_res, echoed(asked))
            assert answer.score == 0.5
            inside = EnginePredictor(server.engine, ANYBODY, "default")
            assert np.array_equal(inside.predict(patch, asked).low_res, echoed(asked))


def test_a_patch_travels_once(tiny_network, monkeypatch):
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        remote = RemotePredictor(server.url)
        sent, original = [], requests.Session.request

        def request(session, method, url, **options):
            sent.append((method, len(options.get("data") or b"")))
            return original(session, method, url, **options)

        monkeypatch.setattr(requests.Session, "request", request)
        masks(remote)
        puts = [size for method, size in sent if method == "PUT"]
        posts = [size for method, size in sent if method == "POST"]
        assert len(puts) == 1
        assert len(posts) == len(CLICKS)
        assert max(posts) < 1000, "a click is a few bytes"


@pytest.mark.slow
def test_a_server_that_restarts_in_the_middle_is_not_noticed(tiny_network):
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        remote = RemotePredictor(server.url, patience=30)
        session = Session(small_volume((70, 80, 60)), remote)
        session.click(*CLICKS[0])
        server.stop()
        threading.Timer(0.5, server.start).start()
        session.click(*CLICKS[1])
        session.click(*CLICKS[2])
        expected = masks(TorchPredictor(tiny_network, TINY_PRESET, device="cpu"))[-1]
        assert np.array_equal(session.mask(), expected)


@pytest.mark.parametrize(
    "url",
    [
        *("http://[::1:80", "http://gpu:port", "http://gpu:99999", "http://gpu..hospital", f"http://{'a' * 64}", "gpu"),
        *("http://127.0.0.1:9/?a=b", "http://127.0.0.1:9/#models"),
    ],
)
def test_what_is_no_address_is_refused_as_such(url):
    with pytest.raises(ModelError, match="no address of a server"):
        RemotePredictor(url)
    [line] = diagnose(url)
    assert "no address of a server" in line


@pytest.mark.parametrize("key", ["ключ", "a\nb", "a\x00b"])
def test_a_key_that_cannot_be_sent_is_refused_as_such(key):
    with pytest.raises(ModelError, match="The key holds characters"):
        RemotePredictor("http://127.0.0.1:9", key=key)
    assert "The key holds characters" in diagnose("http://127.0.0.1:9", key)[0]


def test_a_key_may_have_been_copied_with_the_end_of_its_line(keys):
    file, secrets = keys
    with serving(ThresholdPredictor(), Keys.read(file)) as server:
        assert RemotePredictor(server.url, key=f" {secrets['anna']}\n").name


def test_another_model_under_the_same_name_is_not_taken_for_the_one_that_was_asked(tiny_network):
    """Its voxels have another size: patches that were cut for the one before would be answered, and wrongly."""
    finer = replace(TINY_PRESET, spacing=(2.0, 2.0, 2.0))
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        session = Session(small_volume((70, 80, 60)), RemotePredictor(server.url, patience=30))
        session.click(*CLICKS[0])
        before = session.mask()
        server.stop()
        server.start_with(TorchPredictor(tiny_network, finer, device="cpu"), "1" * 64)
        for _ in range(2):
            with pytest.raises(ModelReplacedError, match="'default' was removed or replaced"):
                session.click(*CLICKS[1])
        assert np.array_equal(session.mask(), before)
        assert RemotePredictor(server.url).preset == finer


def test_a_forgotten_patch_is_uploaded_again(tiny_network):
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu"), cache_mib=2) as server:
        session = Session(small_volume((70, 80, 60)), RemotePredictor(server.url))
        session.click(*CLICKS[0])
        for seed in range(3):  # others' patches fill the cache
            voxels = np.full(TINY_PRESET.patch_shape, seed, np.float32)
            server.engine.put_patch("somebody else", f"{seed:064x}", voxels)
        session.click(*CLICKS[1])
        assert len(session.current.clicks) == 2
        lookups = server.engine.metrics.registry.get_sample_value
        assert lookups("sammed3d_cache_lookups_total", {"cache": "patch", "result": "miss"}) == 1


@pytest.fixture
def waiting():
    """A predictor that waits until it is cancelled or let go."""
    predictor = ThresholdPredictor()
    predictor.gate.clear()
    return predictor


def test_cancelling_stops_the_server_within_a_second(waiting):
    with serving(waiting) as server:
        session = Session(small_volume(), RemotePredictor(server.url))
        cancellation = Cancellation()
        threading.Thread(target=lambda: (waiting.asked.wait(10), cancellation.cancel()), daemon=True).start()
        begin = time.monotonic()
        with pytest.raises(PredictionCancelled):
            session.click((60.0, 75.0, 45.0), cancellation=cancellation)
        assert time.monotonic() - begin < 3
        assert waiting.cancelled.wait(1)
        assert session.objects == []


def test_the_work_of_a_client_that_went_away_is_dropped(waiting):
    with serving(waiting) as server:
        server.engine.put_patch(ANYBODY, "1" * 64, np.zeros(waiting.preset.patch_shape, np.float32))
        head = {"model": "default", "request": "a1", "prompts": {"clicks": [[1, 2, 3, True]]}}
        url = server.url + messages.PREDICTIONS.format(digest="1" * 64)
        with pytest.raises(requests.Timeout):
            requests.post(url, data=messages.join(head), timeout=0.5)
        assert waiting.cancelled.wait(3)


@pytest.mark.slow
def test_a_busy_server_is_waited_for(waiting):
    with serving(waiting, queue=1) as server:
        first, second = (Session(small_volume(), RemotePredictor(server.url)) for _ in range(2))
        threads = [threading.Thread(target=s.click, args=((60.0, 75.0, 45.0),)) for s in (first, second)]
        threads[0].start()
        waiting.asked.wait(10)
        threads[1].start()
        time.sleep(0.5)
        waiting.gate.set()
        for thread in threads:
            thread.join(10)
        assert np.array_equal(first.mask(), second.mask())
        assert first.mask().any()


def test_what_is_wrong_is_said_in_words(tiny_network, keys):
    file, by_name = keys
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    with serving(predictor, Keys.read(file)) as server:
        for key, words in (("", "no key came"), ("wrong", "the key was refused")):
            with pytest.raises(ModelError, match=words):
                RemotePredictor(server.url, key=key)
        with pytest.raises(ModelError, match=r"does not serve the model 'absent' \(served: default\)"):
            RemotePredictor(server.url, "absent", key=by_name["anna"])
        assert RemotePredictor(server.url, key=by_name["anna"]).name.startswith("Test model on 127.0.0.1")
    with pytest.raises(ModelError, match="cannot be reached"):
        RemotePredictor("http://127.0.0.1:9", patience=0.2)
    for url in ("gpu.example.org", "ftp://gpu.example.org", "http://user:pass@host/", ""):
        with pytest.raises(ModelError, match="no address of a server"):
            RemotePredictor(url)


def test_another_protocol_is_said_in_words(tiny_network, monkeypatch):
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        import sammed3d.predictors.remote as client

        monkeypatch.setattr(client.messages, "PROTOCOL", 99)
        with pytest.raises(ModelError, match=r"speaks protocol \d+, this program 99\. Update the server"):
            RemotePredictor(server.url)


def test_the_connection_test_reports_step_by_step(tiny_network, keys):
    file, by_name = keys
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu"), Keys.read(file)) as server:
        report = diagnose(server.url, by_name["anna"])
        assert [line[0] for line in report] == ["✓"] * 4
        assert "NOT encrypted" in report[1]
        assert report[-1] == "✓ Models: Test model (cpu)"
        assert diagnose(server.url, "wrong")[-1].startswith("✗ the key was refused")
    assert diagnose("nonsense") == [
        "✗ 'nonsense' is no address of a server. It looks like https://gpu.hospital.example:8443"
    ]
    assert diagnose("http://127.0.0.1:9")[-1].startswith("✗ cannot be reached: nothing listens at port 9")


def test_a_hospitals_own_authority_is_trusted_when_it_is_named(tiny_network, tmp_path, monkeypatch):
    authority = trustme.CA()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = (str(tmp_path / "server.pem"), None)
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu"), tls=tls) as server:
        with pytest.raises(ModelError, match="cannot be trusted"):
            RemotePredictor(server.url)
        assert "cannot be trusted" in diagnose(server.url)[-1]
        ca = str(tmp_path / "ca.pem")
        assert RemotePredictor(server.url, verify=ca).preset == TINY_PRESET
        assert diagnose(server.url, verify=ca)[1].endswith("the connection is encrypted")
        with pytest.raises(ModelError, match="no such file of certificates"):
            RemotePredictor(server.url, verify=str(tmp_path / "absent.pem"))


def test_proxies_can_be_left_out(tiny_network, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        with pytest.raises(ModelError, match="cannot be reached"):
            RemotePredictor(server.url)
        assert RemotePredictor(server.url, proxies=False).preset == TINY_PRESET
        assert diagnose(server.url, proxies=False)[-1].startswith("✓ Models")


def test_logs_hold_nothing_of_the_patient(tiny_network, caplog, keys):
    file, by_name = keys
    caplog.set_level(logging.DEBUG)
    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu"), Keys.read(file)) as server:
        volume = small_volume((70, 80, 60))
        object.__setattr__(volume, "name", "DOE^JANE-19700101")
        session = Session(volume, RemotePredictor(server.url, key=by_name["anna"]))
        session.add_object("MARKER-OBJECT")
        session.click(*CLICKS[0])
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("sammed3d"))
    assert "anna" in text, "who used it is logged"
    for secret in ("DOE", "JANE", "MARKER", by_name["anna"], "60.0", "voxel"):
        assert secret not in text
