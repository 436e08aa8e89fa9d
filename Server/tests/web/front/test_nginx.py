"""The configuration in docs/browser.md, with a real nginx before the address for all users."""

import asyncio
import base64
import json
import re
import ssl
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from nginx import PROGRAM, filled_in, running_nginx, write_certificate

aiohttp = pytest.importorskip("aiohttp", reason="comes with trame (the extra web) or Ray")
trustme = pytest.importorskip("trustme", reason="makes the certificates")
if sys.platform != "linux":
    pytest.skip("the page is for Linux", allow_module_level=True)
if PROGRAM is None:
    pytest.skip("nginx is not installed: .ci/install-system-packages", allow_module_level=True)

from test_front import PUBLIC, STAND_IN, TOKEN, run  # noqa: E402
from yarl import URL  # noqa: E402

from ports import unused_port  # noqa: E402
from sammed3d.web.front.front import Entry  # noqa: E402
from sammed3d.web.front.serve import running  # noqa: E402
from sammed3d.web.front.users import Limits  # noqa: E402

pytestmark = pytest.mark.slow
NAME = "segment.example"
PASSWORDS = {"anna": "of-anna", "ben": "of-ben"}


def documented(changes):
    """The configuration as it is printed, with the places of this machine in it."""
    page = (Path(__file__).parents[4] / "docs" / "browser.md").read_text(encoding="utf-8")
    [block] = re.findall(r"For nginx:\n\n((?:    .*\n|\n)+)", page)
    text = re.sub(r"^    ", "", block, flags=re.M)
    return filled_in(text, changes, "docs/browser.md")


@contextmanager
def nginx(folder, port, front_port):
    """Run nginx as it is documented, meanwhile; gives what trusts its certificate."""
    authority = trustme.CA()
    write_certificate(authority, NAME, folder)
    (folder / "users").write_text("".join(f"{name}:{{PLAIN}}{word}\n" for name, word in PASSWORDS.items()))
    server = documented(
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/segment.pem": str(folder / "pem"),
            "/etc/ssl/private/segment.key": str(folder / "key"),
            "/etc/nginx/segment.users": str(folder / "users"),
            "http://127.0.0.1:8080": f"http://127.0.0.1:{front_port}",
        }
    )
    with running_nginx(folder, server, port):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        yield context


class Browser:
    """Somebody's browser behind nginx, which keeps cookies and knows a password."""

    def __init__(self, port, context, client, user):
        self.base, self.client = f"https://127.0.0.1:{port}", client
        self.more = {"ssl": context, "server_hostname": NAME, "allow_redirects": False}
        self.headers = {"Host": NAME}
        if user:
            known = base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()
            self.headers["Authorization"] = f"Basic {known}"

    async def text(self, path, status=200, method="GET", headers=None, data=None):
        url, headers = URL(self.base + path, encoded=True), self.headers | (headers or {})
        async with self.client.request(method, url, headers=headers, data=data, **self.more) as answer:
            assert answer.status == status, await answer.text()
            self.answered = answer.headers
            return await answer.text()

    async def enter(self):
        """Go in by the address until the page answers; returns what it says."""
        text = await self.text(f"/?token={TOKEN}")
        while then := re.search(r'content="1;url=([^"]+)"', text):
            await asyncio.sleep(0.1)
            text = await self.text(then[1])
        return json.loads(text)


@asynccontextmanager
async def behind_nginx(folder):
    """The front, and nginx before it; gives a way to make browsers."""
    port, front_port, clients = unused_port(), unused_port(), []
    entry, command = Entry(TOKEN, PUBLIC, "X-Remote-User"), (sys.executable, STAND_IN)
    front = running({"model": "default"}, Limits(2), entry, "127.0.0.1", front_port, command=command)
    async with front:
        with nginx(folder, port, front_port) as context:

            def browser(user=""):
                clients.append(aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))
                return Browser(port, context, clients[-1], user)

            try:
                yield browser
            finally:
                for client in clients:
                    await client.close()


def test_two_users_behind_nginx_as_documented(tmp_path):
    async def story():
        async with behind_nginx(tmp_path) as browser:
            anna, ben, stranger = browser("anna"), browser("ben"), browser()
            await stranger.text(f"/?token={TOKEN}", 401)
            of_anna, of_ben = await anna.enter(), await ben.enter()
            assert of_anna["pid"] != of_ben["pid"], "each has a page of their own"
            assert json.loads(await anna.text("/index.html")) == of_anna
            assert len(anna.answered.getall("Content-Security-Policy")) == 1

            claimed = {"X-Remote-User": "ben", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4"}
            told = json.loads(await anna.text("/headers", headers=claimed))["headers"]
            assert told["X-Remote-User"] == "anna", "what a browser claims is replaced"
            assert not {"X-Forwarded-For", "Forwarded", "Authorization"} & set(told)
            [cookie] = anna.client.cookie_jar
            stolen = {"Cookie": f"{cookie.key}={cookie.value}"}
            assert "Open the address" in await browser("ben").text("/index.html", 403, headers=stolen)
            assert json.loads(await browser("anna").text("/index.html", headers=stolen)) == of_anna
            for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
                assert "does not answer to" in await anna.text("/index.html", 403, headers=headers)

            assert await anna.text("/upload", method="POST", data=bytes(9 << 20), headers={"Origin": PUBLIC}) == str(
                9 << 20
            )
            headers = anna.headers | {"Origin": PUBLIC}
            async with anna.client.ws_connect(
                f"{anna.base}/ws", headers=headers, max_msg_size=16 << 20, ssl=anna.more["ssl"], server_hostname=NAME
            ) as ours:
                for message in (b"abc", bytes(4 << 20) + b"end"):
                    await ours.send_bytes(message)
                    assert await ours.receive_bytes() == message[::-1]

    run(story)
    assert TOKEN not in (tmp_path / "errors").read_text()
