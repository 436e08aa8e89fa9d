"""The address for all users: who enters, whose process answers, and what is left when somebody goes."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ports import unused_port
from sammed3d.errors import ModelError

aiohttp = pytest.importorskip("aiohttp", reason="comes with trame (the extra web) or Ray")
from yarl import URL  # noqa: E402

if sys.platform != "linux":
    pytest.skip("the page is for Linux", allow_module_level=True)

from sammed3d.web.front.front import Entry  # noqa: E402
from sammed3d.web.front.serve import running, serve_users  # noqa: E402
from sammed3d.web.front.users import Limits  # noqa: E402

pytestmark = pytest.mark.slow
TOKEN = "the-token"  # noqa: S105 - of no page
STAND_IN = str(Path(__file__).with_name("stand_in.py"))
PUBLIC = "https://segment.example"


class Browser:
    """Somebody's browser, which keeps cookies."""

    def __init__(self, address, client, headers):
        self.base, self.client, self.headers = address.split("/?")[0], client, headers

    def get(self, path, method="GET", **more):
        headers = self.headers | more.pop("headers", {})
        url = URL(self.base + path, encoded=True)
        return self.client.request(method, url, headers=headers, allow_redirects=False, **more)

    async def text(self, path, status=200, **more):
        async with self.get(path, **more) as answer:
            assert answer.status == status, await answer.text()
            return await answer.text()

    async def enter(self):
        """Go in by the address, as a browser does, until the page answers; returns what it says."""
        async with self.get(f"/?token={TOKEN}") as answer:
            known = answer.status == 302
            text = await self.text(answer.headers["Location"]) if known else await answer.text()
        while then := re.search(r'content="1;url=([^"]+)"', text):
            await asyncio.sleep(0.1)
            text = await self.text(then[1])
        return json.loads(text) if text.startswith("{") else text


@asynccontextmanager
async def front(limits=None, model="default", **entry):
    """The front with processes that stand in; gives a way to make browsers."""
    clients, port, who = [], unused_port(), Entry(TOKEN, **entry)
    command = (sys.executable, STAND_IN)
    async with running({"model": model}, limits or Limits(2), who, "127.0.0.1", port, command=command) as address:
        assert address == f"{who.public_url or f'http://127.0.0.1:{port}'}/?token={TOKEN}"

        def browser(**headers):
            jar = aiohttp.CookieJar(unsafe=True)
            clients.append(aiohttp.ClientSession(cookie_jar=jar))
            return Browser(
                f"http://127.0.0.1:{port}",
                clients[-1],
                {name.replace("_", "-"): value for name, value in headers.items()},
            )

        try:
            yield browser
        finally:
            for client in clients:
                await client.close()


def run(story):
    asyncio.run(asyncio.wait_for(story(), 120))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_users_have_a_process_each_and_the_third_waits():
    async def story():
        async with front() as browser:
            anna, ben, carl = browser(), browser(), browser()
            of_anna, of_ben = await asyncio.gather(anna.enter(), ben.enter())
            assert of_anna["pid"] != of_ben["pid"]
            assert of_anna["folder"] != of_ben["folder"]
            assert of_anna["memory"] == Limits(2).memory, "each knows how much it may hold"
            assert await anna.enter() == of_anna, "entering again leads to the same page"
            async with carl.get(f"/enter?token={TOKEN}") as answer:
                assert answer.status == 503
                assert "All 2 places are taken. Try again later." in await answer.text()
                assert "Set-Cookie" not in answer.headers
            assert json.loads(await ben.text("/index.html")) == of_ben

    run(story)


def test_strangers_see_nothing():
    async def story():
        async with front() as browser:
            anna, stranger = browser(), browser()
            await anna.enter()
            [cookie] = anna.client.cookie_jar
            for path in (
                "/",
                "/?token=wrong",
                "/enter",
                "/enter?token=",
                "/index.html",
                "/ws",
                "/upload?token=the-token",
            ):
                assert "Open the address that you were given" in await stranger.text(path, 403)
            for value in (
                "",
                ".",
                cookie.value.replace(".", ".0"),
                "x" + cookie.value,
                cookie.value.split(".")[0] + ".",
            ):
                forged = {"Cookie": f"{cookie.key}={value}"}
                assert "Open the address" in await stranger.text("/index.html", 403, headers=forged)
            assert cookie["httponly"]
            assert cookie["samesite"] == "Strict"
            for headers in (
                {"Host": "evil.example"},
                {"Origin": "https://evil.example"},
                {"Origin": "null"},
                {"Origin": "http://127.0.0.1:1"},
            ):
                assert "does not answer to" in await anna.text("/upload", 403, method="POST", headers=headers)

    run(story)


