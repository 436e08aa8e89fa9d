"""The server on Ray: two replicas, and a user who does not notice that one of them dies."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import requests

from clusters import command_of, needs_ray, ray_cluster
from helpers import small_volume
from networks import TINY_PRESET
from ports import unused_port
from sammed3d.errors import ModelError
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server import on_ray
from sammed3d.server.compute.worker_process import patch_of
from sammed3d.server.http.keys import add_key
from sammed3d.server.settings import read_settings
from sammed3d.wire import arrays, messages
from sammed3d.wire.messages import Question
from sammed3d.zoo.store import ModelStore

CLICKS = [((60.0 + 2 * n, 75.0 - 3 * n, 45.0 + n), n % 3 != 1) for n in range(10)]
KILLS = (3, 6)  # before these clicks a replica is killed: one of the two has had the clicks so far


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, "knows no TLS"),
        ({"nninteractive": True}, "remembers them"),
        ({"host": "10.0.0.1"}, "a file of keys is needed"),
    ],
)
def test_settings_that_do_not_go_with_ray_are_refused(settings, message):
    with pytest.raises(ModelError, match=message):
        on_ray.check(read_settings(None, **settings))


class SlowServe:
    """Ray Serve on a busy machine: its first proxies take so long to start that it replaces them."""

    def __init__(self, *states):
        self.starts, self._states = 0, list(states)

    def start(self, http_options):
        import ray

        self.starts += 1
        if self.starts == 1:
            raise ray.exceptions.ActorDiedError

    def status(self):
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return SimpleNamespace(proxies={} if state is None else {"a host": "HEALTHY", "another": state})


@needs_ray
def test_proxies_that_are_slow_to_start_are_waited_for():
    serve = SlowServe(None, "STARTING", "UNHEALTHY", "STARTING", "HEALTHY")
    on_ray.start_serve(serve, {})
    on_ray.wait_for_proxies(serve)
    assert serve.starts == 2
    assert set(serve.status().proxies.values()) == {"HEALTHY"}


@needs_ray
def test_proxies_that_do_not_start_are_named():
    with pytest.raises(ModelError, match="not ready after"):
        on_ray.wait_for_proxies(SlowServe("STARTING"), patience=0.3)


@pytest.mark.slow
@needs_ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_replica_that_dies_in_the_middle_of_a_session_is_not_noticed(
    tiny_checkpoint, tiny_network, free_port, tmp_path, monkeypatch
):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    ModelStore().add(tiny_checkpoint, "tiny")
    key, slow = add_key(tmp_path / "keys.json", "anna"), add_key(tmp_path / "keys.json", "students")
    entries = json.loads((tmp_path / "keys.json").read_text())
    entries["students"] = {"sha256": entries["students"], "per_minute": 4}
    (tmp_path / "keys.json").write_text(json.dumps(entries))
    expected = Session(small_volume((70, 80, 60)), TorchPredictor(tiny_network, TINY_PRESET, device="cpu"))
    command = [sys.executable, "-m", "sammed3d", "serve", "--ray", "--device", "cpu,cpu", "--model", "tiny"]
    admin_port = unused_port()
    command += ["--port", str(free_port), "--admin-port", str(admin_port), "--keys", str(tmp_path / "keys.json")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "with Ray" in next(line for line in server.stdout if "Serving" in line)
        remote = RemotePredictor(f"http://127.0.0.1:{free_port}", "tiny", key=key, patience=60)
        session = Session(small_volume((70, 80, 60)), remote)
        for n, (world, positive) in enumerate(CLICKS):
            if n == 0:
                first = sorted(replicas(server.pid))
                assert len(first) == 2
            if n in KILLS:
                os.kill(first[KILLS.index(n)], signal.SIGKILL)
            session.click(world, positive)
            expected.click(world, positive)
            assert np.array_equal(session.mask(), expected.mask())
        assert session.mask().any()
        refused = refusals_of(f"http://127.0.0.1:{free_port}", slow, predictions=8)
        assert refused == 4, "of four a minute, all replicas together"
        wait_for_metrics(f"http://127.0.0.1:{admin_port}/metrics", least_predictions=4 + len(CLICKS) - KILLS[-1])
    finally:
        server.terminate()
        assert server.wait(60) == 0


@pytest.fixture
def cluster():
    """A Ray cluster of one host with four processors; its address."""
    with ray_cluster("--num-cpus=4") as address:
        yield address


@pytest.mark.slow
@needs_ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_rolling_upgrade_loses_no_click(tiny_checkpoint, tiny_network, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    ModelStore().add(tiny_checkpoint, "tiny")
    port = str(unused_port())
    command = [sys.executable, "-m", "sammed3d", "serve", "--ray", "--ray-address", cluster, "--device", "cpu,cpu"]
    command += ["--model", "tiny", "--port", port]

    def launched():
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "with Ray" in next(line for line in server.stdout if "Serving" in line)
        return server

    old = launched()
    before = replicas()
    remote = RemotePredictor(f"http://127.0.0.1:{port}", "tiny", patience=60)
    local = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    patch = patch_of(*patch_with_digest(0))
    stop, clicks, failures = threading.Event(), [], []

    def click_on():
        for n in range(2000):
            prompts = PatchPrompts([PatchClick((20.0 + n % 20, 31.0, 32.0), True)])
            try:
                answer = remote.predict(patch, prompts).low_res
                clicks.append(np.array_equal(answer, local.predict(patch, prompts).low_res))
            except ModelError as error:
                failures.append(error)
            if stop.wait(0.05):
                return

    user = threading.Thread(target=click_on)
    user.start()
    try:
        new = launched()
        old.terminate()
        assert old.wait(60) == 0
        during = len(clicks)
        time.sleep(2)
        stop.set()
        user.join(90)
        assert failures == []
        assert len(clicks) > during > 0
        assert all(clicks)
        assert not replicas() & before, "all replicas are new"
    finally:
        stop.set()
        new.terminate()
        assert new.wait(60) == 0
    assert not replicas()


def replicas(server=None):
    """Process ids of the replicas that run; of those of a server's own cluster if its process is given."""
    processes = psutil.process_iter() if server is None else psutil.Process(server).children(recursive=True)
    return {p.pid for p in processes if "ServeReplica:sammed3d" in command_of(p)}


