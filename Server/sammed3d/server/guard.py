"""What every request passes before a byte of its body is read: host, key, protocol, size."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect

from sammed3d.server.keys import Keys
from sammed3d.wire import PROTOCOL, PROTOCOL_HEADER

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/livez", "/readyz")
"""Anybody may ask these: they say nothing but yes or no."""
SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
log = logging.getLogger("sammed3d.server")


class Guard:
    """ASGI middleware in front of the application.

    Args:
        app: the application.
        keys: who may use it; None where anybody on this machine may (loopback only).
        hosts: accepted Host headers, without port.
        max_body: bytes.

    Log lines hold method, route, status, user and time: no body, no query, no header.
    """

    def __init__(self, app: App, keys: Keys | None, hosts: frozenset[str], max_body: int) -> None:
        self._app, self._keys, self._hosts, self._max_body = app, keys, hosts, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        request_id = secrets.token_hex(8)
        status = 500
        seen = 0

        async def limited() -> Message:
            """Count what arrives, for bodies that do not say their length."""
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= self._max_body else {"type": "http.disconnect"}

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = (*SECURITY_HEADERS, (b"x-request-id", request_id.encode()))
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        async def held_back(message: Message) -> None:
            """Let the application answer, unless its body was cut off above."""
            if seen <= self._max_body:
                await answer(message)

        scope["request_id"] = request_id
        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await _problem(answer, request_id, *refusal)
            else:
                await self._app(scope, limited, held_back)
        except ClientDisconnect:
            if seen > self._max_body:
                await _problem(answer, request_id, 413, "The body is too large.")
        except Exception:
            log.exception("request %s failed", request_id)
            await _problem(answer, request_id, 500, "The server failed. Its log says more under the request id.")
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "-")
            milliseconds = 1000 * (time.perf_counter() - begin)
            user = scope.get("user", "-")
            log.info("%s %s %s %d %s %.0f ms", request_id, scope["method"], path, status, user, milliseconds)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin1")
        if _without_port(host) not in self._hosts:
            return (
                421,
                "This server does not answer to that host name. The administrator can allow it with --host-name.",
            )
        if scope["path"] in OPEN_PATHS:
            return None
        scope["user"] = "local"
        if self._keys is not None:
            scheme, _, key = headers.get(b"authorization", b"").decode("latin1").partition(" ")
            user = self._keys.user_of(key.strip()) if scheme.lower() == "bearer" else None
            if user is None:
                return 401, "A valid key is needed (Authorization: Bearer ...)."
            scope["user"] = user
        spoken = headers.get(PROTOCOL_HEADER.lower().encode())
        if spoken is not None and spoken != str(PROTOCOL).encode():
            return 426, f"This server speaks protocol {PROTOCOL}. Update the older of the two."
        if b"content-encoding" in headers:
            return 415, "Bodies must not be content-encoded."
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_body:
            return 413, f"The body is larger than {self._max_body} bytes."
        return None


def problem(status: int, detail: str, request_id: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return body and headers of an error, RFC 9457."""
    body = json.dumps({"type": "about:blank", "status": status, "detail": detail, "request_id": request_id}).encode()
    return body, [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]


async def _problem(send: Send, request_id: str, status: int, detail: str) -> None:
    body, headers = problem(status, detail, request_id)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0].lower() if not host.endswith("]") and ":" in host else host.lower()
