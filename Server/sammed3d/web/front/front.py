"""What the address for all users answers: who may enter, whose process a request goes to, words while there is none."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from aiohttp import web

from sammed3d.errors import ModelError
from sammed3d.web.front.proxy import GoneError, Proxy
from sammed3d.web.front.users import FullError, Place, Users
from sammed3d.web.gate import FIRST_PAGE, HEADERS, QUERY, check_site, cookie_name

ENTRANCE, SESSION = "/enter", "/session"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PUBLIC = r"(http(?!.*:80$)|https(?!.*:443$))://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d+)?"
"""What browsers call a page's origin: IPv6 in brackets, and no port that goes without saying."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ANEW = f'<p><a href="{ENTRANCE}">Open a new page</a></p>'
AGAIN = '<p><a href="">Try again</a></p>'
STYLE = "body { font: 1.1rem sans-serif; margin: 20vh auto; max-width: 40rem; padding: 1rem; text-align: center }"
POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
"""Of pages with one line; those of the users' processes have their own."""
STRANGER = "Open the address that you were given: it holds a token.\n"


@dataclass(frozen=True)
class Entry:
    """Who may enter, and from where.

    Attributes:
        token: in the address.
        public_url: "https://name" where a proxy answers in place of this server; "" without.
        user_header: header by which that proxy says who the user is; "" if it does not.

    Raises:
        ModelError: the address cannot be public.
    """

    token: str
    public_url: str = ""
    user_header: str = ""

    def __post_init__(self) -> None:
        if self.public_url and not re.fullmatch(_PUBLIC, self.public_url):
            raise ModelError(
                f"{self.public_url!r} cannot be the public address: give scheme and host name alone, in lower case, "
                "such as https://segment.example, as browsers show it: without the port that it has anyway. The page "
                "needs a host name of its own, no folder of another one."
            )
        if self.user_header and not self.public_url:
            raise ModelError("A header that names the user is believed from a proxy alone: give --public-url, too.")

    @property
    def hosts(self) -> frozenset[str]:
        """Names that the page is asked for by."""
        return LOOPBACK | ({urlsplit(self.public_url).hostname or ""} if self.public_url else set())

    @property
    def secure(self) -> bool:
        """Whether browsers come by TLS."""
        return self.public_url.startswith("https:")

    @property
    def cookie(self) -> str:
        """Name of the cookie."""
        return ("__Host-" if self.secure else "") + cookie_name(self.token)

    def user_of(self, request: web.Request) -> str:
        """Return whose request it is, by its cookie; "" for strangers."""
        user, _, proof = request.cookies.get(self.cookie, "").partition(".")
        return user if hmac.compare_digest(proof.encode(errors="replace"), self._proof(user, request)) else ""

    def let_in(self, request: web.Request) -> tuple[str, str]:
        """Return who somebody new with the token is, and the content of the cookie that proves it from now on.

        Raises:
            HTTPForbidden: the token is missing or wrong.
        """
        if not self.has_token(request):
            raise web.HTTPForbidden(text=STRANGER)
        user = secrets.token_urlsafe(24)
        return user, f"{user}.{self._proof(user, request).decode()}"

    def has_token(self, request: web.Request) -> bool:
        """Tell whether the address that was asked for holds the token."""
        return hmac.compare_digest(request.query.get(QUERY, "").encode(errors="replace"), self.token.encode())

    def _proof(self, user: str, request: web.Request) -> bytes:
        """What only this server can say of a user: a cookie of one name is nothing in the hands of another."""
        name = request.headers.get(self.user_header, "") if self.user_header else ""
        if self.user_header and not name:
            raise web.HTTPForbidden(text=f"The proxy does not say who you are ({self.user_header}).\n")
        said = f"{len(name)}:{name}:{user}".encode(errors="replace")
        return hmac.new(self.token.encode(), said, hashlib.sha256).hexdigest().encode()