def patch_with_digest(seed):
    voxels = np.random.default_rng(seed).standard_normal(TINY_PRESET.patch_shape).astype(np.float32)
    return voxels, hashlib.sha256(voxels.data).hexdigest()


def refusals_of(url, key, predictions):
    """Ask for predictions on several patches, which lie on several replicas; returns how many are refused."""
    statuses = [status_of_prediction(url, key, seed) for seed in range(predictions)]
    assert set(statuses) == {200, 429}
    return statuses.count(429)


def status_of_prediction(url, key, seed, tries=5):
    """Upload a patch and ask for a prediction; upload again where the replica that had it has been replaced."""
    voxels, digest = patch_with_digest(seed)
    headers = {"Authorization": f"Bearer {key}", messages.ROUTING_HEADER: digest}
    patch, prediction = (url + path.format(digest=digest) for path in (messages.PATCH, messages.PREDICTIONS))
    question = Question("tiny", f"r{seed}", PatchPrompts([PatchClick((30.0, 31.0, 32.0), True)]))
    for _ in range(tries):
        assert requests.put(patch, data=arrays.pack(voxels), headers=headers, timeout=60).status_code == 201
        answer = requests.post(prediction, data=question.to_bytes(), headers=headers, timeout=60)
        if answer.headers.get(messages.MISSING_HEADER) != messages.MISSING_PATCH:
            break
    return answer.status_code


def wait_for_metrics(url, least_predictions):
    """Wait until the metrics of both replicas have been added up."""
    deadline = time.monotonic() + 30
    while True:
        text = requests.get(url, timeout=10).text
        decoded = re.search(r'sammed3d_prediction_seconds_count\{stage="decode"\} ([\d.]+)', text)
        if decoded and float(decoded.group(1)) >= least_predictions and "sammed3d_replicas 2.0" in text:
            return
        assert time.monotonic() < deadline, text
        time.sleep(0.5)
