"""The whole interface: its description is fuzzed, every route asks for a key, and connections that misbehave end."""

import concurrent.futures
import contextlib
import hashlib
import json
import re
import socket
import time

import hypothesis
import numpy as np
import psutil
import pytest
import requests

from helpers import ThresholdPredictor, small_volume
from networks import TINY_PRESET
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server.app import Facades
from sammed3d.server.http import protocol
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.wire import arrays, messages
from servers import LiveServer, serving
from workers import SMALL

FACADES = Facades(nninteractive=True, monailabel=True, sessions=4, volume_mib=4)
OPEN = {"/livez", "/readyz", "/healthz", "/auth/", "/auth/token"}
ORIGIN = "https://viewer.hospital.example"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    by_name = {name: add_key(file, name) for name in ("anna", "ben")}
    options = {"facades": FACADES, "origins": frozenset({ORIGIN})}
    with serving(ThresholdPredictor(preset=SMALL), Keys.read(file), **options) as server:
        yield server, by_name


def every_route():
    server = LiveServer(ThresholdPredictor(preset=SMALL), facades=FACADES)
    server.stop()
    for path, operations in server.app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), re.sub(r"\{\w+\}", "a" * 64, path)


ROUTES = list(every_route())


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("key", [None, "", "wrong", "Basic YW5uYTpwdw=="])
def test_every_route_but_the_open_ones_asks_for_a_key(keyed, method, path, key):
    headers = {} if key is None else {"Authorization": key if " " in key else f"Bearer {key}"}
    response = requests.request(method, keyed[0].url + path, headers=headers, data=b"{", timeout=5)
    if path in OPEN:
        assert response.status_code != 401 or path == "/auth/token"
    else:
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_all_known_routes_are_among_them():
    paths = {path for _, path in ROUTES}
    assert paths >= OPEN
    assert {"/v1/info", "/claim", "/set_image", "/info/", "/session/"} <= paths
    assert len(ROUTES) > 25


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_described_interface_can_be_fuzzed_without_an_error_of_the_server(keyed):
    """Schemathesis draws requests from the description, valid and not; a fault would be a status of 500 and more."""
    import schemathesis

    server, by_name = keyed
    schema = schemathesis.openapi.from_dict(server.app.openapi())
    statuses = {}

    def fuzz(case):
        headers = {"Authorization": f"Bearer {by_name['anna']}"}
        response = case.call(base_url=server.url, headers=headers, timeout=20)
        statuses.setdefault(case.operation.label, set()).add(response.status_code)
        assert response.status_code < 500 or case.path == "/claim", (case.path, response.status_code, response.text)

    for operation in schema.get_all_operations():
        drawn = hypothesis.given(operation.ok().as_strategy())(fuzz)
        hypothesis.settings(max_examples=12, deadline=None, database=None, derandomize=True)(drawn)()
    assert len(statuses) == len(ROUTES)
    assert sum(any(status < 300 for status in seen) for seen in statuses.values()) > 8, "some requests are good"


def connect(server, timeout=10.0):
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def head(server, by_name, path=f"/v1/patches/{'0' * 64}", length=1000):
    return (
        f"PUT {path} HTTP/1.1\r\nHost: {server.url[7:]}\r\nAuthorization: Bearer {by_name['anna']}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def whole_answer(connection):
    """Head and body of an answer, which may come in parts."""
    answer = b""
    while not (length := re.search(rb"content-length: (\d+)\r\n(?:.*\r\n)*\r\n", answer, re.IGNORECASE)) or len(
        answer
    ) < length.end() + int(length[1]):
        answer += connection.recv(4096)
    return answer


def test_heads_that_trickle_in_are_not_waited_for(keyed, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(keyed[0])) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"GET /livez HTT")
        silent = stack.enter_context(connect(keyed[0]))
        second = stack.enter_context(connect(keyed[0]))
        key = f"Authorization: Bearer {keyed[1]['anna']}"
        second.sendall(f"GET /v1/info HTTP/1.1\r\nHost: {keyed[0].url[7:]}\r\n{key}\r\n\r\n".encode())
        assert b"200 OK" in whole_answer(second)
        second.sendall(b"GET /livez")
        assert requests.get(keyed[0].url + "/livez", timeout=5).text == "alive"
        for connection in (*slow, silent, second):
            assert connection.recv(4096) == b"", "the server hung up"


