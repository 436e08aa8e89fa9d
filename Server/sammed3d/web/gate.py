"""Who may see the page: whoever has its address with the token, from this computer.

The token in the address becomes a cookie that scripts cannot read and other sites cannot send; without it there is
nothing but 403. Requests that name another host, or come from another site's page, are refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

QUERY = "token"
FIRST_PAGE = "/index.html"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, beside the content security policy."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """Let requests in that have the token.

    Args:
        token: in the address.
        hosts: names that the page is asked for by, without port.
        first_page: HTML of the first page, whose own scripts may run.
    """

    def __init__(self, token: str, hosts: frozenset[str], first_page: str) -> None:
        self._token, self._hosts = token, hosts
        self._cookie = cookie_name(token)
        self._headers = {"Content-Security-Policy": policy(first_page), **HEADERS}

    def guard(self, app: web.Application) -> None:
        """Put the gate before all routes of an application that has not started."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._check(request, handler)

        async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(self._headers)

        app.middlewares.insert(0, check)
        app.on_response_prepare.append(add_headers)

    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        check_site(request, self._hosts)
        if self._is_token(request.cookies.get(self._cookie, "")):
            return await handler(request)
        if request.path == "/" and self._is_token(request.query.get(QUERY, "")):
            answer = web.Response(status=302, headers={"Location": FIRST_PAGE})
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", path="/")
            return answer
        raise web.HTTPForbidden(text="Open the address that `sammed3d view` printed: it holds the token.\n")

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(errors="replace"), self._token.encode())


def check_site(request: web.Request, hosts: frozenset[str], origin: str = "") -> None:
    """Refuse a request under another host name, or from another site's page.

    Args:
        request: what came.
        hosts: names that the page is asked for by, without port.
        origin: of its own pages, where a proxy is asked for them in its place; "" for the host that the request names.

    Raises:
        HTTPForbidden: it is one.
    """
    host = request.headers.get("Host", "")
    if _name_of(host) not in hosts:
        raise web.HTTPForbidden(text="This page does not answer to that host name.\n")
    own = (origin,) if origin else (f"http://{host}", f"https://{host}")
    if request.headers.get("Origin", own[0]) not in own:
        raise web.HTTPForbidden(text="This page does not answer to other sites.\n")


def cookie_name(token: str) -> str:
    """Return the name of the cookie that goes with a token; cookies do not know ports."""
    return f"sammed3d-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def policy(first_page: str) -> str:
    """Return the content security policy: nothing from elsewhere, and of scripts in the page only its own.

    trame's page makes its templates into functions in the browser, for which it needs 'unsafe-eval', and Vuetify writes
    its theme into the page, for which it needs 'unsafe-inline' styles.
    """
    inline = [
        hashlib.sha256(script.encode()).digest() for script in re.findall(r"<script>(.*?)</script>", first_page, re.S)
    ]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in inline)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'unsafe-eval' {hashes}".strip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "base-uri 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
