"""What the page's address answers beside trame's own: files up, files down."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.web import results, uploads
from sammed3d.web.allowance import Allowance
from sammed3d.web.images import with_cautions
from sammed3d.web.several import Several
from sammed3d.web.uploads import Incoming
from sammed3d.web.work import explained

PART = 1 << 20
DAMAGED = (ValueError, HttpProcessingError, web.RequestPayloadError)
"""What is raised where a message has not the form that it should have; the words may hold names of files."""
log = logging.getLogger(__name__)


class Routes:
    """Answer downloads and uploads.

    Args:
        page: what they are of, and who shows what was sent.
        allowance: how much memory there is for images.
    """

    def __init__(self, page: Any, allowance: Allowance) -> None:
        self._page, self._allowance = page, allowance

    def add_to(self, app: web.Application) -> None:
        """Add the routes to an application that has not started."""
        app.router.add_get("/download/{kind}", self.download)
        app.router.add_post("/upload", self.upload)
        app.router.add_post("/paraview/", self.launch)

    async def launch(self, _request: web.Request) -> web.Response:
        """Tell trame's page, which first asks for a launcher, that its process runs already."""
        return web.json_response({"sessionURL": "ws://USE_HOST/ws"})

    async def download(self, request: web.Request) -> web.Response:
        """Send all segments as one file, which is not kept; masks that were sent to the end are not lost any more."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = results.write(self._page.work, request.match_info["kind"], Path(folder))
            except SAMMed3DError as error:
                return web.Response(status=409, text=explained(error) + "\n")
            content, name = file.read_bytes(), file.name
        masks = results.masks_in(self._page.work, request.match_info["kind"])
        headers = {"Content-Disposition": _named(name)}
        answer = web.Response(body=content, content_type="application/octet-stream", headers=headers)
        await answer.prepare(request)
        await answer.write_eof()
        if masks:
            self._page.saved(masks)
        return answer

    async def upload(self, request: web.Request) -> web.Response:
        """Take files, and show the volume that they are."""
        reading = self._page.series.reading
        if reading.locked():
            return web.Response(status=409, text="Another image is being read. Wait for it, then send the files.\n")
        async with reading:
            self._page.series.receive("Receiving files...")
            try:
                with ExitStack() as stack:
                    folder = stack.enter_context(tempfile.TemporaryDirectory())
                    (arrived := Path(folder) / "arrived").mkdir()
                    incoming = Incoming(arrived)
                    try:
                        await _save(request, incoming)
                    except DAMAGED as error:
                        raise VolumeError("The files arrived damaged. Send them again.") from error
                    read = partial(uploads.read, incoming.files, Path(folder), self._allowance)
                    image, cautions = await asyncio.to_thread(with_cautions, read)
                    if isinstance(image, Several):  # whose files are needed until something else is opened
                        self._page.series.offer(image, stack.pop_all().close)
                        self._page.series.ask()
                if isinstance(image, Volume):
                    self._page.open(image, cautions)
            except SAMMed3DError as error:
                self._page.say(explained(error))
                return web.Response(status=422, text=explained(error) + "\n")
            except (OSError, MemoryError) as error:
                log.error("an upload failed: %s", getattr(error, "strerror", None) or type(error).__name__)
                return web.Response(status=507, text="The server has no room for these files. Ask whoever runs it.\n")
            finally:
                self._page.series.receive("")
        return web.Response(text="Opened.\n")


async def _save(request: web.Request, incoming: Incoming) -> None:
    if not request.content_type.startswith("multipart/"):
        return
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is None:
            continue
        with incoming.begin(part.filename).open("wb") as target:
            while piece := await part.read_chunk(PART):
                incoming.count(len(piece))
                target.write(piece)


def _named(name: str) -> str:
    """Return the header that names a file: as it is, and in ASCII for those who know no other (RFC 6266)."""
    shown = "".join(c if c.isprintable() and c not in '"\\' else "_" for c in name)
    ascii_ = "".join(c if c.isascii() else "_" for c in shown)
    return f"attachment; filename=\"{ascii_}\"; filename*=UTF-8''{quote(shown, safe='')}"
