"""What every request passes before a byte of its body is read: host, key, protocol, size."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

from sammed3d.server.addresses import compared
from sammed3d.server.http.keys import Keys
from sammed3d.server.http.problems import problem
from sammed3d.server.http.protocol import CONNECTION
from sammed3d.server.metrics import Metrics
from sammed3d.wire.messages import (
    CANCELLED,
    MISSING_HEADER,
    MISSING_KEY,
    PROTOCOL,
    PROTOCOL_HEADER,
    REQUEST_ID_HEADER,
    ROUTING_HEADER,
    about_protocols,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANYBODY = ""
"""The user of requests that need no key; no key has that name."""
NO_KEY = "A key is needed (Authorization: Bearer ...), and none came. Proxies have to let that header pass."
FAILED = "The server failed. Its log says more under the request id."
BODY_PAUSE = 30.0
"""Seconds that a client may be silent in the middle of a body."""
SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
log = logging.getLogger("sammed3d.server")


@dataclass(frozen=True)
class Rules:
    """Who may ask what.

    Attributes:
        keys: the users' keys; None where anybody on this machine may use the server (loopback only).
        hosts: accepted hosts, as `compared` writes them.
        open_paths: need no key; their bodies are limited like others.
        limit: function of a path to the bytes of its largest body.
        origins: web pages of other origins that may use the server.
        uploads: bytes of all bodies that are held at once; a single one may be larger.
    """

    keys: Keys | None
    hosts: frozenset[str]
    open_paths: frozenset[str]
    limit: Callable[[str], int]
    origins: frozenset[str] = frozenset()
    uploads: int = 1 << 30


class Guard:
    """ASGI middleware in front of the application.

    Args:
        app: the application.
        rules: the rules for requests.
        metrics: the counters of requests.
        openapi: returns the description of the application's interface.

    Log lines hold method, route, status, user and time: no body, no query, no header.
    """

    def __init__(self, app: App, rules: Rules, metrics: Metrics, openapi: Callable[[], dict[str, Any]]) -> None:
        self._app, self._rules, self.metrics, self.openapi = app, rules, metrics, openapi
        self._bodies = Bodies(rules.uploads)
        metrics.watch_cache("uploads", lambda: self._bodies.held, lambda: rules.uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket, which nothing here speaks: uvicorn makes 403 of this
            await send({"type": "websocket.close", "code": 1008})
            return
        scope["request_id"] = secrets.token_hex(8)
        exchange = _Exchange(
            scope, receive, send, self._rules.limit(scope["path"]), self._cors_headers(scope), self._bodies
        )
        begin = time.perf_counter()
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await exchange.refuse(*refusal)
            elif exchange.cors_headers and scope["method"] == "OPTIONS":
                await exchange.send_all(204)
            else:
                with contextlib.suppress(ClientDisconnect):  # who reads JSON answers it, which is not sent
                    await self._app(scope, exchange.receive, exchange.send_unless_cut)
                if exchange.cut is not None:
                    await exchange.refuse(*exchange.cut)
        except Exception:
            log.exception("request %s failed", scope["request_id"])
            await exchange.refuse(500, FAILED)
        finally:
            exchange.forget_body()
            self._note(scope, exchange.status, time.perf_counter() - begin)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        rules, headers = self._rules, dict[bytes, bytes](scope["headers"])
        host = headers.get(b"host", b"").decode("latin1")
        if compared(host) not in rules.hosts:
            return 421, "This server does not answer to that host name. The administrator can allow it (--host-name)."
        if rules.keys is None and self._is_foreign(headers.get(b"origin"), host):
            return 403, "Web pages of other sites may not use this server. The administrator can allow one (--origin)."
        scope["user"] = ANYBODY
        preflight = scope["method"] == "OPTIONS" and bool(self._cors_headers(scope))
        if scope["path"] not in rules.open_paths and not preflight and rules.keys is not None:
            if not headers.get(b"authorization", b"").strip():
                return 401, NO_KEY
            scheme, _, key = headers.get(b"authorization", b"").decode("latin1").partition(" ")
            user = rules.keys.user_of(key.strip()) if scheme.lower() == "bearer" else None
            if user is None:
                return 401, "A valid key is needed (Authorization: Bearer ...)."
            scope["user"] = user
        connection = scope.get(CONNECTION)
        is_known = rules.keys is None or scope["user"] != ANYBODY
        if connection is not None and is_known and not connection.shown_key(scope["user"]):
            return 429, "Too many connections of this key are in use."
        spoken = headers.get(PROTOCOL_HEADER.lower().encode())
        if spoken is not None and spoken != str(PROTOCOL).encode():
            program = int(spoken) if spoken.isdigit() and len(spoken) < 10 else "another one"
            return 426, about_protocols(PROTOCOL, program)
        if b"content-encoding" in headers:
            return 415, "Bodies must not be content-encoded."
        length, limit = headers.get(b"content-length", b"0"), rules.limit(scope["path"])
        if not length.isdigit() or len(length) > 15 or int(length) > limit:
            return 413, f"The body is larger than {limit} bytes."
        return None

    def _is_foreign(self, origin: bytes | None, host: str) -> bool:
        """Tell whether a web page asks, of another site than this one and those that are allowed.

        Browsers send what pages ask for without asking the server first if it looks like a form; they only keep the
        answer from the page. With keys that is nothing, for pages do not know them.
        """
        own = {f"http://{host}", f"https://{host}", *self._rules.origins}
        return origin is not None and origin.decode("latin1") not in own

    def _cors_headers(self, scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
        """Headers that let a web page of an allowed origin use the server; none for others."""
        origin = dict[bytes, bytes](scope["headers"]).get(b"origin", b"")
        if origin.decode("latin1") not in self._rules.origins:
            return ()
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"GET, HEAD, PUT, POST, DELETE"),
            (b"access-control-allow-headers", _FROM_PAGES),
            (b"access-control-expose-headers", _TO_PAGES),
            (b"vary", b"Origin"),
        )

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "-")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self.metrics.requested(method, path, status)
        fields = {
            "request": scope["request_id"],
            "method": method,
            "route": path,
            "status": status,
            "user": scope.get("user") or "-",
            "milliseconds": round(1000 * seconds),
        }
        log.info(" ".join(str(v) for v in fields.values()), extra={"fields": fields})


class Bodies:
    """The memory of all bodies that are under way."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held = Counter[str]()

    @property
    def held(self) -> int:
        """Bytes of all users' bodies."""
        return self._held.total()

    def take(self, user: str, count: int, own: int) -> bool:
        """Take memory for a piece of a body, of which `own` bytes are held already.

        A body that is alone may have all it likes. Several bodies of one user have half of the room at most, where
        there are keys: who sends many and finishes none leaves the others theirs.
        """
        by_user, by_all = self._held[user], self.held
        share = self.most if user == ANYBODY else self.most // 2
        if (by_all > own and by_all + count > self.most) or (by_user > own and by_user + count > share):
            return False
        self._held[user] += count
        return True

    def give_back(self, user: str, count: int) -> None:
        """Give back what a user's body took."""
        self._held[user] -= count
        if not self._held[user]:
            del self._held[user]