class Front:
    """Answer all requests.

    Args:
        entry: who may enter.
        users: who has which place.
    """

    def __init__(self, entry: Entry, users: Users) -> None:
        self._entry, self._users = entry, users
        self._proxy: Proxy | None = None

    def application(self) -> web.Application:
        """Return what serves it; places are freed as long as it runs, and all processes end with it."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            check_site(request, self._entry.hosts, self._entry.public_url)
            return await handler(request)

        async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
            for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items():
                response.headers.setdefault(name, value)

        app = web.Application(middlewares=[check])
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/", self._first)
        app.router.add_get(ENTRANCE, self._enter)
        app.router.add_get(FIRST_PAGE, self._page)
        app.router.add_get(SESSION, self._session)
        app.router.add_post(f"{SESSION}/stay", self._stay)
        app.router.add_post(f"{SESSION}/end", self._end)
        app.router.add_route("*", "/{path:.*}", self._anything)
        return app

    async def close(self) -> None:
        """Close all connections."""
        if self._proxy is not None:
            await self._proxy.close()

    async def _first(self, request: web.Request) -> web.StreamResponse:
        if self._entry.user_of(request):
            raise web.HTTPFound(FIRST_PAGE)
        if not self._entry.has_token(request):
            raise web.HTTPForbidden(text=STRANGER)
        # Who follows a link from another site is asked without the cookie, and has one all the same: this page's own
        # step to the entrance carries it
        return _words("Opening...", f"{ENTRANCE}?{QUERY}={quote(self._entry.token)}")

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        user, cookie = self._entry.user_of(request), ""
        if not user:
            user, cookie = self._entry.let_in(request)
        try:
            self._users.enter(user)
        except FullError as error:
            answer = _words(str(error), more=AGAIN, status=503)
            answer.headers["Retry-After"] = "60"
            return answer
        answer = _words("Starting your page...", FIRST_PAGE)
        if cookie:
            answer.set_cookie(
                self._entry.cookie, cookie, httponly=True, samesite="Strict", path="/", secure=self._entry.secure
            )
        return answer

    async def _page(self, request: web.Request) -> web.StreamResponse:
        user, place = self._place(request)
        if place is None:
            return _words(self._users.ending(user) or "There is no page of yours here any more.", more=ANEW)
        if not place.ready:
            return _words("Ending your page..." if place.process.ending else "Starting your page...", FIRST_PAGE)
        try:
            return await self._pass_on(request, place)
        except GoneError:  # the next look at the processes notices
            return _words("Your page does not answer...", FIRST_PAGE)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        """Say when the page ends if nothing is done in it; asking is nothing done."""
        _, place = self._place(request)
        if place is None or not place.ready:
            return web.json_response({})
        untouched = time.monotonic() - place.touched
        return web.json_response(
            {"ends_in": self._users.ends_in(place), "untouched": untouched, "warning": self._users.warning}
        )

    async def _stay(self, request: web.Request) -> web.StreamResponse:
        _, place = self._place(request)
        if place is not None:
            place.touch()
        return await self._session(request)

    async def _end(self, request: web.Request) -> web.StreamResponse:
        user, _ = self._place(request)
        self._users.end(user)
        return web.json_response({})

    async def _anything(self, request: web.Request) -> web.StreamResponse:
        _, place = self._place(request)
        try:
            if place is not None and place.ready:
                return await self._pass_on(request, place)
        except GoneError:
            pass
        return web.Response(status=503, text="Your page does not run.\n")

    def _place(self, request: web.Request) -> tuple[str, Place | None]:
        user = self._entry.user_of(request)
        if not user:
            raise web.HTTPForbidden(text=STRANGER)
        return user, self._users.place(user)

    async def _pass_on(self, request: web.Request, place: Place) -> web.StreamResponse:
        if self._proxy is None:
            self._proxy = Proxy()
        return await self._proxy.pass_on(request, place)


def _words(text: str, then: str = "", more: str = "", status: int = 200) -> web.Response:
    """A page with one line; it goes to another address after a second if there is one."""
    refresh = f'<meta http-equiv="refresh" content="1;url={html.escape(then)}">' if then else ""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>SAMMed3DSegment</title><style>{STYLE}</style>{refresh}</head>"
        f"<body><p>{html.escape(text)}</p>{more}</body></html>"
    )
    return web.Response(status=status, text=page, content_type="text/html")
