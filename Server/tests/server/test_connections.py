"""Hundreds of connections that want nothing, or nothing good: users with a key and health probes always get through."""

import contextlib
import socket
import time

import pytest
import requests

from helpers import ThresholdPredictor
from sammed3d.inference.preset import Preset
from sammed3d.server.app import Facades
from sammed3d.server.http.connections import Connections, Shares
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.server.serve import allow_files
from sammed3d.wire import messages
from servers import serving

MANY = 600
PRESET = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4))
PATCH = f"/v1/patches/{'0' * 64}"


class Fake:
    """A connection that writes down whether it was ended."""

    def __init__(self, address="10.0.0.1", is_idle=True):
        self.address, self.is_idle, self.ended = address, is_idle, False

    def end(self):
        self.ended = True


def test_the_oldest_stranger_of_the_address_that_holds_most_has_to_go():
    connections = Connections(Shares(strangers=4, of_address=3))
    crowd, other = [Fake("10.0.0.1") for _ in range(3)], Fake("10.0.0.2")
    for each in (*crowd, other):
        connections.made(each)
    connections.made(Fake("10.0.0.3"))
    assert [each.ended for each in (*crowd, other)] == [True, False, False, False]
    connections.made(Fake("10.0.0.1"))
    connections.made(Fake("10.0.0.1"))
    assert [each.ended for each in crowd] == [True, True, True]
    assert not other.ended
    assert len(connections) == 4


def test_a_user_loses_what_is_not_used_and_is_refused_when_all_is():
    connections = Connections(Shares(of_user=2, users=3))
    first, second, third, fourth = (Fake(is_idle=False) for _ in range(4))
    for each in (first, second, third, fourth):
        connections.made(each)
    assert connections.shown_key(first, "anna")
    assert connections.shown_key(second, "anna")
    assert not connections.shown_key(third, "anna")
    assert connections.is_stranger(third)
    second.is_idle = True
    assert connections.shown_key(third, "anna")
    assert (first.ended, second.ended) == (False, True)
    assert connections.shown_key(fourth, "ben")
    fifth = Fake()
    connections.made(fifth)
    assert not connections.shown_key(fifth, "carl"), "as many as all users together may hold"
    connections.lost(first)
    assert connections.shown_key(fifth, "carl")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    allow_files()
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    keys = {name: add_key(file, name) for name in ("anna", "ben")}
    predictor = ThresholdPredictor(preset=PRESET)
    with serving(predictor, Keys.read(file), facades=Facades(monailabel=True)) as server:
        yield server, keys


def message(server, method="GET", path=messages.INFO, key="", length=None):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {server.url[7:]}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += [] if length is None else [f"Content-Length: {length}", "Content-Type: application/x-www-form-urlencoded"]
    return "\r\n".join([*lines, "", ""]).encode()


KINDS = {
    "refused and left open": lambda server, keys: message(server),
    "a wrong key and a body that never comes": lambda server, keys: message(server, "PUT", PATCH, "wrong", 1000),
    "silent": lambda server, keys: b"",
    "a head that never ends": lambda server, keys: message(server)[:-2],
    "a body that never ends where no key is needed": lambda server, keys: message(
        server, "POST", "/auth/token", "", 99
    ),
    "a probe and then nothing": lambda server, keys: message(server, path=messages.LIVE),
    "a key and then nothing": lambda server, keys: message(server, key=keys["ben"]),
    "a key and a body that never comes": lambda server, keys: message(server, "PUT", PATCH, keys["ben"], 1000),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_six_hundred_connections_keep_nobody_out(keyed, kind):
    server, keys = keyed
    host, port = server.url.removeprefix("http://").split(":")
    text = KINDS[kind](server, keys)
    authorization = {"Authorization": f"Bearer {keys['anna']}"}
    slowest = 0.0
    with contextlib.ExitStack() as stack, requests.Session() as kept:
        kept.headers.update(authorization)
        for n in range(MANY):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            with contextlib.suppress(ConnectionError):  # its turn to go has come already
                connection.sendall(text)
            if n % 100 == 99:
                begin = time.monotonic()
                assert kept.get(server.url + messages.INFO, timeout=10).status_code == 200
                assert requests.get(server.url + messages.INFO, headers=authorization, timeout=10).status_code == 200
                assert requests.get(server.url + messages.LIVE, timeout=10).text == "alive"
                assert requests.get(server.url + messages.READY, timeout=10).text == "ready"
                slowest = max(slowest, time.monotonic() - begin)
        shares = server.connections.shares
        assert len(server.connections) <= shares.strangers + shares.of_user + 2
    assert slowest < 5


@pytest.mark.parametrize("name", ["anna", "local"])
def test_strangers_have_to_go_after_seconds_and_users_stay(tmp_path, name):
    keys = {name: add_key(tmp_path / "keys.json", name)}
    options = {"shares": Shares(seconds=0.5), "facades": Facades(monailabel=True)}
    with serving(ThresholdPredictor(preset=PRESET), Keys.read(tmp_path / "keys.json"), **options) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow, requests.Session() as user:
            user.headers["Authorization"] = f"Bearer {keys[name]}"
            assert user.get(server.url + messages.INFO, timeout=5).status_code == 200
            slow.sendall(message(server, "POST", "/auth/token", "", 99))
            with contextlib.suppress(ConnectionError):
                while slow.recv(4096):
                    pass
            [connection] = server.connections.of_users
            assert user.get(server.url + messages.INFO, timeout=5).status_code == 200
            assert server.connections.of_users == [connection], "the same one"


def test_an_upgrade_to_a_websocket_is_no_error_of_the_server(keyed):
    server, keys = keyed
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization": f"Bearer {keys['anna']}",
    }
    for path in (messages.INFO, "/absent", "/livez"):
        assert requests.get(server.url + path, headers=headers, timeout=5).status_code < 500
