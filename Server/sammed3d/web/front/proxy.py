"""Requests and websockets of a user, passed on to the user's process."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sammed3d.web.front.users import Place

PIECE = 1 << 18
LARGEST_MESSAGE = 16 << 20
"""Bytes of a message on a websocket; trame cuts what is larger than 4 MiB."""
HEARTBEAT = 30.0
NOT_PASSED = frozenset(
    (
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"),
        *("proxy-authenticate", "proxy-authorization", "authorization", "forwarded"),
        *("host", "origin", "cookie", "set-cookie"),
    )
)
"""Headers of one connection alone, and those that are between the browser and the front."""


class GoneError(Exception):
    """A user's process does not answer any more."""


class Proxy:
    """Pass requests on. To be made, and closed, in the event loop."""

    def __init__(self) -> None:
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            connector=aiohttp.TCPConnector(limit=0),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def pass_on(self, request: web.Request, place: Place) -> web.StreamResponse:
        """Answer a request with what the user's process answers.

        Raises:
            GoneError: it does not answer any more.
        """
        with place.used():
            try:
                if request.headers.get("Upgrade", "").lower() == "websocket":
                    return await self._connect(request, place)
                return await self._ask(request, place)
            except aiohttp.ClientError as error:
                raise GoneError from error

    async def _ask(self, request: web.Request, place: Place) -> web.StreamResponse:
        body: Any = request.content.iter_chunked(PIECE) if request.can_read_body else None
        headers = _passed(request.headers)
        headers.update(place.process.headers)
        if request.content_length is not None and body is not None:
            headers["Content-Length"] = str(request.content_length)
        async with self._client.request(
            request.method, _address(request, place), headers=headers, data=body, allow_redirects=False
        ) as theirs:
            answer = web.StreamResponse(status=theirs.status, reason=theirs.reason, headers=_passed(theirs.headers))
            if theirs.content_length is not None:
                answer.content_length = theirs.content_length
            await answer.prepare(request)
            try:
                async for piece in theirs.content.iter_chunked(PIECE):
                    await answer.write(piece)
                await answer.write_eof()
            except aiohttp.ClientPayloadError:  # what was sent is no whole answer, and must not pass for one
                if request.transport is not None:
                    request.transport.abort()
            return answer

    async def _connect(self, request: web.Request, place: Place) -> web.StreamResponse:
        async with self._client.ws_connect(
            _address(request, place), headers=place.process.headers, max_msg_size=LARGEST_MESSAGE, compress=0
        ) as theirs:
            ours = web.WebSocketResponse(max_msg_size=LARGEST_MESSAGE, heartbeat=HEARTBEAT, compress=False)
            await ours.prepare(request)
            ways = [asyncio.create_task(_pump(ours, theirs, place)), asyncio.create_task(_pump(theirs, ours, None))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                await ours.close(code=aiohttp.WSCloseCode.GOING_AWAY)
            return ours


async def _pump(source: Any, target: Any, place: Place | None) -> None:
    """Pass messages on until one side closes; those of the user count as something done."""
    async for message in source:
        if place is not None:
            place.touch()
        if message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)


def _passed(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in NOT_PASSED and not name.lower().startswith("x-forwarded-")
    )


def _address(request: web.Request, place: Place) -> URL:
    """Return what is asked of a user's process, to the letter.

    Raises:
        HTTPBadRequest: a whole address is asked for, as proxies are.
    """
    if not request.raw_path.startswith("/"):
        raise web.HTTPBadRequest(text="Ask for a path of this server, not for a whole address.\n")
    return URL(place.process.address + request.raw_path, encoded=True)
