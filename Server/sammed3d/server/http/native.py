"""The native protocol: patches and clicks in, low-res logits out. `wire.py` describes the bytes."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from sammed3d import wire
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled, SAMMed3DError
from sammed3d.inference.predictor import PatchBox, PatchClick, Prediction, check_prompts
from sammed3d.inference.preset import Preset
from sammed3d.server.compute.engine import BusyError, Engine, Running, Turn
from sammed3d.server.compute.worker import UnavailableError, WorkerError
from sammed3d.server.http.problems import problem
from sammed3d.server.http.routes import explaining
from sammed3d.wire import WireError

BINARY = "application/octet-stream"
MAX_CLICKS = 1024
WATCH = 0.1
"""Seconds between two looks whether a client is still there."""
_BODY = {"requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}}
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the patch's float32 voxels.")]
RequestId = Annotated[str, Path(pattern=r"^\w{1,64}$", description="The id that the prediction was asked with.")]


def router(engine: Engine, max_body: int) -> APIRouter:
    """Make the routes.

    Args:
        engine: does the work.
        max_body: bytes of the largest request, told to clients.
    """
    routes = APIRouter(route_class=explaining(_failure))

    @routes.get(wire.INFO)
    async def info() -> dict[str, Any]:
        """Say which models are served, and the limits."""
        return _info(engine, max_body)

    @routes.head(wire.PATCH, responses={404: {"description": "It is not here."}})
    async def has_patch(digest: Digest, request: Request) -> Response:
        """Tell whether a patch is there."""
        return Response(status_code=200 if engine.has_patch(request.scope["user"], digest) else 404)

    @routes.put(wire.PATCH, status_code=201, openapi_extra=_BODY)
    async def put_patch(digest: Digest, request: Request) -> Response:
        """Upload a patch."""
        body = await request.body()
        return await run_in_threadpool(_put_patch, engine, request, digest, body)

    @routes.post(
        wire.PREDICTIONS,
        openapi_extra=_BODY,
        responses={404: {"description": "No such model, or the patch is not here (any more)."}},
    )
    async def predict(digest: Digest, request: Request) -> Response:
        """Apply clicks to an uploaded patch."""
        body = await request.body()
        return await _predict(engine, request, digest, body)

    @routes.delete(wire.PREDICTION, status_code=204)
    async def cancel(request_id: RequestId, request: Request) -> Response:
        """Stop a prediction; of one that is not running, nothing is said."""
        engine.cancel(request.scope["user"], request_id)
        return Response(status_code=204)

    return routes


def _info(engine: Engine, max_body: int) -> dict[str, Any]:
    models = [
        {
            "name": m.name,
            "title": m.title,
            "sha256": m.sha256,
            "licence": m.licence,
            "preset": m.preset.to_json(),
            "device": engine.device_name,
        }
        for m in engine.models.values()
    ]
    return {"protocol": wire.PROTOCOL, "models": models, "limits": {"body": max_body, "clicks": MAX_CLICKS}}


def _put_patch(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    voxels, reason = None, ""
    for shape in {model.preset.patch_shape for model in engine.models.values()}:
        try:
            voxels = wire.unpack(body, shape)
            break
        except WireError as error:
            reason = str(error)
    if voxels is None:
        return problem(request.scope, 422, reason)
    if hashlib.sha256(voxels.data).hexdigest() != digest:
        return problem(request.scope, 422, "The patch has not got the SHA-256 of its address.")
    engine.put_patch(request.scope["user"], digest, voxels)
    return Response(status_code=201)


async def _predict(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    asked = _read_request(engine, body)
    if asked.model not in engine.models:
        return _missing(request, "There is no such model. See /v1/info.", "model")
    running = await run_in_threadpool(
        engine.predict,
        request.scope["user"],
        digest,
        asked.model,
        asked.clicks,
        asked.initial,
        asked.request,
        asked.turn,
        asked.box,
    )
    if running is None:
        return _missing(request, "This patch is not here (any more). Upload it again.", "patch")
    prediction = await _wait(running, request)
    head = {"score": prediction.score, "seconds": dict(prediction.seconds)}
    return Response(wire.join(head, wire.pack(prediction.low_res)), media_type=BINARY)


async def _wait(running: Running, request: Request) -> Prediction:
    """Wait for a prediction; stops it when the client goes away."""
    work = asyncio.ensure_future(asyncio.wrap_future(running.future))
    while not work.done():
        await asyncio.wait({work}, timeout=WATCH)
        if not work.done() and await request.is_disconnected():
            running.cancel()
            await asyncio.wait({work})
    return work.result()


def _failure(request: Request, error: Exception) -> Response | None:
    """Answer an error that somebody foresaw; None for others."""
    if isinstance(error, BusyError):
        return problem(request.scope, 429, str(error), {"Retry-After": "1"})
    if isinstance(error, UnavailableError):
        return problem(request.scope, 503, str(error), {"Retry-After": "2"})
    if isinstance(error, WorkerError):
        return problem(request.scope, 500, str(error))
    if isinstance(error, PredictionCancelled):
        return problem(request.scope, wire.CANCELLED, "The prediction was cancelled.")
    if isinstance(error, SAMMed3DError):
        return problem(request.scope, 422, str(error))
    return None


def _missing(request: Request, detail: str, what: str) -> Response:
    return problem(request.scope, 404, detail, {"X-SAMMed3D-Missing": what})


@dataclass(frozen=True, eq=False)
class _Asked:
    """A prediction request, read and checked; see `Engine.predict`."""

    model: str
    request: str
    clicks: Sequence[PatchClick]
    initial: Float32 | None
    turn: Turn | None
    box: PatchBox | None


def _read_request(engine: Engine, body: bytes) -> _Asked:
    head, rest = wire.split(body)
    model, request_id, clicks = head.get("model"), head.get("request"), head.get("clicks")
    if not isinstance(model, str) or not isinstance(request_id, str) or not re.fullmatch(r"\w{1,64}", request_id):
        raise WireError("A prediction needs a model and a request id (letters and digits).")
    if not isinstance(clicks, list) or len(clicks) > MAX_CLICKS:
        raise WireError(f"A prediction needs a list of clicks, at most {MAX_CLICKS}.")
    preset = engine.preset_of(model) if model in engine.models else None
    limits = preset.patch_shape if preset is not None else (4096, 4096, 4096)
    parsed = [_read_click(click, limits) for click in clicks]
    box = _read_box(head.get("box"), limits)
    check_prompts(preset or Preset(boxes=True), parsed, box)
    initial = wire.unpack(rest, preset.low_res_shape) if len(rest) and preset is not None else None
    return _Asked(model, request_id, parsed, initial, _read_turn(head.get("session"), head.get("turn")), box)


def _read_turn(session: Any, number: Any) -> Turn | None:
    if session is None:
        return None
    if not isinstance(session, str) or not re.fullmatch(r"[\w-]{1,64}", session) or type(number) is not int:
        raise WireError("A session is letters and digits, its turn a whole number.")
    return Turn(session, number)


def _read_click(click: Any, limits: tuple[int, int, int]) -> PatchClick:
    if not isinstance(click, list) or len(click) != 4 or not isinstance(click[3], bool):
        raise WireError("A click is [r, a, s, positive].")
    if not _all_within(click[:3], limits):
        raise WireError("A click lies outside the patch.")
    return PatchClick((float(click[0]), float(click[1]), float(click[2])), click[3])


def _read_box(box: Any, limits: tuple[int, int, int]) -> PatchBox | None:
    if box is None:
        return None
    ends = tuple(n + 1 for n in limits)  # its last corner may be one past the last voxel
    if not isinstance(box, list) or len(box) != 6 or not _all_within(box[:3], limits) or not _all_within(box[3:], ends):
        raise WireError("A box is [r, a, s, r, a, s], its first and last corner in the patch.")
    a, b, c, d, e, f = (float(v) for v in box)
    return PatchBox((a, b, c), (d, e, f))


def _all_within(place: list[Any], limits: tuple[int, ...]) -> bool:
    numbers = [v for v in place if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return len(numbers) == 3 and all(0 <= v < n for v, n in zip(numbers, limits, strict=True))
