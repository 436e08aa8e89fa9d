"""The server as one ASGI application: its own protocol, those of other clients, and the guard before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sammed3d.files.dicomweb import DicomWeb
from sammed3d.server.compat import monailabel
from sammed3d.server.compat.leases import Leases
from sammed3d.server.compat.nninteractive import routes as nninteractive
from sammed3d.server.compute.engine import Engine
from sammed3d.server.compute.training import Trainings
from sammed3d.server.http import native
from sammed3d.server.http.guard import FAILED, Guard, Rules
from sammed3d.server.http.keys import Keys
from sammed3d.server.http.problems import problem
from sammed3d.server.http.redirects import relative
from sammed3d.wire import messages

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
OPEN_PATHS = frozenset({messages.LIVE, messages.READY})
"""Anybody may ask these: they say nothing but yes or no."""
SMALL_BODY = 64 << 10


@dataclass(frozen=True)
class Facades:
    """Whether and how the protocols of other products are spoken.

    Attributes:
        nninteractive: whether clients of nnInteractive 2 are served.
        monailabel: whether clients of MONAI Label are served.
        axes: directions of an nnInteractive image's axes, which its clients do not send; see `nninteractive`.
        sessions: volumes that may be open at once.
        volume_mib: bound of one volume, and of a request that carries it.
        memory_mib: bound of all volumes together.
        dicomweb: where MONAI Label's clients may have series fetched from, and labels stored; None for nowhere.
        trainings: trainings that its clients may start; None where that is not allowed.
    """

    nninteractive: bool = False
    monailabel: bool = False
    axes: str = "SPL"
    sessions: int = 8
    volume_mib: int = 1024
    memory_mib: int = 4096
    dicomweb: DicomWeb | None = None
    trainings: Trainings | None = None


def create_app(
    engine: Engine,
    keys: Keys | None = None,
    hosts: frozenset[str] = LOOPBACK,
    max_body: int = 64 << 20,
    facades: Facades | None = None,
    origins: frozenset[str] = frozenset(),
    uploads_mib: int = 1024,
) -> Guard:
    """Build the application.

    Args:
        engine: does the work; is closed when the server ends.
        keys: the users' keys; None only where the server listens on loopback alone.
        hosts: accepted Host headers, without port.
        max_body: bytes of the largest request of the native protocol.
        facades: which other protocols are spoken; none if left out.
        origins: web pages of other origins that may use the server (CORS).
        uploads_mib: memory for the bodies of all requests that are under way.
    """
    facades = facades or Facades()
    leases = Leases(facades.sessions, facades.memory_mib << 20)
    speaks_nni = nninteractive.Facade(engine, leases, facades.axes, facades.volume_mib << 20)
    largest = facades.volume_mib << 20
    speaks_monai = monailabel.Facade(engine, leases, keys, largest, facades.dicomweb, facades.trainings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(leases.sweep_forever())
        yield
        sweeper.cancel()
        speaks_nni.close()
        if facades.trainings is not None:
            await asyncio.to_thread(facades.trainings.close)
        await asyncio.to_thread(engine.close)

    app = FastAPI(title="SAMMed3DSegment", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)

    @app.get(messages.LIVE)
    async def livez() -> Response:
        """Tell that the process answers."""
        return Response("alive", media_type="text/plain")

    @app.get(messages.READY, responses={503: {"description": "No device works, or too many predictions wait."}})
    async def readyz() -> Response:
        """Tell whether a prediction would be worked on now."""
        if engine.is_ready:
            return Response("ready", media_type="text/plain")
        return Response("not ready", 503, media_type="text/plain")

    app.include_router(native.router(engine, max_body))
    open_paths, volume_paths = OPEN_PATHS, frozenset[str]()
    if facades.nninteractive:
        app.include_router(speaks_nni.router())
        open_paths |= nninteractive.OPEN_PATHS
        volume_paths |= nninteractive.VOLUME_PATHS
    if facades.monailabel:
        app.include_router(speaks_monai.router())
        open_paths |= monailabel.OPEN_PATHS
        volume_paths |= monailabel.VOLUME_PATHS
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unforeseen)
    spoken = ["SAMMed3DSegment (/v1)"]
    spoken += ["nnInteractive 2"] * facades.nninteractive + ["MONAI Label"] * facades.monailabel
    app.state.hint = f"There is nothing here. This server speaks: {', '.join(spoken)}."

    def limit(path: str) -> int:
        if path.startswith("/v1/"):
            return max_body
        return facades.volume_mib << 20 if path.startswith(tuple(volume_paths)) else SMALL_BODY

    engine.metrics.watch_cache("volumes", leases.held_bytes, lambda: leases.max_bytes)
    rules = Rules(keys, hosts, open_paths, limit, origins, uploads_mib << 20)
    return Guard(relative(app), rules, engine.metrics, app.openapi)


async def _http_problem(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    detail = request.app.state.hint if error.status_code == 404 and "route" not in request.scope else str(error.detail)
    return problem(request.scope, error.status_code, detail, error.headers)


async def _unforeseen(request: Request, _: Exception) -> Response:
    """Answer an unexpected error; the guard logs it."""
    return problem(request.scope, 500, FAILED)


async def _invalid(request: Request, error: Exception) -> Response:
    """Say which field is wrong; what it held is not repeated."""
    error = cast(RequestValidationError, error)
    reasons = "; ".join(f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in error.errors()[:5])
    return problem(request.scope, 422, reasons or "The request is not understood.")
