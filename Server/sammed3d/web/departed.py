"""Pages that go while something is sent to them: that is no fault, and others still get it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any


class _Connection:
    """A page's websocket, to which nothing is sent any more once it has gone."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send_bytes(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionResetError):
            await self._socket.send_bytes(data)


def allow_for_departed(handler: Any) -> None:
    """Have a handler of websockets send nothing to pages that have gone.

    wslink asks whether a websocket is closed before it sends, but a page may go meanwhile, or be gone without a word,
    which is seen when something is sent. Its answer was a trace in the log, and the pages after that one got nothing.

    Args:
        handler: wslink's, of a server that has not started.
    """
    websockets: Callable[..., list[Any]] = handler.getAuthenticatedWebsockets
    send_error: Callable[..., Awaitable[None]] = handler.sendWrappedError

    def connections(*which: Any, **more: Any) -> list[Any]:
        return [_Connection(socket) for socket in websockets(*which, **more) if socket is not None]

    async def tell_error(*what: Any, **more: Any) -> None:
        with contextlib.suppress(ConnectionResetError):
            await send_error(*what, **more)

    handler.getAuthenticatedWebsockets = connections
    handler.sendWrappedError = tell_error
