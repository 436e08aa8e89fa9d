"""HTTP connections that wait for nobody for long."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sammed3d.server.http.connections import Connections

HEAD_SECONDS = 15.0
CONNECTION = "sammed3d.connection"
"""Where the scope of a request holds its connection."""


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections that show no key in time, or whose next request's head is slow.

    Without this, a few hundred clients that send a letter now and then, or nothing, keep everybody else out.
    `protocol_with` makes a class of it for a server.
    """

    known: Connections
    _deadline: asyncio.TimerHandle | None = None
    _stranger_until: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self.app = self._with_connection(self.config.loaded_app)
        self._expect_head()
        self._stranger_until = self.loop.call_later(self.known.shares.seconds, self.end)
        self.known.made(self)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, or not any more."""
        try:
            super().data_received(data)
        except UnicodeDecodeError:  # bytes in the address of the request that are no ASCII
            self.send_400_response("The request's address holds bytes that have to be percent-encoded.")
            return
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._deadline is None:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; a request before it whose answer has not begun, or whose body it is, is given up."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # its answer would come after this one, which h11 takes for our error
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        self._not_strange()
        self.known.lost(self)
        super().connection_lost(exc)

    def shown_key(self, user: str) -> bool:
        """Note that a request with a valid key came; False where the user holds too many connections."""
        if not self.known.shown_key(self, user):
            return False
        self._not_strange()
        return True

    @property
    def is_stranger(self) -> bool:
        """Whether no request with a valid key has come."""
        return self.known.is_stranger(self)

    @property
    def address(self) -> str:
        """Of the other side, without its port."""
        return self.client[0] if self.client else ""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def end(self) -> None:
        """Close it at once, whatever is under way."""
        self.transport.abort()

    def _with_connection(self, app: Any) -> Any:
        async def bound(scope: Any, receive: Any, send: Any) -> None:
            scope[CONNECTION] = self
            await app(scope, receive, send)

        return bound

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _not_strange(self) -> None:
        if self._stranger_until is not None:
            self._stranger_until.cancel()
            self._stranger_until = None


def protocol_with(connections: Connections) -> type[GuardedProtocol]:
    """Make the class that uvicorn needs, for one server."""
    return type("ProtocolOfServer", (GuardedProtocol,), {"known": connections})
