"""What a browser's requests make of uploads: each gets an answer, and no name of a file is in the log."""

import asyncio
import gzip
import importlib.util
import logging
from types import SimpleNamespace

import pytest

if importlib.util.find_spec("trame_slicer") is None:
    pytest.skip("trame_slicer is not installed: run make test-web", allow_module_level=True)

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from sammed3d.web import slicer_scene

slicer_scene.find_library()

from sammed3d.web.allowance import ANY_SIZE  # noqa: E402
from sammed3d.web.routes import Routes  # noqa: E402

PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--x--\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


class Choice:
    """Stands for the list of series."""

    def __init__(self):
        self.reading, self.received = asyncio.Lock(), []
        self.receive = self.received.append


def answers(*requests):
    """Send requests (headers, body), each by a new browser; returns status and text of each, and what the page said."""

    async def run():
        page = SimpleNamespace(series=Choice(), said=[])
        page.say = page.said.append
        app, found = web.Application(), []
        Routes(page, ANY_SIZE).add_to(app)
        async with TestServer(app, host="127.0.0.1") as server:
            for headers, body in requests:
                async with ClientSession() as client:
                    answer = await client.post(server.make_url("/upload"), headers=headers, data=body)
                    found.append((answer.status, await answer.text()))
        assert page.series.received[-1] == ""
        assert not page.series.reading.locked()
        return found, page.said

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ({}, b"no boundary"),
        ({}, PART[:-8] % (b"Doe.nii", b"voxels")),
        ({}, PART % (b"Doe\0.nii", b"voxels")),
        ({}, PART % (b"Doe" * 9000, b"voxels")),
        ({}, b"--x\r\nDoe\r\n\r\nvoxels\r\n--x--\r\n"),
        ({"Content-Encoding": "gzip"}, b"Doe, not packed"),
        ({"Content-Encoding": "gzip"}, gzip.compress(PART % (b"Doe.nii", bytes(range(256)) * 99))[:-40]),
    ],
    ids=["no boundary", "cut off", "zero in a name", "long name", "no header", "not packed", "packed and cut off"],
)
def test_requests_of_another_form_are_damaged_and_said_so_and_the_log_does_not_name_their_files(more, body, caplog):
    caplog.set_level(logging.DEBUG)
    found, said = answers(({**FORM, **more}, body), (FORM, PART % (b"roe.nii", b"")))
    assert found[0] == (422, "The files arrived damaged. Send them again.\n")
    assert found[1] == (422, "roe.nii: the file is empty. Copy or export it again.\n")
    assert [line + "\n" for line in said] == [text for _, text in found]
    assert "Doe" not in caplog.text