class _Exchange:
    """One request's way in and its answer's way out, with what is counted and added on the way."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limit: int,
        cors_headers: tuple[tuple[bytes, bytes], ...],
        bodies: Bodies,
    ) -> None:
        self._scope, self._receive, self._send, self._limit = scope, receive, send, limit
        self.cors_headers, self._bodies = cors_headers, bodies
        self.status = 500
        self.cut: tuple[int, str] | None = None
        self._answered = False
        self._seen = self._held = 0
        self._whole = False

    async def receive(self) -> Message:
        """Pass the body on; one that grows above its limit, or stops arriving, is cut off, by the client or here."""
        if self._whole:
            return await self._receive()  # waits for the end of the connection, which may take its time
        try:
            message = await asyncio.wait_for(self._receive(), BODY_PAUSE)
        except TimeoutError:
            self.cut = 408, "The body did not arrive in time."
            return {"type": "http.disconnect"}
        if message["type"] == "http.disconnect":
            self.cut = CANCELLED, "The client closed the connection."
            return message
        count = len(message.get("body", b""))
        self._seen += count
        self._whole = not message.get("more_body", False)
        if self._seen > self._limit:
            self.cut = 413, f"The body is larger than {self._limit} bytes."
            return {"type": "http.disconnect"}
        if not self._bodies.take(self._user, count, self._held):
            self.cut = 429, "The server's memory for uploads is used up. Try again later."
            return {"type": "http.disconnect"}
        self._held += count
        return message

    @property
    def _user(self) -> str:
        return str(self._scope.get("user", ANYBODY))

    def forget_body(self) -> None:
        """Give back the memory that the body took."""
        self._bodies.give_back(self._user, self._held)
        self._held = 0

    async def send_unless_cut(self, message: Message) -> None:
        """Let the application answer, unless its body was cut off."""
        if self.cut is None:
            await self._send_with_headers(message)

    async def refuse(self, status: int, detail: str) -> None:
        """Answer with a problem, if nothing was answered yet."""
        if not self._answered:
            headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "2"}}.get(status, {})
            if detail == NO_KEY:
                headers[MISSING_HEADER] = MISSING_KEY
            response = problem(self._scope, status, detail, headers)
            await self.send_all(status, response.raw_headers, bytes(response.body))

    async def send_all(self, status: int, headers: Any = (), body: bytes = b"") -> None:
        """Send a whole answer."""
        await self._send_with_headers({"type": "http.response.start", "status": status, "headers": [*headers]})
        await self._send_with_headers({"type": "http.response.body", "body": body})

    async def _send_with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answered = True
            self.status = message["status"]
            connection = self._scope.get(CONNECTION)
            if connection is not None and connection.is_stranger:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            extra = (
                *SECURITY_HEADERS,
                *self.cors_headers,
                (REQUEST_ID_HEADER.lower().encode(), self._scope["request_id"].encode()),
            )
            message["headers"] = [*message.get("headers", []), *extra]
        await self._send(message)


_FROM_PAGES = f"Authorization, Content-Type, X-Lease-Token, X-Meta, {PROTOCOL_HEADER}, {ROUTING_HEADER}".encode()
_TO_PAGES = f"X-Meta, Retry-After, {MISSING_HEADER}, {REQUEST_ID_HEADER}".encode()
"""Headers of all protocols that pages may send, and read."""
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})
