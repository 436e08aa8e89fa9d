"""Redirects that name no host: who was asked may be a proxy, by TLS and under its own name."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send


def relative(app: ASGIApp) -> ASGIApp:
    """Return an application whose redirects, from a path to the same with or without a slash, are relative.

    Starlette names the whole address in them, as it was asked here: http:// also where a proxy was asked https://, to
    which clients send no key.
    """

    async def ask(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, _relative(value.decode("latin1")).encode("latin1") if name == b"location" else value)
                    for name, value in message.get("headers", [])
                ]
            await send(message)

        await app(scope, receive, answer if scope["type"] == "http" else send)

    return ask


def _relative(location: str) -> str:
    """Return the way to an address from its path without the last slash, or with one more."""
    parts = urlsplit(location)
    query = f"?{parts.query}" if parts.query else ""
    name = parts.path.rstrip("/").rsplit("/", maxsplit=1)[-1]
    return f"{f'./{name}/' if parts.path.endswith('/') else f'../{name}'}{query}"
