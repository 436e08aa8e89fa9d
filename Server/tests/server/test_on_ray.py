"""The server on Ray: two replicas, and a user who does not notice that one of them dies."""

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import requests

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.errors import ModelError
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server import on_ray
from sammed3d.server.http.keys import add_key
from sammed3d.server.settings import read_settings
from sammed3d.wire import arrays, messages
from sammed3d.wire.messages import Question
from sammed3d.zoo.store import ModelStore

CLICKS = [((60.0, 75.0, 45.0), True), ((30.0, 100.0, 40.0), False), ((80.0, 60.0, 50.0), True)]


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


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.timeout(240)
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
    admin_port = free_port + 1 if free_port < 65535 else free_port - 1
    command += ["--port", str(free_port), "--admin-port", str(admin_port), "--keys", str(tmp_path / "keys.json")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "with Ray" in next(line for line in server.stdout if "Serving" in line)
        remote = RemotePredictor(f"http://127.0.0.1:{free_port}", "tiny", key=key, patience=60)
        session = Session(small_volume((70, 80, 60)), remote)
        for n, (world, positive) in enumerate(CLICKS):
            if n == 0:
                replicas = [p.pid for p in psutil.process_iter(["cmdline"]) if "ServeReplica:sammed3d" in _command(p)]
                assert len(replicas) == 2
            else:  # one of the two kills hits the replica that has had the clicks so far
                os.kill(replicas[n - 1], signal.SIGKILL)
            session.click(world, positive)
            expected.click(world, positive)
            assert np.array_equal(session.mask(), expected.mask())
        assert session.mask().any()
        refused = refusals_of(f"http://127.0.0.1:{free_port}", slow, predictions=8)
        assert refused == 4, "of four a minute, all replicas together"
        wait_for_metrics(f"http://127.0.0.1:{admin_port}/metrics", least_predictions=4 + len(CLICKS) - 2)
    finally:
        server.terminate()
        assert server.wait(60) == 0


def refusals_of(url, key, predictions):
    """Ask for predictions on several patches, which lie on several replicas; returns how many are refused."""
    statuses = []
    for seed in range(predictions):
        voxels = np.random.default_rng(seed).standard_normal(TINY_PRESET.patch_shape).astype(np.float32)
        digest = hashlib.sha256(voxels.data).hexdigest()
        headers = {"Authorization": f"Bearer {key}", messages.ROUTING_HEADER: digest}
        path = url + messages.PATCH.format(digest=digest)
        assert requests.put(path, data=arrays.pack(voxels), headers=headers, timeout=60).status_code == 201
        question = Question("tiny", f"r{seed}", PatchPrompts([PatchClick((30.0, 31.0, 32.0), True)]))
        path = url + messages.PREDICTIONS.format(digest=digest)
        statuses.append(requests.post(path, data=question.to_bytes(), headers=headers, timeout=60).status_code)
    assert set(statuses) == {200, 429}
    return statuses.count(429)


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


def _command(process):
    return " ".join(process.info["cmdline"] or [])
