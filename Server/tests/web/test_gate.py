"""Who sees the page: who has its address with the token, from this computer, and no other site's page."""

import asyncio
import re

import pytest

from sammed3d.errors import ModelError
from sammed3d.web.serve import check_host

aiohttp = pytest.importorskip("aiohttp", reason="comes with trame (the extra web) or Ray")
from aiohttp import web  # noqa: E402
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from sammed3d.web.gate import Gate, policy  # noqa: E402

TOKEN = "the-token"  # noqa: S105 - of no page
FIRST_PAGE = "<html><script src='a.js'></script><script>fetch('x')</script></html>"


def visit(*requests):
    """Status of requests (method, path, headers, cookies) to a guarded application, each by a new browser."""

    async def run():
        app = web.Application()
        Gate(TOKEN, frozenset({"127.0.0.1", "localhost", "::1"}), FIRST_PAGE).guard(app)

        async def hello(request):
            return web.Response(text="patient")

        app.router.add_route("*", "/{path:.*}", hello)
        answers = []
        async with TestServer(app, host="127.0.0.1") as server:
            for method, path, headers, cookies in requests:
                async with TestClient(server, cookies=cookies) as client:
                    sent = {k: v.replace("PORT", str(server.port)) for k, v in headers.items()}
                    answer = await client.request(method, path, headers=sent, allow_redirects=False)
                    answers.append((answer.status, dict(answer.headers), await answer.text()))
        return answers

    return asyncio.run(run())


def cookie():
    [(status, headers, _)] = visit(("GET", f"/?token={TOKEN}", {}, {}))
    assert (status, headers["Location"]) == (302, "/index.html")
    text = headers["Set-Cookie"]
    assert "HttpOnly" in text
    assert "SameSite=Strict" in text
    name, value = re.match(r"([^=]+)=([^;]+);", text).groups()
    return {name: value}


def test_only_the_token_opens_the_page():
    known = cookie()
    for path, headers, cookies, expected in (
        ("/index.html", {}, known, 200),
        ("/download/mrb", {}, known, 200),
        ("/", {}, {}, 403),
        ("/index.html", {}, {}, 403),
        ("/?token=", {}, {}, 403),
        ("/?token=the-Token", {}, {}, 403),
        ("/?token=%F0%9F%98%80%ED%A0%80", {}, {}, 403),
        (f"/download/mrb?token={TOKEN}", {}, {}, 403),
        ("/ws", {}, {next(iter(known)): "guess"}, 403),
    ):
        [(status, _, text)] = visit(("GET", path, headers, cookies))
        assert status == expected, path
        assert ("patient" in text) == (expected == 200)


def test_other_sites_and_other_names_are_refused():
    """A name of somebody else's that leads to 127.0.0.1, another site's script, and one on another port here."""
    known = cookie()
    for headers, expected in (
        ({"Host": "localhost:PORT"}, 200),
        ({"Host": "evil.example:PORT"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://127.0.0.1:PORT"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ):
        [(status, _, _)] = visit(("POST", "/upload", headers, known))
        assert status == expected, headers


def test_every_answer_forbids_what_the_page_does_not_need():
    for request in (("GET", "/index.html", {}, cookie()), ("GET", "/", {}, {})):
        [(_, headers, _)] = visit(request)
        rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["frame-ancestors"] == "'none'"
        assert rules["connect-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_the_policy_names_the_pages_own_scripts_and_nothing_from_elsewhere():
    scripts = policy(FIRST_PAGE).split("; ")[1]
    assert scripts == "script-src 'self' 'unsafe-eval' 'sha256-GSTe5+h7jZ5gZ6SsqVZxNit4WUEOKoDuLRmTOlsllZE='"
    assert "unsafe-inline" not in scripts
    for text in (policy(FIRST_PAGE), policy("")):
        assert not re.search(r"https?:|\*", text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])  # noqa: S104 - refused
def test_addresses_that_others_reach_are_refused(host):
    with pytest.raises(ModelError, match="neither keys nor TLS"):
        check_host(host)
    check_host("127.0.0.1")
    check_host("localhost")
    check_host("::1")
