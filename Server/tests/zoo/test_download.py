"""Downloads from a server that drops connections, lies about sizes and sends other bytes than it should."""

import hashlib
import io
import shutil
import threading
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save

from sammed3d.errors import ModelError, PredictionCancelled
from sammed3d.inference.predictor import Cancellation
from sammed3d.zoo.download import download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves one file, with faults: each request takes the next one from the list."""

    def __init__(self):
        self.content, self.faults, self.ranges, self.etag = CONTENT, [], [], '"v1"'
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/model.pth"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request):
        fault = self.faults.pop(0) if self.faults else None
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        begin = 0
        if wanted and request.headers.get("If-Range") == self.etag and fault != "ignores ranges":
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if isinstance(fault, int):
            request.send_error(fault)
            return
        sent = 0 if fault == "sends another part" else begin
        body = self.content[sent:]
        request.send_response(206 if begin else 200)
        if self.etag is not None:
            request.send_header("ETag", self.etag)
        if begin and fault != "does not say which part":
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {sent}-{last}/{len(self.content)}")
        length = len(body) + (1000 if fault == "lies about the size" else 0)
        if fault not in ("says no size", "says no size and drops"):
            request.send_header("Content-Length", "many" if fault == "says no number" else str(length))
        request.end_headers()
        if fault in ("drops", "says no size and drops"):
            body = body[: len(body) // 2]
        if fault == "corrupts":
            body = body[:1000] + b"?" + body[1001:]
        request.wfile.write(body)
        request.wfile.flush()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "model.pth"


def fetch(server, target, **options):
    return download(server.url, target, pause=0.01, **options)


def left(target):
    return sorted(file.name for file in target.parent.iterdir())


def test_a_file_arrives_whole_with_progress(server, target):
    seen = []
    assert fetch(server, target, sha256=DIGEST, progress=lambda done, total: seen.append((done, total))) == DIGEST
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert left(target) == ["model.pth"]


def test_dropped_connections_are_resumed(server, target):
    server.faults = ["drops", "drops", 503]
    fetch(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT
    first, *later = server.ranges
    begins = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in later]
    assert first is None
    assert len(later) == 3
    assert 1_000_000 < begins[0] < begins[1] == begins[2], "each goes on where the last one ended"


def test_a_file_that_changed_meanwhile_starts_anew(server, target):
    server.faults = ["drops"]
    cancellation = Cancellation()

    def change(done, total):
        if done >= 1_000_000:
            server.etag, server.content = '"v2"', CONTENT[::-1]

    fetch(server, target, progress=change, cancellation=cancellation)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_anew(server, target):
    server.faults = ["drops", "ignores ranges"]
    fetch(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["sends another part", "does not say which part"])
def test_another_part_than_was_asked_for_is_not_joined_to_what_is_there(server, target, fault):
    server.faults = ["drops", fault]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges[2] is None, "it starts anew"
    assert left(target) == ["model.pth"]


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"{}", b'"a\\nb"'])
def test_a_part_of_which_nobody_knows_any_more_whose_it_is_starts_anew(server, target, damaged):
    """A full disk leaves an empty file of what tells it."""
    target.parent.mkdir(parents=True)
    target.with_name("model.pth.part").write_bytes(b"?" * 1000)
    target.with_name("model.pth.part.json").write_bytes(damaged)
    fetch(server, target, sha256=DIGEST)
    assert server.ranges == [None]
    assert left(target) == ["model.pth"]


def test_a_size_that_is_no_number_is_not_known(server, target):
    server.faults = ["says no number"]
    seen = []
    fetch(server, target, sha256=DIGEST, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), None)


@pytest.mark.parametrize(
    "address",
    ["mirror.example/model.pth", "ftp://mirror.example/model.pth", "http://", "http://[::1/model.pth", "http://a:b/"],
)
def test_an_address_that_is_none_is_said_at_once(target, address):
    with pytest.raises(ModelError, match=r"model\.pth: its address is none\. .*HF_ENDPOINT"):
        download(address, target, pause=0.01)


def test_a_proxy_that_is_none_is_not_taken_for_the_address(target, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.example:3128")
    with pytest.raises(ModelError, match=r"model\.pth: the download cannot begin\. models\.example: .* the proxy that"):
        download("https://models.example/model.pth", target, pause=0.01)


def archive():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("data.pkl", CONTENT)
    return made.getvalue()


@pytest.mark.parametrize("content", [save({"a": np.frombuffer(CONTENT, np.uint8)}), archive()], ids=["tensors", "zip"])
def test_what_ends_early_without_a_size_is_taken_for_cut_off_not_for_another_file(server, target, content):
    server.content = content
    server.faults = ["says no size and drops", "says no size"]
    fetch(server, target)
    assert target.read_bytes() == content
    assert server.ranges[1] is not None, "it went on where it ended"
    target.unlink()
    server.faults = ["says no size and drops"] * 5
    server.etag = None
    with pytest.raises(ModelError, match=r"model\.pth: the download broke off 5 times\. .*next try goes on"):
        fetch(server, target)
    assert not target.exists()


def test_what_says_nothing_of_its_size_is_taken_as_it_comes(server, target):
    server.faults = ["says no size"]
    assert fetch(server, target) == DIGEST


def test_a_size_that_is_not_true_is_never_accepted(server, target):
    server.faults = ["lies about the size"] * 10
    with pytest.raises(ModelError, match=r"model\.pth: the download broke off 5 times"):
        fetch(server, target)
    assert not target.exists()


def test_what_keeps_a_download_from_its_server_is_said(target, tmp_path, monkeypatch, free_port):
    monkeypatch.setattr("sammed3d.zoo.download.TRIES", 1)
    with pytest.raises(ModelError, match=rf"broke off 1 times\. 127\.0\.0\.1:{free_port}: .* nothing listens at port"):
        download(f"http://127.0.0.1:{free_port}/model.pth", target)
    monkeypatch.setattr("sammed3d.zoo.download.TRIES", 5)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
    with pytest.raises(ModelError, match=r"the download cannot begin\. .* REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names"):
        download("https://models.example/model.pth", target)
    assert not target.exists()


def test_two_downloads_of_one_file_do_not_write_into_each_other(server, target):
    begun, go_on = threading.Event(), threading.Event()

    def progress(_done, _total):
        begun.set()
        go_on.wait(1)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(download, server.url, target, sha256=DIGEST, progress=progress)
        assert begun.wait(10)
        second = threads.submit(download, server.url, target, sha256=DIGEST)
        with pytest.raises(TimeoutError):
            second.result(0.5)
        go_on.set()
        assert first.result(30) == second.result(30) == DIGEST
    assert len(server.ranges) == 1, "the second waited for the first"
    assert list(target.parent.iterdir()) == [target]


def test_who_waits_for_another_download_can_cancel_or_take_its_place(server, target):
    begun, cancellation = threading.Event(), Cancellation()

    def progress(_done, _total):
        begun.set()
        cancellation.wait(1)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(download, server.url, target, progress=progress, cancellation=cancellation)
        assert begun.wait(10)
        impatient = Cancellation()
        impatient.cancel()
        with pytest.raises(PredictionCancelled):
            download(server.url, target, cancellation=impatient)
        second = threads.submit(download, server.url, target, sha256=DIGEST)
        cancellation.cancel()
        with pytest.raises(PredictionCancelled):
            first.result(30)
        assert second.result(30) == DIGEST


@pytest.mark.parametrize("faults", [["corrupts"], ["drops", "corrupts"]])
def test_other_bytes_than_published_are_deleted(server, target, faults):
    server.faults = faults
    with pytest.raises(ModelError, match="what arrived is not the published file"):
        fetch(server, target, sha256=DIGEST)
    assert left(target) == []
    fetch(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_refusal_is_not_tried_again(server, target):
    server.faults = [404]
    with pytest.raises(ModelError, match=r"refused it \(HTTP 404\)"):
        fetch(server, target)
    assert len(server.ranges) == 1


def test_no_network_is_said_in_words(target):
    with pytest.raises(ModelError, match="Check the network or proxy"):
        download("http://127.0.0.1:9/model.pth", target, pause=0.01)


def test_cancelling_keeps_the_part_for_the_next_time(server, target):
    cancellation = Cancellation()
    with pytest.raises(PredictionCancelled):
        fetch(server, target, progress=lambda done, total: cancellation.cancel(), cancellation=cancellation)
    assert not target.exists()
    part = target.with_name("model.pth.part").stat().st_size
    assert 0 < part < len(CONTENT)
    fetch(server, target, sha256=DIGEST)
    assert server.ranges == [None, f"bytes={part}-"]
    assert target.read_bytes() == CONTENT


def test_cancelling_ends_the_wait_for_the_next_try(server, target):
    server.faults = [500]
    cancellation = Cancellation()
    answer = server.answer

    def cancelled_meanwhile(request):
        answer(request)
        cancellation.cancel()

    server.answer = cancelled_meanwhile
    with pytest.raises(PredictionCancelled):
        download(server.url, target, cancellation=cancellation, pause=1e6)


def disk_of(monkeypatch, size):
    """Make the disk hold as many bytes, of which the files beside the target take theirs."""
    usage = namedtuple("usage", "total used free")

    def measured(folder):
        used = sum(file.stat().st_size for file in folder.iterdir())
        return usage(size, used, size - used)

    monkeypatch.setattr(shutil, "disk_usage", measured)


def test_a_disk_too_small_is_said_before_it_is_full(server, target, monkeypatch):
    disk_of(monkeypatch, 1000)
    with pytest.raises(ModelError, match="needs 2 MiB and the disk has less"):
        fetch(server, target)
    assert not target.with_name("model.pth.part").exists()


@pytest.mark.parametrize("fault", ["ignores ranges", None])
def test_a_part_that_begins_anew_is_no_room_that_the_file_lacks(server, target, monkeypatch, fault):
    disk_of(monkeypatch, len(CONTENT) + 1000)
    server.faults = ["drops", fault]
    fetch(server, target, sha256=DIGEST)
    assert left(target) == ["model.pth"]
    assert server.ranges[1] is not None, "the server was asked for the rest"
