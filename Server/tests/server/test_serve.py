"""`sammed3d serve` as an administrator runs it, in processes of its own."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import requests
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from helpers import small_volume
from networks import TINY_PRESET
from ports import unused_port
from sammed3d.errors import ModelError
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server import serve
from sammed3d.server.addresses import check_free, check_tls
from sammed3d.server.compute.worker import Worker
from sammed3d.server.http.keys import add_key
from sammed3d.server.metrics import Metrics
from sammed3d.server.metrics_page import serve_metrics
from sammed3d.server.serve import in_url
from sammed3d.server.settings import ServerSettings, read_settings
from sammed3d.web.serve import check_host
from sammed3d.wire import arrays, messages
from sammed3d.zoo.store import ModelStore
from servers import serving
from workers import Troubled, job, troubled

pytestmark = pytest.mark.slow  # each starts processes

CLICKS = [((60.0, 75.0, 45.0), True), ((30.0, 100.0, 40.0), False), ((80.0, 60.0, 50.0), True)]


class Command:
    """A running `sammed3d serve`."""

    def __init__(self, *arguments, **environment):
        command = [sys.executable, "-m", "sammed3d", "serve", *map(str, arguments)]
        env = os.environ | environment
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        address = re.search(r"https?://\S+", self.process.stdout.readline())
        assert address, self.process.communicate(timeout=60)
        self.url = address.group(0)
        while True:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(self.url + "/livez", timeout=5).text == "alive":
                    return
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        _, errors = self.process.communicate(timeout=60)
        return errors


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def store(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    ModelStore().add(tiny_checkpoint, "tiny")
    return tmp_path


@pytest.mark.timeout(180)
def test_it_runs_from_a_file_and_the_environment_and_says_in_its_logs_what_it_may(store, free_port, tiny_network):
    key = add_key(store / "keys.json", "anna")
    config = store / "serve.toml"
    config.write_text(f'model = ["tiny"]\nkeys = "{store / "keys.json"}"\nport = 1\nlog = "json"\n')
    admin_port = unused_port()
    server = Command(
        "--config", config, "--device", "cpu,cpu", "--admin-port", admin_port, SAMMED3D_PORT=str(free_port)
    )
    try:
        assert server.url == f"http://127.0.0.1:{free_port}", "the environment wins over the file"
        volume = small_volume((70, 80, 60))
        object.__setattr__(volume, "name", "DOE^JANE-19700101")
        remote = RemotePredictor(server.url, "tiny", key=key)
        session = Session(volume, remote)
        session.add_object("MARKER-OBJECT")
        local = Session(volume, TorchPredictor(tiny_network, TINY_PRESET, device="cpu"))
        for world, positive in CLICKS:
            session.click(world, positive)
            local.click(world, positive)
        assert np.array_equal(session.mask(), local.mask())
        requests.get(server.url + "/MARKER-PATH?name=MARKER-QUERY", headers={"X-Name": "MARKER-HEADER"}, timeout=5)
        socket_wanted = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert requests.get(server.url + messages.LIVE, headers=socket_wanted, timeout=5).text == "alive"
        metrics = requests.get(f"http://127.0.0.1:{admin_port}/metrics", timeout=5).text
        assert 'sammed3d_prediction_seconds_count{stage="encode"} 1.0' in metrics
        assert 'sammed3d_prediction_seconds_count{stage="decode"} 3.0' in metrics
        assert "anna" not in metrics
        assert requests.get(server.url + "/metrics", timeout=5).status_code == 401, "not where others can read it"
    finally:
        workers = psutil.Process(server.process.pid).children(recursive=True)
        errors = server.stop()
    assert len(workers) >= 2
    deadline = time.monotonic() + 10
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker was left behind"
        time.sleep(0.05)
    assert server.process.returncode == -signal.SIGTERM, "it ended of what it was told, after it had cleaned up"
    lines = [json.loads(line) for line in errors.splitlines()]
    asked = [line for line in lines if line.get("route") == messages.PREDICTIONS]
    assert [line["status"] for line in asked] == [200] * 3
    assert asked[0]["user"] == "anna"
    assert set(asked[0]) == {"time", "level", "logger", "request", "method", "route", "status", "user", "milliseconds"}
    for secret in ("DOE", "JANE", "MARKER", key):
        assert secret not in errors
    assert "pip install" not in errors, "nothing is missing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "absent"], "absent"),
        (["--model", __file__], "is a file, .* sammed3d models import .*--name NAME"),
        (["--host", "0.0.0.0"], "a file of keys is needed"),  # noqa: S104 - that is the point
        (["--port", "99999"], "'port' is wrong"),
        (["--log", "xml"], "'log.*' is wrong"),
        (["--device", "cuda:9"], "cannot be used here"),
        (["--nninteractive-axes", "XYZ"], "three letters are needed"),
        (["--config", "absent.toml"], "no such configuration file"),
        (["--tls-cert", "absent.pem"], "both a certificate and its key"),
        (["--tls-cert", "absent.pem", "--tls-key", "absent.key"], "absent.pem .*: No such file or directory"),
        (
            ["--insecure-http", "--keys", "keys.json", "--admin-port", "9443", "--admin-host", "192.0.2.1"],
            "192.0.2.1 cannot be had: .* with --admin-host",
        ),
        (["--port", "9443", "--admin-port", "9443"], "of the server and of its metrics. .* --admin-port"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_nothing_is_started(arguments, message):
    command = [sys.executable, "-m", "sammed3d", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.search(message, done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_the_model_that_ships_is_told_from_that_of_another_version(tmp_path):
    [model] = serve.find_models(ServerSettings(), ModelStore(tmp_path))
    assert model.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
def test_a_port_that_another_program_has_is_named_before_models_are_loaded(option, free_port):
    command = [sys.executable, "-m", "sammed3d", "serve", "--port", unused_port(), option, free_port]
    with socket.create_server(("127.0.0.1", free_port)):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"Port {free_port} of 127.0.0.1 cannot be had: another program has it" in " ".join(done.stderr.split())
    assert option in done.stderr
    assert "memory:" not in done.stderr


def test_a_name_for_several_addresses_needs_one_that_this_computer_has(free_port, monkeypatch):
    absent, own = ((socket.AF_INET, 0, 0, "", (address, free_port)) for address in ("192.0.2.1", "127.0.0.1"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [absent, own])
    check_free("a name", free_port)
    with socket.create_server(own[-1]), pytest.raises(ModelError, match="another program has it"):
        check_free("a name", free_port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [absent])
    with pytest.raises(ModelError, match=r"a name cannot be had: .* --host"):
        check_free("a name", free_port)


def test_a_certificate_is_looked_at_before_models_are_loaded(tmp_path):
    def files(name):
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        return tmp_path / f"{name}.pem", tmp_path / f"{name}.key"

    certificate, key = files("one")
    check_tls(certificate, key)
    check_tls(None, None)
    with pytest.raises(ModelError, match="key values mismatch"):
        check_tls(certificate, files("other")[1])
    private = load_pem_private_key(key.read_bytes(), None)
    form = Encoding.PEM, PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(*form, BestAvailableEncryption(b"secret")))
    with pytest.raises(ModelError, match="the key has no password"):
        check_tls(certificate, key)
    key.write_text("no PEM")
    with pytest.raises(ModelError, match=re.escape(f"{certificate} and {key}")):
        check_tls(certificate, key)


def test_a_port_for_metrics_that_another_program_has_is_named(free_port):
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(ModelError, match=f"Port {free_port} of 127.0.0.1 cannot be had for metrics .*--admin-port"),
    ):
        serve_metrics(Metrics().registry, ServerSettings(admin_host="127.0.0.1", admin_port=free_port))


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nqueue = 2\ncache_mib = 3\nhost_name = ["a", "b"]\n')
    monkeypatch.setenv("SAMMED3D_PORT", "10")
    monkeypatch.setenv("SAMMED3D_QUEUE", "20")
    settings = read_settings(file, port=100, queue=None)
    assert (settings.port, settings.queue, settings.cache_mib) == (100, 20, 3)
    assert settings.host_name == ["a", "b"]
    file.write_text("cache_mib = 4\n", encoding="utf-8-sig")  # as editors and shells of Windows save it
    assert read_settings(file).cache_mib == 4
    file.write_text("prot = 1\n")
    with pytest.raises(ModelError, match=r"'prot' is wrong: there is none of that name; .*--help"):
        read_settings(file)
    file.write_text("port = \n")
    with pytest.raises(ModelError, match="cannot be read"):
        read_settings(file)


@pytest.mark.parametrize("given", ["cuda:0,cuda:1", " cuda:0 , cuda:1,", '["cuda:0", "cuda:1"]'])
def test_a_list_may_be_one_text_with_commas(tmp_path, monkeypatch, given):
    monkeypatch.setenv("SAMMED3D_DEVICE", given)
    monkeypatch.setenv("SAMMED3D_MODEL", "default")
    monkeypatch.setenv("SAMMED3D_KEYS", "")
    file = tmp_path / "serve.toml"
    file.write_text('host_name = "gpu.example,gpu"\n')
    settings = read_settings(file)
    assert settings.device == ["cuda:0", "cuda:1"]
    assert settings.model == ["default"]
    assert settings.host_name == ["gpu.example", "gpu"]
    assert settings.keys is None, "an empty variable says nothing"


def test_a_list_that_is_no_json_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("SAMMED3D_DEVICE", "[cuda:0")
    with pytest.raises(ModelError, match="'device' is wrong"):
        read_settings(None)


def test_an_ipv6_address_is_in_brackets_where_clients_write_it():
    assert in_url("fd00::1") == in_url("[fd00::1]") == "[fd00::1]"
    assert in_url("127.0.0.1") == "127.0.0.1"
    assert in_url("gpu.example") == "gpu.example"


def test_brackets_round_an_ipv6_address_are_taken_off_to_listen(monkeypatch):
    monkeypatch.setenv("SAMMED3D_ADMIN_HOST", "[::1]")
    settings = read_settings(None, host="[::1]")
    assert (settings.host, settings.admin_host) == ("::1", "::1")
    serve.check_exposure(settings.host, None, tls=False, insecure_http=False)
    assert read_settings(None, host="[gpu]").host == "[gpu]", "which is told as no address"
    check_host("[::1]")
    with pytest.raises(ModelError, match="lets others in"):
        check_host("[fd00::1]")


def test_a_port_that_the_server_chose_itself_is_told(monkeypatch, capsys):
    listening = {}
    monkeypatch.setattr(serve, "find_models", lambda _settings: ())
    monkeypatch.setattr(serve, "build", lambda _settings, _workers: None)
    monkeypatch.setattr(serve.logs, "set_up", lambda _kind: None)
    monkeypatch.setattr(serve, "ConfigOfServer", lambda _app, **options: listening.update(options))
    monkeypatch.setattr(
        serve.uvicorn, "Server", lambda _config: SimpleNamespace(run=lambda _sockets: None, started=True)
    )
    serve.run(read_settings(None, port=0))
    assert listening["port"] > 0
    assert capsys.readouterr().out.strip().endswith(f"http://127.0.0.1:{listening['port']}")


@pytest.fixture
def click(tmp_path):
    """A server whose worker process can be troubled, and a request to it."""
    worker = Worker(troubled(tmp_path))
    asked = job()
    digest = hashlib.sha256(asked.patch.voxels.data).hexdigest()
    with serving(Troubled(tmp_path), devices=[worker]) as server:
        path = messages.PATCH.format(digest=digest)
        requests.put(server.url + path, data=arrays.pack(asked.patch.voxels), timeout=5).raise_for_status()
        message = messages.join({"model": "default", "request": "r", "prompts": {"clicks": [[1, 2, 3, True]]}})

        def ask():
            return requests.post(server.url + messages.PREDICTIONS.format(digest=digest), data=message, timeout=60)

        yield server, worker, ask
        (tmp_path / "slow").unlink(missing_ok=True)


def in_background(ask):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    return thread, answers


def test_a_worker_killed_in_the_middle_of_a_click_is_not_noticed(click, tmp_path):
    server, worker, ask = click
    expected = ask().content
    (tmp_path / "slow").touch()
    (tmp_path / "calls").unlink()
    thread, answers = in_background(ask)
    while not (tmp_path / "calls").exists():
        time.sleep(0.01)
    (tmp_path / "slow").unlink()
    psutil.Process(worker.pid).kill()
    thread.join(30)
    assert answers[0].status_code == 200
    assert messages.split(answers[0].content)[1] == messages.split(expected)[1]
    assert requests.get(server.url + "/readyz", timeout=5).status_code == 200


def test_work_that_fails_twice_is_an_error_and_the_server_stays_up(click, tmp_path):
    _, _, ask = click
    (tmp_path / "fail").touch()
    response = ask()
    assert response.status_code == 500, "not 503: clients would try it again and again"
    assert response.json()["detail"] == "The prediction failed twice on the server's device."
    (tmp_path / "fail").unlink()
    assert ask().status_code == 200


def test_the_end_of_the_server_waits_for_what_runs(click, tmp_path):
    server, _, ask = click
    (tmp_path / "slow").touch()
    thread, answers = in_background(ask)
    while not (tmp_path / "calls").exists():
        time.sleep(0.01)
    threading.Timer(0.5, (tmp_path / "slow").unlink).start()
    server.stop()
    thread.join(10)
    assert answers[0].status_code == 200
