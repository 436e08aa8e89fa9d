"""The native protocol: patches and prompts in, low-res logits or their outline out. `wire/messages.py` says how."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PredictionCancelled, SAMMed3DError
from sammed3d.inference.answers import Fading
from sammed3d.inference.compositing import Layer, prompt_of_layers
from sammed3d.inference.predictor import Prediction, digest_of
from sammed3d.inference.preset import Preset
from sammed3d.server.compute.admission import BusyError
from sammed3d.server.compute.engine import Engine, Running
from sammed3d.server.compute.worker import UnavailableError, WorkerError
from sammed3d.server.http.problems import problem
from sammed3d.server.http.routes import explaining
from sammed3d.wire import arrays, kept, messages
from sammed3d.wire.messages import BINARY, Question

_BODY = {"requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}}
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the float32 voxels, or logits.")]
UNBUFFERED = {"X-Accel-Buffering": "no"}
"""Tells nginx to pass signs of life on as they come; by itself it waits until it has some kilobytes."""
_WORDS = {messages.MISSING_PATCH: "patch", messages.MISSING_MASK: "mask prompt"}
RequestId = Annotated[str, Path(pattern=r"^\w{1,64}$", description="The id that the prediction was asked with.")]


def router(engine: Engine, max_body: int) -> APIRouter:
    """Make the routes.

    Args:
        engine: does the work.
        max_body: bytes of the largest request, told to clients.
    """
    routes = APIRouter(route_class=explaining(_failure))

    @routes.get(messages.INFO)
    async def info() -> dict[str, Any]:
        """Say which models are served, and the limits."""
        return messages.info_to_json(list(engine.models.values()), max_body)

    @routes.head(messages.PATCH, responses={404: {"description": "It is not here."}})
    async def has_patch(digest: Digest, request: Request) -> Response:
        """Tell whether a patch is there."""
        there = await run_in_threadpool(engine.has_patch, request.scope["user"], digest)  # may wait: see Engine.start
        return Response(status_code=200 if there else 404)

    @routes.put(messages.PATCH, status_code=201, openapi_extra=_BODY)
    async def put_patch(digest: Digest, request: Request) -> Response:
        """Upload a patch."""
        body = await request.body()
        return await run_in_threadpool(_put_patch, engine, request, digest, body)

    @routes.post(
        messages.PREDICTIONS,
        openapi_extra=_BODY,
        responses={404: {"description": "No such model, or the patch or the mask prompt is not here (any more)."}},
    )
    async def predict(digest: Digest, request: Request) -> Response:
        """Apply clicks to an uploaded patch."""
        body = await request.body()
        return await _predict(engine, request, digest, body)

    @routes.post(messages.LOGITS, openapi_extra=_BODY, responses={404: {"description": "It is not here (any more)."}})
    async def logits_of(digest: Digest, request: Request) -> Response:
        """Send some of the logits of an answer."""
        body = await request.body()
        return await run_in_threadpool(_logits_of, engine, request, digest, body)

    @routes.delete(messages.PREDICTION, status_code=204)
    async def cancel(request_id: RequestId, request: Request) -> Response:
        """Stop a prediction; of one that is not running, nothing is said."""
        await run_in_threadpool(engine.cancel, request.scope["user"], request_id)
        return Response(status_code=204)

    return routes


def _put_patch(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    shapes = {shape for model in engine.models.values() for shape in model.preset.patch_shapes}
    shape = arrays.shape_of(body)
    voxels = arrays.unpack(body, shape if shape in shapes else min(shapes))
    if hashlib.sha256(voxels.data).hexdigest() != digest:
        return problem(request.scope, 422, "The patch has not got the SHA-256 of its address.")
    engine.put_patch(request.scope["user"], digest, voxels)
    return Response(status_code=201)


def _logits_of(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    logits = engine.mask(request.scope["user"], digest)
    if logits is None:
        return _missing(request, "This answer is not here (any more). Ask for it again.", messages.MISSING_MASK)
    a, b, c = logits.shape
    return Response(kept.logits_to_bytes(logits[kept.marks_from_bytes(body, (a, b, c))]), media_type=BINARY)


async def _predict(engine: Engine, request: Request, digest: str, body: bytes) -> Response:
    presets = {name: model.preset for name, model in engine.models.items()}
    weights = {name: model.sha256 for name, model in engine.models.items()}
    question = Question.from_bytes(body, presets, weights)
    if question.model not in engine.models:
        return _missing(request, "There is no such model. See /v1/info.", messages.MISSING_MODEL)
    if question.weights not in ("", weights[question.model]):
        return _missing(request, "This model has other weights now. See /v1/info.", messages.MISSING_MODEL)
    user = request.scope["user"]
    running = await run_in_threadpool(_start, engine, user, digest, question)
    if isinstance(running, str):
        return _missing(request, f"This {_WORDS[running]} is not here (any more). Send it again.", running)
    outline_on = engine.models[question.model].preset.patch_shape if question.outline else None
    to_bytes = partial(_answer, engine, user, outline_on, running.job.prompts.mask_prompt, question.fading)
    work = asyncio.ensure_future(_wait(running, request))
    work.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also where nobody waits any more
    if question.signs:
        await asyncio.wait({work}, timeout=messages.SIGN_SECONDS)
        if not work.done():
            return StreamingResponse(_with_signs(work, request, to_bytes), headers=UNBUFFERED, media_type=BINARY)
    return Response(await run_in_threadpool(to_bytes, await work), media_type=BINARY)


def _start(engine: Engine, user: str, digest: str, question: Question) -> Running | str:
    """Start a prediction with the mask prompt that came, which is kept, or that is there; or say what is missing."""
    prompts = question.prompts
    if question.mask or question.layers is not None:
        if not engine.has_patch(user, digest):
            return messages.MISSING_PATCH  # first, so that the mask prompt is sent once, when the patch is there
        preset = engine.models[question.model].preset
        mask = engine.mask(user, question.mask) if question.layers is None else _made(engine, user, question, preset)
        if mask is None or mask.shape != preset.low_res_shape:
            return messages.MISSING_MASK
        prompts = prompts.with_mask(mask, question.mask) if question.mask else replace(prompts, mask_prompt=mask)
        question = replace(question, prompts=prompts)
    elif prompts.mask_prompt is not None:
        engine.keep_mask(user, prompts.mask_digest, prompts.mask_prompt)
    return engine.predict(user, digest, question) or messages.MISSING_PATCH


def _made(engine: Engine, user: str, question: Question, preset: Preset) -> Float32 | None:
    """Make the mask prompt of layers, and keep it for further clicks; None where one of them is not there."""
    placed = question.layers or ()
    name = hashlib.sha256(repr((placed, preset.patch_shape, preset.low_res_shape)).encode()).hexdigest()
    made = engine.mask(user, name)
    if made is not None:
        return made
    layers = []
    for layer in placed:
        logits = engine.mask(user, layer.logits)
        if logits is None or logits.shape != preset.low_res_shape:
            return None
        layers.append(Layer(layer.window, logits, layer.fading))
    made = prompt_of_layers(Box((0, 0, 0), preset.patch_shape), preset.low_res_shape, layers)
    engine.keep_mask(user, name, made)
    return made


def _answer(
    engine: Engine,
    user: str,
    outline_on: Index3 | None,
    seen: Float32 | None,
    fading: Fading | None,
    prediction: Prediction,
) -> bytes:
    """Write an answer; its logits are kept, since they may be the next mask prompt, or a part of it."""
    digest = digest_of(prediction.low_res)
    engine.keep_mask(user, digest, prediction.low_res)
    return messages.answer_to_bytes(prediction, outline_on, seen, fading, digest)


async def _with_signs(
    work: asyncio.Future[Prediction], request: Request, to_bytes: Callable[[Prediction], bytes]
) -> AsyncIterator[bytes]:
    """Yield signs of life, then the answer or why there is none."""
    while not work.done():
        yield messages.SIGN
        await asyncio.wait({work}, timeout=messages.SIGN_SECONDS)
    error = work.exception()
    if error is None:
        yield await run_in_threadpool(to_bytes, work.result())
        return
    refusal = _failure(request, error) if isinstance(error, Exception) else None
    if refusal is None:
        raise error
    yield messages.refusal_to_bytes(refusal.status_code, str(error))


async def _wait(running: Running, request: Request) -> Prediction:
    """Wait for a prediction; stops it when the client goes away."""
    work: asyncio.Future[Any] = asyncio.wrap_future(running.future)
    gone: asyncio.Future[Any] = asyncio.ensure_future(_until_gone(request))
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        running.cancel()
        await asyncio.wait({work})
    gone.cancel()
    prediction: Prediction = work.result()
    return prediction


async def _until_gone(request: Request) -> None:
    """Wait until the client has closed its connection; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _failure(request: Request, error: Exception) -> Response | None:
    """Return the answer to an error with a meaning of its own; None for any other."""
    if isinstance(error, BusyError):
        return problem(request.scope, 429, str(error), error.headers)
    if isinstance(error, UnavailableError):
        return problem(request.scope, 503, str(error), {"Retry-After": "2"})
    if isinstance(error, WorkerError):
        return problem(request.scope, 500, str(error))
    if isinstance(error, PredictionCancelled):
        return problem(request.scope, messages.CANCELLED, "The prediction was cancelled.")
    if isinstance(error, SAMMed3DError):
        return problem(request.scope, 422, str(error))
    return None


def _missing(request: Request, detail: str, what: str) -> Response:
    return problem(request.scope, 404, detail, {messages.MISSING_HEADER: what})