def test_whole_addresses_are_not_fetched_as_a_proxy_would():
    async def story():
        async with front() as browser:
            anna = browser()
            await anna.enter()
            [cookie] = [f"{each.key}={each.value}" for each in anna.client.cookie_jar if each.key != "theirs"]
            reader, writer = await asyncio.open_connection("127.0.0.1", int(anna.base.rsplit(":")[-1]))
            host = anna.base.removeprefix("http://")
            writer.write(f"GET {anna.base}/x HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
            writer.close()

    run(story)


def test_what_goes_through_is_complete_and_what_is_between_two_stays_between_them():
    async def story():
        async with front() as browser:
            anna = browser()
            await anna.enter()
            told = json.loads(await anna.text("/headers?a=%2Fb%20c&d", headers={"X-Forwarded-Host": "x", "X-Own": "1"}))
            assert told["path"] == "/headers?a=%2Fb%20c&d"
            assert told["headers"]["X-Own"] == "1"
            assert "X-Forwarded-Host" not in told["headers"]
            [cookie] = anna.client.cookie_jar
            assert cookie.key not in told["headers"]["Cookie"]
            async with anna.get("/upload", method="POST", data=bytes(9 << 20)) as answer:
                assert await answer.text() == str(9 << 20)
                assert answer.headers["Content-Disposition"] == 'attachment; filename="a b.zip"'
                assert len(answer.headers.getall("Content-Security-Policy")) == 1
                assert answer.headers["Cache-Control"] == "no-store"
            async with anna.get("/upload", method="POST", data=pieces()) as answer:  # of unknown length
                assert await answer.text() == str(3 << 20)
            async with anna.get("/download") as answer:
                assert len(await answer.read()) == 5 << 20
            async with anna.client.ws_connect(f"{anna.base}/ws", max_msg_size=16 << 20) as ours:
                for message in (b"abc", bytes(4 << 20) + b"end"):
                    await ours.send_bytes(message)
                    assert await ours.receive_bytes() == message[::-1]

    async def pieces():
        for _ in range(3):
            yield bytes(1 << 20)

    run(story)


def test_a_process_that_crashes_is_told_of_and_leaves_nothing():
    async def story():
        async with front() as browser:
            anna = browser()
            before = await anna.enter()
            await anna.text("/upload", method="POST", data=b"image")
            assert Path(before["folder"], "upload").exists()
            async with anna.client.ws_connect(f"{anna.base}/ws") as ours:
                os.kill(before["pid"], signal.SIGKILL)
                assert (await ours.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            while "ended unexpectedly" not in (text := await anna.text("/index.html")):
                await asyncio.sleep(0.1)
            assert 'href="/enter"' in text
            assert not Path(before["folder"]).exists()
            await anna.text("/headers", 503)
            await anna.text("/enter")
            after = await anna.enter()
            assert after["pid"] != before["pid"]

    run(story)


def test_a_page_that_was_closed_ends_and_tells_why_when_its_user_comes_back():
    async def story():
        async with front(Limits(1, idle=0.5)) as browser:
            anna, ben = browser(), browser()
            before = await anna.enter()
            async with anna.client.ws_connect(f"{anna.base}/ws"):
                await asyncio.sleep(1.5)
                assert alive(before["pid"])
            while alive(before["pid"]):
                await asyncio.sleep(0.1)
            while isinstance(await ben.enter(), str):
                await asyncio.sleep(0.1)
            assert "Your page was closed for more than" in await anna.text("/index.html")
            assert "All 1 places are taken" in await anna.text("/enter", 503)

    run(story)


def test_who_asks_when_a_page_ends_does_nothing_in_it_and_staying_does():
    async def story():
        async with front(Limits(1, untouched=4)) as browser:
            anna, stranger = browser(), browser()
            await anna.enter()
            known = [json.loads(await anna.text("/session"))]
            assert known[0]["warning"] == 1
            for _ in range(3):
                await asyncio.sleep(0.3)
                known.append(json.loads(await anna.text("/session")))
            left = [answer["ends_in"] for answer in known]
            assert left == sorted(left, reverse=True)
            assert left[0] - left[-1] > 0.8
            assert known[-1]["untouched"] == pytest.approx(4 - left[-1], abs=0.1)
            assert "Open the address" in await stranger.text("/session/stay", 403, method="POST")
            assert json.loads(await anna.text("/session/stay", method="POST"))["ends_in"] > 3.8

    run(story)


def test_who_ends_a_page_gives_the_place_back_at_once():
    async def story():
        async with front(Limits(1)) as browser:
            anna, ben = browser(), browser()
            before = await anna.enter()
            await anna.text("/session/end", 404)
            other = {"Origin": "https://evil.example"}
            assert "does not answer to" in await anna.text("/session/end", 403, method="POST", headers=other)
            await anna.text("/session/end", method="POST")
            while "You ended your page" not in (text := await anna.text("/index.html")):
                assert "Ending your page" in text
                await asyncio.sleep(0.1)
            assert 'href="/enter"' in text
            assert not alive(before["pid"])
            assert await anna.text("/session") == "{}"
            assert (await ben.enter())["pid"] != before["pid"]

    run(story)


@pytest.mark.parametrize(
    ("model", "words"), [("missing", "There is no model &#x27;missing&#x27;."), ("crash", "The page did not start.")]
)
def test_a_page_that_does_not_start_says_so(model, words):
    async def story():
        async with front(model=model) as browser:
            anna = browser()
            assert words in await anna.enter()
            assert words in await anna.text("/index.html")

    run(story)


def test_behind_a_proxy_names_and_users_are_those_that_it_gives():
    async def story():
        async with front(public_url=PUBLIC, user_header="X-Remote-User") as browser:
            anna = browser(Host="segment.example", Origin=PUBLIC, X_Remote_User="anna")
            async with anna.get(f"/enter?token={TOKEN}") as answer:
                [cookie] = answer.headers.getall("Set-Cookie")
            assert cookie.startswith("__Host-sammed3d-")
            assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
            anna.headers["Cookie"] = cookie.split(";")[0]
            while "refresh" in (text := await anna.text("/index.html")):
                await asyncio.sleep(0.1)
            assert "pid" in json.loads(text)
            ben = anna.headers | {"X-Remote-User": "ben"}
            assert "Open the address" in await anna.text("/index.html", 403, headers=ben)
            del anna.headers["X-Remote-User"]
            assert "does not say who you are" in await anna.text("/index.html", 403)
            for headers in (
                {"Host": "evil.example"},
                {"Origin": "http://segment.example"},
                {"Origin": f"{PUBLIC}.evil"},
            ):
                assert "does not answer to" in await anna.text("/index.html", 403, headers=headers)

    run(story)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_and_no_file_outlives_the_front(ending):
    process = subprocess.Popen([sys.executable, STAND_IN, "front"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(b'{"model": "default"}\n')
    process.stdin.flush()
    address = process.stdout.readline().decode().strip()

    async def story():
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            anna = Browser(address, client, {})
            known = await anna.enter()
            await anna.text("/upload", method="POST", data=b"image")
            return known

    known = asyncio.run(story())
    folder = Path(known["folder"])
    assert (folder / "upload").exists()
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    process.send_signal(ending)
    process.wait(20)
    until(lambda: not alive(known["pid"]))
    until(lambda: not folder.parent.exists())
    process.stdin.close()
    process.stdout.close()


def test_the_front_listens_on_this_computer_alone():
    with pytest.raises(ModelError, match="lets others in"):
        serve_users({}, Limits(1), Entry(TOKEN), "0.0.0.0", 0)  # noqa: S104 - refused
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
        with pytest.raises(ModelError, match=f"Port {port} of 127.0.0.1 cannot be had"):
            serve_users({}, Limits(1), Entry(TOKEN), "127.0.0.1", port)
