"""Bodies that once ended in an error of the server, and a thousand drawn ones, end in a refusal."""

import asyncio
import logging
import socket
import time
import warnings

import nibabel
import numpy as np
import pytest
import requests

import fuzz
from helpers import ThresholdPredictor, by_name, phantom
from sammed3d.errors import VolumeError
from sammed3d.server.app import Facades
from sammed3d.server.compat import image_files
from sammed3d.wire import messages
from servers import serving
from workers import SMALL

DIGITS = "9" * 5000
QUESTION = b'{"model": "default", "request": "a", "prompts": {"clicks": [[' + DIGITS.encode() + b",1,1,true]]}}"
IMAGE = nibabel.Nifti1Image(phantom((12, 10, 8)), np.diag([2.0, 2.0, 3.0, 1.0])).to_bytes()


@pytest.fixture(scope="module")
def server():
    facades = Facades(nninteractive=True, monailabel=True, sessions=4, volume_mib=4)
    with serving(ThresholdPredictor(preset=SMALL), facades=facades) as server:
        yield server


@pytest.fixture(scope="module")
def session(server):
    response = requests.put(server.url + "/session/", files={"files": ("a.nii", IMAGE)}, timeout=10)
    return response.json()["session_id"]


@pytest.fixture(scope="module")
def lease(server):
    return {"X-Lease-Token": requests.post(server.url + "/claim", timeout=10).json()["lease_token"]}


PARAMS = [
    f'{{"foreground": [[{DIGITS}, 1, 1]]}}',
    f'{{"foreground": [[{"9" * 400}, 1, 1]]}}',
    '{"foreground": [[1e999, 1, 1]]}',
    '{"label": "\\ud800", "foreground": [[1, 1, 1]]}',
]


@pytest.mark.parametrize("params", PARAMS)
def test_numbers_and_text_that_nothing_can_hold(server, session, params):
    response = requests.post(
        f"{server.url}/infer/default?session_id={session}", files={"params": (None, params)}, timeout=10
    )
    assert response.status_code == 400
    assert "JSON" in response.json()["detail"]


def test_numbers_of_too_many_digits_in_our_own_messages(server):
    message = len(QUESTION).to_bytes(4, "little") + QUESTION
    response = requests.post(server.url + messages.PREDICTIONS.format(digest="0" * 64), data=message, timeout=10)
    assert response.status_code == 422
    assert "18 digits" in response.json()["detail"]


@pytest.mark.parametrize(
    "body", [b'{"coordinates": [' + DIGITS.encode() + b", 1, 1]}", b'{"coordinates": ["\xff"]}', b"[" * 5000]
)
def test_json_of_an_nninteractive_client(server, lease, body):
    headers = lease | {"Content-Type": "application/json"}
    response = requests.post(server.url + "/add_point_interaction", data=body, headers=headers, timeout=10)
    assert response.status_code == 400
    meta = lease | {"X-Meta": '{"image_properties": {"spacing": [1, 1, ' + DIGITS + "]}}"}
    response = requests.post(server.url + "/set_image", data=b"x", headers=meta, timeout=10)
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/add_point_interaction", "/set_target_buffer", "/auth/token"])
def test_a_body_without_a_length_that_grows_too_large_is_refused_as_that(server, lease, path):
    kind = "application/x-www-form-urlencoded" if path == "/auth/token" else "application/json"
    pieces = (b" " * 8192 for _ in range(12))
    response = requests.post(server.url + path, data=pieces, headers=lease | {"Content-Type": kind}, timeout=10)
    assert response.status_code == 413
    assert response.json()["detail"] == "The body is larger than 65536 bytes."


@pytest.mark.parametrize("path", ["/set_image", "/add_point_interaction"])
def test_a_client_that_goes_away_while_it_sends_is_no_error_of_the_server(server, lease, caplog, path):
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
    with caplog.at_level(logging.INFO, "sammed3d.server"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(f"{head}X-Lease-Token: {lease['X-Lease-Token']}\r\n\r\n{{".encode())
            time.sleep(0.2)
        until = time.monotonic() + 20
        while not (said := [each.fields for each in caplog.records if each.fields["route"] == path]):
            assert time.monotonic() < until
            time.sleep(0.02)
    assert [each["status"] for each in said] == [messages.CANCELLED]  # beside the lease's own line, on a busy machine


@pytest.mark.parametrize("charset", ["punycode", "idna", "undefined", "utf-16", "nonsense"])
def test_only_utf8_is_read(server, charset):
    kind, body = fuzz.form({"username": "anna", "password": "x"}, {}, charset.encode())
    response = requests.post(server.url + "/auth/token", data=body, headers={"Content-Type": kind}, timeout=10)
    assert response.status_code == 415
    headers = {"Content-Type": f"application/json; charset={charset}"}
    assert (
        requests.post(server.url + "/add_point_interaction", data=b"{}", headers=headers, timeout=10).status_code == 415
    )


def test_an_address_with_raw_bytes_is_a_bad_request(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("head", ["GET /session", "POST /undo", "PUT /session/", "POST /nothing"])
def test_a_damaged_body_is_a_bad_request_and_nothing_else(server, lease, caplog, head):
    host, port = server.url.removeprefix("http://").split(":")
    more = f"Host: {host}\r\nX-Lease-Token: {lease['X-Lease-Token']}\r\nTransfer-Encoding: chunked\r\n"
    with caplog.at_level(logging.INFO), socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head} HTTP/1.1\r\n{more}\r\n-1\r\n".encode())
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    time.sleep(0.1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def damaged_images():
    floats = {"NaN": np.nan, "zero": 0.0, "huge": 3e38, "tiny": 1e-40, "infinity": np.inf}
    for name, value in floats.items():
        data = bytearray(IMAGE)
        for at in range(280, 328, 4):  # the sform
            data[at : at + 4] = np.float32(value).tobytes()
        yield f"a matrix of {name}", bytes(data)
    yield "another binary block", b"\x1c\x02\x00\x00" + IMAGE[4:400]
    yield "a type that is none", IMAGE[:70] + b"\xff\xff" + IMAGE[72:]
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nspace: RAS\nsizes: 2 2 2\nencoding: raw\nendian: little\n"
    for directions in (
        "(nan,0,0) (0,1,0) (0,0,1)",
        "(0,0,0) (0,0,0) (0,0,0)",
        "(1e308,0,0) (0,1e308,0) (0,0,1e308)",
        "none none none",
        "(1,0)",
        DIGITS,
    ):
        yield f"directions {directions[:30]}", f"{nrrd}space directions: {directions}\n\n".encode() + bytes(range(16))


@pytest.mark.parametrize(("name", "data"), by_name(damaged_images()))
def test_damaged_images_are_refused_before_anything_is_computed(server, name, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VolumeError):
            image_files.read(data, 1 << 22)
    response = requests.put(server.url + "/session/", files={"files": ("a.nii", data)}, timeout=10)
    assert response.status_code == 400, response.text


@pytest.mark.slow
def test_a_thousand_drawn_requests_end_in_no_error_of_the_server():
    found = asyncio.run(fuzz.fuzz(seed=19, count=1000, seconds=60))
    assert not found.errors, found.errors[0]
    assert sum(found.statuses.values()) > 300
    assert found.statuses[200] > 10, "some are good"
    assert len(found.statuses) > 8
