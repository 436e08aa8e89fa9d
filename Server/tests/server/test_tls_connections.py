"""Connections that never end their TLS handshake are counted like others, and keep nobody out."""

import contextlib
import socket
import ssl

import pytest
import requests
import trustme

from helpers import ThresholdPredictor
from sammed3d.inference.preset import Preset
from sammed3d.server.http.connections import Shares
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.server.serve import allow_files
from sammed3d.wire import messages
from servers import serving

PRESET = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4))
SHARES = Shares(strangers=12, of_address=8)
KINDS = {"silent": b"", "half of a greeting": b"\x16\x03\x01\x02\x00\x01", "HTTP": b"GET / HTTP/1.1\r\n\r\n"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Files of a server's certificate with its key, and of the authority that signed it."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    server, ca = str(folder / "server.pem"), str(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    authority.cert_pem.write_to_path(ca)
    return server, ca


@contextlib.contextmanager
def encrypted(certificates, folder, shares):
    """A server with TLS, and a session of a user of it."""
    allow_files()
    key = add_key(folder / "keys.json", "anna")
    tls, ca = (certificates[0], None), certificates[1]
    with (
        serving(ThresholdPredictor(preset=PRESET), Keys.read(folder / "keys.json"), tls=tls, shares=shares) as server,
        requests.Session() as user,
    ):
        user.headers["Authorization"], user.verify, user.trust_env = f"Bearer {key}", ca, False
        yield server, user


def connect(server):
    host, port = server.url.removeprefix("https://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def is_open(connection):
    """Whether the server has not closed it."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):  # an alert may come first
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_who_never_ends_the_handshake_holds_a_share_and_keeps_nobody_out(certificates, tmp_path, kind):
    with encrypted(certificates, tmp_path, SHARES) as (server, user), contextlib.ExitStack() as stack:
        many = [stack.enter_context(connect(server)) for _ in range(5 * SHARES.strangers)]
        for connection in many:
            with contextlib.suppress(ConnectionError):
                connection.sendall(KINDS[kind])
        assert user.get(server.url + messages.INFO, timeout=10).status_code == 200
        assert requests.get(server.url + messages.LIVE, timeout=10, verify=user.verify).text == "alive"
        assert 0 < len(server.connections) <= SHARES.of_address + 1
        assert sum(map(is_open, many)) <= SHARES.of_address


def test_a_silent_connection_has_to_go_after_seconds(certificates, tmp_path):
    with encrypted(certificates, tmp_path, Shares(seconds=0.5)) as (server, user), connect(server) as silent:
        with contextlib.suppress(ConnectionError):
            assert silent.recv(1) == b"", "closed by the server"
        assert user.get(server.url + messages.INFO, timeout=10).status_code == 200


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(certificates, tmp_path):
    with encrypted(certificates, tmp_path, Shares()) as (server, user):
        context = ssl.create_default_context(cafile=user.verify)
        for _ in range(20):
            with context.wrap_socket(connect(server), server_hostname="127.0.0.1") as connection:
                connection.sendall(f"GET {messages.LIVE} HTTP/1.1\r\nHost: {server.url[8:]}\r\n\r\n".encode())
                answer = b""
                while piece := connection.recv(4096):
                    answer += piece
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"alive")


def test_a_kept_connection_serves_many_requests_and_knows_that_it_is_encrypted(certificates, tmp_path):
    with encrypted(certificates, tmp_path, Shares()) as (server, user):
        for _ in range(5):
            assert user.get(server.url + messages.INFO, timeout=10).status_code == 200
        [connection] = server.connections.of_users
        assert connection.scheme == "https"
        assert connection.address == "127.0.0.1"
