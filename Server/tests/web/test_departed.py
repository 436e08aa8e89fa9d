"""A page that goes while the server sends to it leaves no trace in the log, and the other pages get what is sent."""

import asyncio
import importlib.util
import logging

import pytest

if importlib.util.find_spec("wslink") is None:
    pytest.skip("wslink is not installed: run make test-web", allow_module_level=True)

import aiohttp
import msgpack
from wslink import register
from wslink.backends.aiohttp import WebAppServer
from wslink.chunking import UnChunker, generate_chunks
from wslink.websocket import LinkProtocol, ServerProtocol

from sammed3d.web.departed import allow_for_departed

ANSWER = bytes(1 << 16)
SECRET = "of-the-test"  # noqa: S105


class Calls(LinkProtocol):
    @register("much")
    def much(self):
        return ANSWER


class Protocol(ServerProtocol):
    def initialize(self):
        self.updateSecret(SECRET)
        self.registerLinkProtocol(Calls())


class Client:
    """A page."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def of(cls, session, port):
        client = cls(await session.ws_connect(f"http://127.0.0.1:{port}/ws"))
        await client.call("wslink.hello", {"secret": SECRET}, kind="system")
        assert "result" in await client.answer()
        return client

    async def call(self, method, *arguments, kind="rpc"):
        message = {"wslink": "1.0", "id": f"{kind}:{method}", "method": method, "args": list(arguments), "kwargs": {}}
        for chunk in generate_chunks(msgpack.packb(message), 1 << 20):
            await self.socket.send_bytes(chunk)

    async def answer(self):
        unchunker = UnChunker()
        while True:
            message = await asyncio.wait_for(self.socket.receive(), 60)
            if (found := unchunker.process_chunk(message.data)) is not None:
                return found

    def vanish(self):
        """Go without a word, as where a computer is switched off."""
        self.socket._conn.transport.abort()  # noqa: SLF001 - aiohttp's clients say goodbye


async def serve(story):
    protocol = Protocol()
    server = WebAppServer(
        {"host": "127.0.0.1", "port": 0, "ws": {"ws": protocol}, "timeout": 0, "handle_signals": False}
    )
    [handler] = server._ws_handlers  # noqa: SLF001 - as the page has it
    allow_for_departed(handler)
    running = asyncio.ensure_future(server.start())
    while server.runner is None or not server.runner.addresses:
        await asyncio.sleep(0.01)
    async with aiohttp.ClientSession() as session:
        await story(handler, lambda: Client.of(session, server.get_port()))
    await server.stop()
    await running


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Nothing is logged as an error, in tasks neither."""
    with caplog.at_level(logging.ERROR):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


def test_a_page_that_goes_in_the_middle_of_its_calls_is_no_error():
    async def story(handler, client):
        for _ in range(5):
            page = await client()
            for method in ["much"] * 20:
                await page.call(method)
            page.vanish()
            await asyncio.sleep(0.2)
        assert handler.connections == {}

    asyncio.run(serve(story))


def test_the_other_pages_get_what_is_sent_to_all():
    async def story(handler, client):
        gone, stays = await client(), await client()
        first = next(iter(handler.connections.values()))

        async def broken(_data):
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

        first.send_bytes = broken
        await handler.sendWrappedMessage("publish:state:0", "shown")  # as states are sent
        assert (await stays.answer())["result"] == "shown"
        gone.vanish()

    asyncio.run(serve(story))