def test_bodies_that_stop_arriving_are_not_waited_for(keyed, monkeypatch):
    monkeypatch.setattr("sammed3d.server.http.guard.BODY_PAUSE", 0.5)
    with connect(keyed[0]) as connection:
        connection.sendall(head(*keyed) + b"x" * 10)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_in_the_middle_of_an_upload_harms_nothing(keyed):
    for _ in range(5):
        with connect(keyed[0]) as connection:
            connection.sendall(head(*keyed) + b"x" * 10)
    assert requests.get(keyed[0].url + "/readyz", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/info HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"\r\n\r\n\x00\xff",
    ],
)
def test_what_is_no_http_is_answered_with_a_4xx_or_hung_up_on(keyed, bytes_):
    with connect(keyed[0]) as connection:
        connection.sendall(bytes_)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert requests.get(keyed[0].url + "/livez", timeout=5).text == "alive"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        (ORIGIN, 200),
        ("own", 200),
        (None, 200),
    ],
)
def test_without_keys_a_web_page_of_another_site_starts_nothing(origin, status):
    with serving(ThresholdPredictor(), facades=FACADES, origins=frozenset({ORIGIN})) as server:
        headers = {} if origin is None else {"Origin": server.url if origin == "own" else origin}
        answer = requests.post(server.url + "/claim", headers=headers, timeout=5)
        assert answer.status_code == status
        if status == 403:
            assert "--origin" in answer.json()["detail"]


def test_web_pages_of_named_origins_alone_may_use_it(keyed):
    server, by_name = keyed
    ask = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight = requests.options(server.url + "/info/", headers=ask, timeout=5)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    may_send = preflight.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "x-lease-token", "x-meta", messages.ROUTING_HEADER.lower()} <= set(may_send)
    key = {"Authorization": f"Bearer {by_name['anna']}"}
    allowed = requests.get(server.url + "/info/", headers=key | {"Origin": ORIGIN}, timeout=5)
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    assert {"X-Meta", messages.MISSING_HEADER} <= set(allowed.headers["Access-Control-Expose-Headers"].split(", "))
    other = {"Origin": "https://evil.example"}
    assert requests.options(server.url + "/info/", headers=other, timeout=5).status_code == 401
    refused = requests.get(server.url + "/info/", headers=key | other, timeout=5)
    assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.slow
def test_fifty_users_at_once_are_all_served_and_memory_stays_flat(tiny_network):
    """Each clicks on a volume of its own; the caches are small, so that memory would grow if anything were kept."""
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", cache_mib=2)
    volumes = [small_volume((40 + n % 5, 50, 30 + n % 3)) for n in range(6)]
    expected = {}

    def user(number):
        volume = volumes[number % len(volumes)]
        session = Session(volume, RemotePredictor(server.url, patience=120))
        masks = []
        for world, positive in (((60.0, 75.0, 45.0), True), ((30.0, 90.0, 40.0), False), ((80.0, 60.0, 50.0), True)):
            session.click(world, positive)
            masks.append(session.mask())
        return number % len(volumes), np.stack(masks)

    with serving(predictor, cache_mib=8, queue=16) as server, concurrent.futures.ThreadPoolExecutor(50) as pool:
        process, rss = psutil.Process(), []
        for _ in range(3):
            for volume, masks in pool.map(user, range(50)):
                assert np.array_equal(expected.setdefault(volume, masks), masks)
            rss.append(process.memory_info().rss)
        assert server.engine.metrics.registry.get_sample_value("sammed3d_predictions") == 0
        # The first rounds fill what the C library keeps for fifty threads; a patch a click would be 150 MiB a round.
        assert rss[2] - rss[1] < 75 << 20, rss


def test_errors_are_counted_and_say_nothing_of_the_inside(keyed, monkeypatch):
    server, by_name = keyed
    voxels = np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32)
    digest = hashlib.sha256(voxels.data).hexdigest()
    key = {"Authorization": f"Bearer {by_name['anna']}"}
    url = server.url + messages.PATCH.format(digest=digest)
    assert requests.put(url, data=arrays.pack(voxels), headers=key, timeout=5).status_code == 201

    def broken(*_):
        raise RuntimeError("SECRET of /etc/sammed3d")

    monkeypatch.setattr(server.engine, "predict", broken)
    message = messages.join({"model": "default", "request": "r", "prompts": {"clicks": [[1, 2, 3, True]]}})
    response = requests.post(
        server.url + messages.PREDICTIONS.format(digest=digest), data=message, headers=key, timeout=5
    )
    assert response.status_code == 500
    assert "SECRET" not in response.text
    assert json.loads(response.text)["request_id"] == response.headers["X-Request-Id"]
    value = server.engine.metrics.registry.get_sample_value
    time.sleep(0.1)  # it is counted after it was answered
    labels = {"method": "POST", "route": messages.PREDICTIONS, "status": "500"}
    assert value("sammed3d_requests_total", labels) == 1
