"""HTTP connections that wait for nobody for long."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sammed3d.server.http.connections import Connections

HEAD_SECONDS = 15.0
CONNECTION = "sammed3d.connection"
"""Where the scope of a request holds its connection."""


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections that show no key in time, or whose next request's head is slow.

    Without this, a few hundred clients that send a letter now and then, or nothing, keep everybody else out.
    `protocol_with` makes a class of it for a server. Where connections are encrypted, they are counted before the
    handshake, which who keeps silent never ends.
    """

    known: Connections
    tls: ssl.SSLContext | None = None
    _deadline: asyncio.TimerHandle | None = None
    _stranger_until: asyncio.TimerHandle | None = None
    _handshake: asyncio.Task[None] | None = None
    _speaks = False  # whether what comes is HTTP
    _lost = False

    def connection_made(self, transport: Any) -> None:
        """Count the connection, and wait for the handshake, or the first request."""
        self.transport = transport
        self._early = b""
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._stranger_until = self.loop.call_later(self.known.shares.seconds, self.end)
        self.known.made(self)
        if self.tls is None:
            self._begin()
        else:
            transport.pause_reading()  # what comes is for the handshake
            self._handshake = self.loop.create_task(self._encrypt(self.tls))

    async def _encrypt(self, tls: ssl.SSLContext) -> None:
        try:
            transport = await self.loop.start_tls(self.transport, self, tls, server_side=True)
        except (OSError, asyncio.CancelledError):  # of the other side, or no TLS at all
            transport = None
        if transport is None or self._lost:
            self.end()
            self.connection_lost(None)
            return
        self.transport = transport
        self._begin()
        if self._early:
            self.data_received(self._early)

    def _begin(self) -> None:
        """Wait for the first request."""
        self._speaks = True
        super().connection_made(self.transport)
        self.app = self._with_connection(self.config.loaded_app)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, or not any more."""
        if not self._speaks:  # the end of the handshake is not known here yet
            self._early += data
            return
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
        self._lost = True
        self._stop_waiting()
        self._not_strange()
        self.known.lost(self)
        if self._speaks:
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
        return self._address

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


class ConfigOfServer(uvicorn.Config):
    """uvicorn's settings; connections reach the protocol before their TLS handshake, see `GuardedProtocol`.

    Args:
        app: the application.
        options: those of `uvicorn.Config`.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, loop="asyncio", **options)  # uvloop reads on where it was told to pause

    def load(self) -> None:
        """Hand the certificate over to the protocol."""
        super().load()
        self.http_protocol_class.tls = self.ssl  # type: ignore[attr-defined]
        self.ssl = None
