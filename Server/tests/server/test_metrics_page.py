"""Metrics are read on this computer by anybody, beyond it with a key and encrypted, and nobody holds them up."""

import contextlib
import re
import socket
import subprocess
import sys

import pytest
import requests
import trustme

from ports import unused_port
from sammed3d.errors import ModelError
from sammed3d.server import metrics_page
from sammed3d.server.http.keys import add_key
from sammed3d.server.metrics import Metrics
from sammed3d.server.metrics_page import check_metrics, serve_metrics
from sammed3d.server.settings import read_settings

COUNTED = "sammed3d_worker_restarts_total 1.0"


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.restarted()
    return metrics


@contextlib.contextmanager
def shown(metrics, **options):
    settings = read_settings(None, admin_port=int(unused_port()), **options)
    server = serve_metrics(metrics.registry, settings)
    try:
        yield f"127.0.0.1:{settings.admin_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def outside(monkeypatch):
    """Loopback, taken for an address that others reach."""
    monkeypatch.setattr(metrics_page, "is_loopback", lambda _host: False)


@pytest.fixture
def files(tmp_path):
    """A file of keys and one of them, a server's certificate with its key, and the authority's."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    key = add_key(tmp_path / "keys.json", "prometheus")
    return tmp_path / "keys.json", key, tmp_path / "server.pem", str(tmp_path / "ca.pem")


def test_on_this_computer_they_need_no_key(metrics):
    with shown(metrics) as address:
        assert COUNTED in requests.get(f"http://{address}", timeout=5).text


@pytest.mark.usefixtures("outside")
def test_beyond_it_they_are_encrypted_and_need_a_key(metrics, files):
    keys, key, certificate, ca = files
    with shown(metrics, keys=keys, tls_cert=certificate, tls_key=certificate) as address:
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key}"}):
            answer = requests.get(f"https://{address}", headers=wrong, verify=ca, timeout=5)
            assert (answer.status_code, "sammed3d" in answer.text) == (401, False)
        right = {"Authorization": f"Bearer {key}"}
        assert COUNTED in requests.get(f"https://{address}", headers=right, verify=ca, timeout=5).text
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://{address}", headers=right, timeout=5)


@pytest.mark.usefixtures("outside")
def test_silent_connections_hold_nobody_up(metrics, files):
    keys, key, certificate, ca = files
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(shown(metrics, keys=keys, tls_cert=certificate, tls_key=certificate))
        place = ("127.0.0.1", int(re.search(r":(\d+)", address)[1]))
        for _ in range(20):
            stack.enter_context(socket.create_connection(place, timeout=5))
        right = {"Authorization": f"Bearer {key}"}
        assert COUNTED in requests.get(f"https://{address}", headers=right, verify=ca, timeout=5).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"Metrics on 10\.0\.0\.5 can be read by others: a file of keys is needed"),
        ({"keys": "keys.json"}, r"Metrics on 10\.0\.0\.5 without encryption"),
    ],
)
def test_they_are_not_opened_to_others_by_accident(options, message):
    with pytest.raises(ModelError, match=message):
        check_metrics(read_settings(None, admin_port=9443, admin_host="10.0.0.5", **options))
    check_metrics(read_settings(None, admin_host="10.0.0.5", **options))  # no port: not shown
    check_metrics(read_settings(None, admin_port=9443, admin_host="::1", **options))


def test_the_command_refuses_before_models_are_loaded():
    command = [sys.executable, "-m", "sammed3d", "serve", "--admin-port", "9443", "--admin-host", "0.0.0.0"]  # noqa: S104
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Metrics on 0.0.0.0 can be read by others" in done.stderr
