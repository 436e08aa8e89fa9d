"""The server by itself: who may do what, and what becomes of bad requests."""

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from helpers import ThresholdPredictor, by_name
from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.server.serve import check_exposure
from sammed3d.wire import arrays, messages
from servers import serving

PRESET = Preset(patch_shape=(16, 16, 16), low_res_shape=(8, 8, 8))
PATCH = np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32)


ENORMOUS = np.full((16, 16, 16), 3e38, np.float32)


def digest_of(array):
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


DIGEST = digest_of(PATCH)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return file, {name: add_key(file, name) for name in ("anna", "ben")}


@pytest.fixture(scope="module")
def server(keys):
    with serving(ThresholdPredictor(preset=PRESET), Keys.read(keys[0]), max_body=200_000) as server:
        yield server


@pytest.fixture
def ask(server, keys):
    def ask(method, path, user="anna", headers=None, **options):
        authorization = {"Authorization": f"Bearer {keys[1].get(user, user)}"} if user else {}
        return requests.request(
            method, server.url + path, headers=authorization | (headers or {}), timeout=10, **options
        )

    return ask


def put(ask, user="anna"):
    return ask("PUT", messages.PATCH.format(digest=DIGEST), user, data=arrays.pack(PATCH))


def message(**changes):
    clicks = changes.pop("clicks", [[1, 2, 3, True]])
    head = {"model": "default", "request": "r1", "prompts": {"clicks": clicks}} | changes
    return messages.join({k: v for k, v in head.items() if v is not ...})


