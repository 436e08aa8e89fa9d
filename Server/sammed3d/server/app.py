"""The HTTP interface of the server: four routes, and two for those who watch over it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from sammed3d import wire
from sammed3d.errors import PredictionCancelled, SAMMed3DError
from sammed3d.predictor import Cancellation, PatchClick, Prediction
from sammed3d.server.engine import BusyError, Engine
from sammed3d.server.guard import Guard, problem
from sammed3d.server.keys import Keys
from sammed3d.wire import WireError

BINARY = "application/octet-stream"
MAX_CLICKS = 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
WATCH = 0.1
"""Seconds between two looks whether a client is still there."""


def create_app(
    engine: Engine, keys: Keys | None = None, hosts: frozenset[str] = LOOPBACK, max_body: int = 64 << 20
) -> Guard:
    """Build the application.

    Args:
        engine: does the work.
        keys: who may use it; None only where the server listens on loopback alone.
        hosts: accepted Host headers, without port.
        max_body: bytes of the largest request.
    """
    app = FastAPI(title="SAMMed3DSegment", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/livez")
    async def livez() -> Response:
        return Response("alive", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response("ready", media_type="text/plain")

    @app.get(wire.INFO)
    async def info() -> dict[str, Any]:
        return _info(engine, max_body)

    @app.head(wire.PATCH)
    async def has_patch(digest: str, request: Request) -> Response:
        return Response(status_code=200 if engine.has_patch(request.scope["user"], digest) else 404)

    @app.put(wire.PATCH)
    async def put_patch(digest: str, request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_put_patch, engine, request, digest, body)

    @app.post(wire.PREDICTIONS)
    async def predict(digest: str, request: Request) -> Response:
        body = await request.body()
        return await _predict(engine, request, digest, body)

    @app.delete(wire.PREDICTION)
    async def cancel(request: Request) -> Response:
        engine.cancel(request.scope["user"], request.path_params["request"])
        return Response(status_code=204)

    return Guard(app, keys, hosts, max_body)


def _info(engine: Engine, max_body: int) -> dict[str, Any]:
    models = [
        {
            "name": m.name,
            "title": m.title,
            "sha256": m.sha256,
            "licence": m.licence,
            "preset": m.predictor.preset.to_json(),
            "device": str(getattr(m.predictor, "device", "")),
        }
        for m in engine.models.values()
    ]
    return {"protocol": wire.PROTOCOL, "models": models, "limits": {"body": max_body, "clicks": MAX_CLICKS}}


def _put_patch(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    shapes = {model.predictor.preset.patch_shape for model in engine.models.values()}
    voxels, reason = None, ""
    for shape in shapes:
        try:
            voxels = wire.unpack(body, shape)
            break
        except WireError as error:
            reason = str(error)
    if voxels is None:
        return _error(request, 422, reason)
    if hashlib.sha256(voxels.data).hexdigest() != digest:
        return _error(request, 422, "The patch has not got the SHA-256 of its address.")
    engine.put_patch(request.scope["user"], digest, voxels)
    return Response(status_code=201)


async def _predict(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    try:
        model, clicks, request_id, initial = _read_request(engine, body)
    except WireError as error:
        return _error(request, 422, str(error))
    if model not in engine.models:
        return _error(request, 404, "There is no such model. See /v1/info.", "model")
    started: list[Cancellation] = []
    user = request.scope["user"]
    work = asyncio.ensure_future(
        run_in_threadpool(engine.predict, user, digest, model, clicks, initial, request_id, started.append)
    )
    while not work.done():
        await asyncio.wait({work}, timeout=WATCH)
        if not work.done() and await request.is_disconnected():
            for cancellation in started:
                cancellation.cancel()
    return _answer(request, work)


def _answer(request: Request, work: asyncio.Future[Prediction | None]) -> Response:
    try:
        prediction = work.result()
    except BusyError:
        response = _error(request, 429, "The server is busy.")
        response.headers["Retry-After"] = "1"
        return response
    except PredictionCancelled:
        return _error(request, wire.CANCELLED, "The prediction was cancelled.")
    except SAMMed3DError as error:
        return _error(request, 422, str(error))
    if prediction is None:
        return _error(request, 404, "This patch is not here (any more). Upload it again.", "patch")
    head = {"score": prediction.score, "seconds": dict(prediction.seconds)}
    return Response(wire.join(head, wire.pack(prediction.low_res)), media_type=BINARY)


def _read_request(engine: Engine, body: bytes) -> tuple[str, list[PatchClick], str, Any]:
    head, rest = wire.split(body)
    model, request_id, clicks = head.get("model"), head.get("request"), head.get("clicks")
    if not isinstance(model, str) or not isinstance(request_id, str) or not re.fullmatch(r"\w{1,64}", request_id):
        raise WireError("A prediction needs a model and a request id (letters and digits).")
    if not isinstance(clicks, list) or not 1 <= len(clicks) <= MAX_CLICKS:
        raise WireError(f"A prediction needs 1 to {MAX_CLICKS} clicks.")
    preset = engine.preset_of(model) if model in engine.models else None
    limits = preset.patch_shape if preset is not None else (4096, 4096, 4096)
    parsed = [_read_click(click, limits) for click in clicks]
    initial = wire.unpack(rest, preset.low_res_shape) if len(rest) and preset is not None else None
    return model, parsed, request_id, initial


def _read_click(click: Any, limits: tuple[int, int, int]) -> PatchClick:
    if not isinstance(click, list) or len(click) != 4 or not isinstance(click[3], bool):
        raise WireError("A click is [r, a, s, positive].")
    voxel = [v for v in click[:3] if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(voxel) != 3 or not all(0 <= v < n for v, n in zip(voxel, limits, strict=True)):
        raise WireError("A click lies outside the patch.")
    return PatchClick((float(voxel[0]), float(voxel[1]), float(voxel[2])), click[3])


def _error(request: Request, status: int, detail: str, missing: str = "") -> Response:
    body, _ = problem(status, detail, request.scope["request_id"])
    response = Response(body, status_code=status, media_type="application/problem+json")
    if missing:
        response.headers["X-SAMMed3D-Missing"] = missing
    return response
