"""The server on Ray: two replicas, and a user who does not notice that one of them dies."""

import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.errors import ModelError
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server import on_ray
from sammed3d.server.settings import read_settings
from sammed3d.zoo.store import ModelStore

CLICKS = [((60.0, 75.0, 45.0), True), ((30.0, 100.0, 40.0), False), ((80.0, 60.0, 50.0), True)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, "knows no TLS"),
        ({"nninteractive": True}, "remembers them"),
        ({"admin_port": 9000}, "admin-port"),
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
    expected = Session(small_volume((70, 80, 60)), TorchPredictor(tiny_network, TINY_PRESET, device="cpu"))
    command = [sys.executable, "-m", "sammed3d", "serve", "--ray", "--device", "cpu,cpu", "--model", "tiny"]
    server = subprocess.Popen([*command, "--port", str(free_port)], stdout=subprocess.PIPE, text=True)
    try:
        assert "with Ray" in next(line for line in server.stdout if "Serving" in line)
        remote = RemotePredictor(f"http://127.0.0.1:{free_port}", "tiny", patience=60)
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
    finally:
        server.terminate()
        assert server.wait(60) == 0


def _command(process):
    return " ".join(process.info["cmdline"] or [])