ROUTES = [
    ("GET", messages.INFO),
    ("HEAD", messages.PATCH.format(digest=DIGEST)),
    ("PUT", messages.PATCH.format(digest=DIGEST)),
    ("POST", messages.PREDICTIONS.format(digest=DIGEST)),
    ("DELETE", messages.PREDICTION.format(request_id="r1")),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("user", [None, "wrong-key", ""])
def test_nothing_is_answered_without_a_key(ask, method, path, user):
    response = ask(method, path, user)
    assert response.status_code == 401
    if method != "HEAD":
        assert response.headers["Content-Type"] == "application/problem+json"
        assert set(response.json()) == {"type", "status", "detail", "request_id"}


def test_another_users_patch_is_not_there(ask):
    assert put(ask).status_code == 201
    assert ask("HEAD", messages.PATCH.format(digest=DIGEST)).status_code == 200
    assert ask("HEAD", messages.PATCH.format(digest=DIGEST), "ben").status_code == 404
    response = ask("POST", messages.PREDICTIONS.format(digest=DIGEST), "ben", data=message())
    assert response.status_code == 404
    assert response.headers["X-SAMMed3D-Missing"] == "patch"


def test_health_is_open_and_says_nothing(server):
    for path in ("/livez", "/readyz"):
        response = requests.get(server.url + path, timeout=5)
        assert response.status_code == 200
        assert len(response.text) < 10


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/v1/models/../../etc/passwd", "/metrics"])
def test_there_is_nothing_else(ask, path):
    assert ask("GET", path).status_code == 404


def test_every_answer_carries_security_headers_and_no_cors(ask):
    for response in (ask("GET", messages.INFO), ask("GET", messages.INFO, None), ask("GET", "/absent")):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "X-Request-Id" in response.headers
        assert "Server" not in response.headers or "uvicorn" in response.headers["Server"]
        assert "Access-Control-Allow-Origin" not in response.headers


def test_other_host_names_are_not_answered(ask):
    response = ask("GET", messages.INFO, headers={"Host": "evil.example.org"})
    assert response.status_code == 421


def test_another_protocol_and_encoded_bodies_are_refused(ask):
    for spoken, older in (("99", "server"), ("1", "program"), ("of old", "older of the two")):
        response = ask("GET", messages.INFO, headers={messages.PROTOCOL_HEADER: spoken})
        assert response.status_code == 426
        assert response.json()["detail"].endswith(f" Update the {older}.")
    response = ask("PUT", messages.PATCH.format(digest=DIGEST), headers={"Content-Encoding": "gzip"}, data=b"x")
    assert response.status_code == 415


def malformed_patches():
    good = arrays.pack(PATCH)
    yield "cut off", DIGEST, good[:-5]
    yield "empty", DIGEST, b""
    yield "wrong digest", "0" * 64, good
    yield "no digest", "../../etc/passwd".replace("/", "%2F"), good
    yield "other shape", DIGEST, arrays.pack(np.zeros((16, 16, 15), np.float32))
    yield "NaN", DIGEST, arrays.pack(np.full((16, 16, 16), np.nan, np.float32))
    yield "beyond what can be subtracted", digest_of(-ENORMOUS), arrays.pack(-ENORMOUS)
    yield "pickle", DIGEST, b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


@pytest.mark.parametrize(("name", "digest", "body"), by_name(malformed_patches()))
def test_malformed_patches_end_in_a_4xx(ask, name, digest, body):
    response = ask("PUT", messages.PATCH.format(digest=digest), data=body)
    assert 400 <= response.status_code < 500
    assert "Traceback" not in response.text


def malformed_predictions():
    yield "no model", message(model=...)
    yield "a path as model", message(model="/etc/passwd")
    yield "a URL as model", message(model="http://evil.example.org/x.pth")
    yield "a list as model", message(model=["default"])
    yield "no clicks", message(clicks=[])
    yield "too many clicks", message(clicks=[[1, 2, 3, True]] * 5000)
    yield "a click outside", message(clicks=[[1, 2, 99, True]])
    yield "a negative click", message(clicks=[[-1, 2, 3, True]])
    yield "a click of words", message(clicks=[["a", "b", "c", True]])
    yield "a click without sign", message(clicks=[[1, 2, 3]])
    yield "an endless click", message(clicks=[[1e400, 2, 3, True]])
    yield "a long request id", message(request="x" * 1000)
    yield "a request id with a path", message(request="../x")
    yield "no JSON", b"\x05\x00\x00\x00hello"
    yield "a head longer than the message", b"\xff\xff\xff\x7f{}"
    yield "a mask of another shape", message() + arrays.pack(np.zeros((4, 4, 4), np.float32))
    yield "a mask of NaN", message() + arrays.pack(np.full((8, 8, 8), np.nan, np.float32))
    yield "nothing", b""


@pytest.mark.parametrize(("name", "body"), by_name(malformed_predictions()))
def test_malformed_predictions_end_in_a_4xx(ask, name, body):
    put(ask)
    response = ask("POST", messages.PREDICTIONS.format(digest=DIGEST), data=body)
    assert 400 <= response.status_code < 500, response.text
    assert "Traceback" not in response.text
    assert ask("POST", messages.PREDICTIONS.format(digest=DIGEST), data=message()).status_code == 200, (
        "it is still well"
    )


def test_bodies_above_the_limit_are_refused(ask):
    assert ask("PUT", messages.PATCH.format(digest=DIGEST), data=bytes(300_000)).status_code == 413
    chunks = (bytes(50_000) for _ in range(10))
    with contextlib.suppress(requests.ConnectionError):  # it may hang up in the middle, which is as good
        assert ask("PUT", messages.PATCH.format(digest=DIGEST), data=chunks).status_code == 413


def raw(server, text, wait=2.0):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(text.encode())
        begin = time.monotonic()
        try:
            return connection.recv(4096).decode("latin1"), time.monotonic() - begin
        except TimeoutError:
            return "", wait


def test_the_body_of_a_stranger_is_not_waited_for(server):
    """Headers alone, a gigabyte promised: the answer comes before any of it."""
    host = server.url.removeprefix("http://")
    answer, seconds = raw(
        server, f"PUT /v1/patches/{DIGEST} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000000\r\n\r\n"
    )
    assert answer.startswith("HTTP/1.1 401")
    assert seconds < 1


@pytest.mark.parametrize("length", ["-1", "1e9", "99999999999999999999", "abc"])
def test_lengths_that_are_none_are_refused(server, keys, length):
    host = server.url.removeprefix("http://")
    answer, _ = raw(
        server,
        f"PUT /v1/patches/{DIGEST} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {keys[1]['anna']}\r\n"
        f"Content-Length: {length}\r\n\r\n",
    )
    assert answer.startswith("HTTP/1.1 4")


def test_keys_are_kept_as_hashes(keys):
    file, by_name = keys
    text = file.read_text()
    assert all(key not in text for key in by_name.values())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = Keys.read(file)
    assert [read.user_of(by_name[name]) for name in ("anna", "ben")] == ["anna", "ben"]
    assert read.user_of("") is None
    with pytest.raises(ModelError, match="has a key already"):
        add_key(file, "anna")


def test_no_keys_are_lost_where_there_is_no_room_for_one_more(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    key = add_key(file, "anna")
    file.chmod(0o640)

    def fill_disk(path, text, **options):
        with path.open("w", **options):
            raise OSError(errno.ENOSPC, "No space left on device")

    before, synced = file.read_bytes(), []

    def fill_again(number):
        synced.append(number)
        if len(synced) == 1:  # as where a disk says only then that it is full
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", fill_disk)
        full.setattr(os, "fsync", fill_again)
        with pytest.raises(ModelError, match="cannot be written"):
            add_key(file, "ben")
    assert (file.read_bytes(), len(synced)) == (before, 2)
    assert Keys.read(file).user_of(key) == "anna"
    add_key(file, "ben")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640, "who could read it still can"
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]
    with pytest.raises(ModelError, match="cannot be written"):
        add_key(tmp_path / "absent" / "keys.json", "carl")


def test_keys_whose_quotas_were_written_with_windows_own_tools_are_read(tmp_path):
    file = tmp_path / "keys.json"
    key = add_key(file, "anna")
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")  # the mark in front
    assert Keys.read(file).user_of(key) == "anna"
    add_key(file, "ben")
    assert Keys.read(file).user_of(key) == "anna"


def test_a_key_needs_a_name(tmp_path):
    with pytest.raises(ModelError, match=r"needs a name.* --keys .*keys\.json"):
        add_key(tmp_path / "keys.json", " ")
    (tmp_path / "keys.json").write_text(json.dumps({"": "0" * 64}))
    with pytest.raises(ModelError, match="no name"):
        Keys.read(tmp_path / "keys.json")


def test_a_file_that_holds_no_keys_is_refused(tmp_path):
    (tmp_path / "keys.json").write_text('{"anna": "plain-text-key"}')
    with pytest.raises(ModelError, match="something else than names and SHA-256"):
        Keys.read(tmp_path / "keys.json")
    with pytest.raises(ModelError, match=r"absent\.json: is no file of keys.* serve-key NAME --keys FILE"):
        Keys.read(tmp_path / "absent.json")


def test_it_is_not_opened_to_a_network_by_accident(tmp_path):
    keys = tmp_path / "keys.json"
    check_exposure("127.0.0.1", None, False, False)
    check_exposure("::1", None, False, False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "gpu.example.org"):  # noqa: S104 - that is the point
        with pytest.raises(ModelError, match="a file of keys is needed"):
            check_exposure(host, None, True, False)
        with pytest.raises(ModelError, match="without encryption"):
            check_exposure(host, keys, False, False)
        check_exposure(host, keys, True, False)
        check_exposure(host, keys, False, True)
