"""Stands in for a user's page: the same process, with the same gate, and a few answers that tests look at."""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from aiohttp import web

from sammed3d.errors import ModelError
from sammed3d.web.front import child
from sammed3d.web.gate import QUERY, Gate

MEMORY = web.AppKey("memory", int)
TOKEN = "of-the-process-alone-32-letters-"  # noqa: S105 - of no page


async def index(request):
    """Where and who it is."""
    known = {"pid": os.getpid(), "folder": tempfile.gettempdir(), "memory": request.app[MEMORY]}
    answer = web.json_response(known)
    answer.set_cookie("theirs", "1")
    return answer


async def headers(request):
    return web.json_response({"path": request.raw_path, "headers": dict(request.headers)})


async def upload(request):
    """Count what comes; the first part is written down, as uploads are."""
    size = 0
    async for piece in request.content.iter_chunked(1 << 20):
        size += len(piece)
    Path(tempfile.gettempdir(), "upload").write_text("image of a patient")
    return web.Response(text=str(size), headers={"Content-Disposition": 'attachment; filename="a b.zip"'})


async def download(request):
    return web.Response(body=bytes(5 << 20), content_type="application/octet-stream")


async def echo(request):
    socket_ = web.WebSocketResponse(max_msg_size=16 << 20)
    await socket_.prepare(request)
    async for message in socket_:
        await socket_.send_bytes(message.data[::-1])
    return socket_


def serve(told, ready):
    if told["model"] == "missing":
        raise ModelError("There is no model 'missing'.")
    if told["model"] == "crash":
        os.abort()
    app = web.Application(client_max_size=0)
    app[MEMORY] = told.get("memory")
    Gate(TOKEN, frozenset({"127.0.0.1"}), "").guard(app)
    app.add_routes(
        [
            web.get("/index.html", index),
            web.get("/headers", headers),
            web.post("/upload", upload),
            web.get("/download", download),
            web.get("/ws", echo),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as place:
        ready(f"http://127.0.0.1:{place.getsockname()[1]}/?{QUERY}={TOKEN}")
        web.run_app(app, sock=place, shutdown_timeout=1, print=lambda *_: print("no JSON, and nobody minds"))


if __name__ == "__main__":
    if sys.argv[1:] == ["front"]:  # the front itself, in a process of its own
        import asyncio

        from sammed3d.web.front.front import Entry
        from sammed3d.web.front.serve import _run, running
        from sammed3d.web.front.users import Limits

        told, command = json.loads(sys.stdin.readline()), (sys.executable, __file__)
        front = running(told, Limits(2), Entry("the-token"), "127.0.0.1", 0, command=command)
        asyncio.run(_run(front, lambda address: print(address, flush=True)))
        sys.exit(0)
    sys.exit(child.main(serve))
