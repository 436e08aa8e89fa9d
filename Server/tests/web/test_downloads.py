"""What counts as downloaded, without a browser."""

import asyncio
import importlib.util
import socket
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

if importlib.util.find_spec("trame_slicer") is None:
    pytest.skip("trame_slicer is not installed: run make test-web", allow_module_level=True)

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sammed3d.web import results, routes
from sammed3d.web.allowance import ANY_SIZE

BYTES = 32 << 20
"""More than the system takes for somebody who does not read."""


@pytest.mark.parametrize(
    ("name", "ascii_name", "whole_name"),
    [
        ("ct segmentation.seg.nrrd", "ct segmentation.seg.nrrd", "ct segmentation.seg.nrrd"),
        ("Schädel 頭部.seg.nrrd", "Sch_del __.seg.nrrd", "Schädel 頭部.seg.nrrd"),
        ('a"b\\c\r\nd\u202eg.zip', "a_b_c__d_g.zip", "a_b_c__d_g.zip"),
    ],
)
def test_a_download_has_the_name_of_what_it_is(monkeypatch, name, ascii_name, whole_name):
    def write(_work, _kind, folder):
        (file := folder / name).write_bytes(b"masks")
        return file

    monkeypatch.setattr(results, "write", write)
    monkeypatch.setattr(results, "masks_in", lambda _work, _kind: frozenset())
    app = web.Application()
    routes.Routes(SimpleNamespace(work=None), ANY_SIZE).add_to(app)

    async def story():
        async with TestClient(TestServer(app)) as client:
            answer = await client.get("/download/seg.nrrd")
            return answer.headers["Content-Disposition"], await answer.read()

    header, content = asyncio.run(story())
    assert content == b"masks"
    assert header.startswith(f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''")
    assert unquote(header.rpartition("''")[2]) == whole_name


@pytest.mark.parametrize("whole", [True, False])
def test_a_download_that_broke_off_is_none(monkeypatch, whole):
    saved, masks = [], [("Segment_1", 1)]

    def write(_work, _kind, folder):
        (file := folder / "masks.nii.gz").write_bytes(bytes(BYTES))
        return file

    monkeypatch.setattr(results, "write", write)
    monkeypatch.setattr(results, "masks_in", lambda _work, _kind: frozenset(masks))
    page = SimpleNamespace(work=None, saved=lambda *given: saved.append(given))

    def ask(port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /download/nii.gz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            count = 0
            while (whole or not count) and (piece := client.recv(1 << 20)):
                count += len(piece)
                masks[0] = ("Segment_1", 2)  # somebody goes on meanwhile
        return count

    async def story():
        app = web.Application()
        routes.Routes(page, ANY_SIZE).add_to(app)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        count = await asyncio.to_thread(ask, runner.addresses[0][1])
        await asyncio.sleep(0.5)
        await runner.cleanup()
        return count

    assert (asyncio.run(story()) > BYTES) == whole
    assert saved == ([(frozenset({("Segment_1", 1)}),)] if whole else [])
