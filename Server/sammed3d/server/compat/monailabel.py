"""The part of MONAI Label's protocol that its client needs to click: info, login, session, infer.

Clicks arrive as complete lists of foreground and background voxels of the uploaded image, whose geometry is known.
There is no datastore and no training here, and no name that a client sends is ever taken for a path.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from sammed3d import __version__
from sammed3d.core.prompts import Click
from sammed3d.errors import PromptError, SAMMed3DError
from sammed3d.inference.session import Session
from sammed3d.server.compat import image_files
from sammed3d.server.compat.leases import Lease, LeaseEndedError, Leases, NoMemoryError, NoRoomError
from sammed3d.server.compute.admission import BusyError
from sammed3d.server.compute.engine import Engine, EnginePredictor
from sammed3d.server.compute.worker import UnavailableError, WorkerError
from sammed3d.server.http.bodies import BodyError, read_form
from sammed3d.server.http.keys import Keys
from sammed3d.server.http.problems import problem
from sammed3d.server.http.routes import explaining
from sammed3d.wire.strict_json import decode_object

OPEN_PATHS = frozenset({"/auth/", "/auth/token"})
VOLUME_PATHS = frozenset({"/session/", "/infer/"})
IDLE = 3600.0
"""Seconds after which an unused session ends."""
MAX_CLICKS = 1024
MAX_LABELS = 64
Id = Annotated[str, Path(max_length=128)]


class Facade:
    """The routes and what stands behind them.

    Args:
        engine: predicts.
        leases: where sessions are kept.
        keys: who may use the server; None where anybody may.
        max_bytes: of a volume.
    """

    def __init__(self, engine: Engine, leases: Leases, keys: Keys | None, max_bytes: int) -> None:
        self._engine, self._leases, self._keys, self._max_bytes = engine, leases, keys, max_bytes

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(route_class=explaining(_refusal))

        @routes.get("/auth/")
        async def auth() -> dict[str, bool]:
            """Say whether a key is needed."""
            return {"enabled": self._keys is not None}

        @routes.post("/auth/token", openapi_extra=_form("username", "password"))
        async def token(request: Request) -> dict[str, str]:
            """Take the name of a key and the key for user and password."""
            form = await read_form(request)
            user, key = form.get("username"), form.get("password")
            if not isinstance(key, str) or self._keys is None or self._keys.user_of(key) != user:
                raise BodyError("User and key do not belong together.", 401)
            return {"access_token": key, "token_type": "bearer"}

        @routes.get("/auth/token/valid")
        async def valid() -> dict[str, bool]:
            """Answer whoever has a valid key."""
            return {"valid": True}

        @routes.get("/info/")
        async def info() -> dict[str, Any]:
            """Say which models are served."""
            return self._info()

        @routes.put("/session/", openapi_extra=_form("files"))
        async def create(request: Request) -> dict[str, Any]:
            """Take an image."""
            form = await read_form(request)
            data = await _file(form, "files")
            return await run_in_threadpool(self._create, request.scope["user"], data)

        @routes.get("/session/{session_id}")
        async def get(session_id: Id, request: Request) -> dict[str, Any]:
            """Tell whether an image is still there."""
            return _described(self._leases.get(session_id, request.scope["user"]))

        @routes.delete("/session/{session_id}")
        async def remove(session_id: Id, request: Request) -> dict[str, Any]:
            """Forget an image."""
            lease = self._leases.get(session_id, request.scope["user"])
            self._leases.release(session_id, lease.user)
            return _described(lease)

        @routes.post("/infer/{model}", response_class=Response, openapi_extra=_form("params"))
        async def infer(
            model: Id, request: Request, session_id: Annotated[str, Query(max_length=128)] = "", output: str = ""
        ) -> Response:
            """Segment what is clicked."""
            if model not in self._engine.models:
                raise BodyError("There is no such model. See /info/.", 404)
            form = await read_form(request)
            params = _json_object(form.get("params"))
            data = None if session_id else await _file(form, "file")
            return await run_in_threadpool(self._infer, request.scope["user"], model, session_id, data, params, output)

        return routes

    def _info(self) -> dict[str, Any]:
        models = {
            m.name: {
                "type": "deepgrow",
                "dimension": 3,
                "labels": ["object"],
                "description": m.title,
                "config": {},
            }
            for m in self._engine.models.values()
        }
        return {
            "name": "SAMMed3DSegment",
            "description": "Click-to-segment for 3-D medical images",
            "version": __version__,
            "labels": ["object"],
            "models": models,
            "trainers": {},
            "strategies": {},
            "scoring": {},
            "train_stats": {},
            "datastore": {"total": 0, "completed": 0},
        }

    def _create(self, user: str, data: bytes) -> dict[str, Any]:
        lease = self._leases.claim(user, IDLE)
        try:
            volume = image_files.read(data, self._max_bytes)
            self._leases.take_memory(lease, 2 * volume.array.nbytes)
        except Exception:
            self._leases.release(lease.token, user)
            raise
        model = next(iter(self._engine.models))
        lease.state = Session(volume, EnginePredictor(self._engine, user, model))
        return {"session_id": lease.token, "session_info": _described(lease)}

    def _infer(
        self, user: str, model: str, session_id: str, data: bytes | None, params: dict[str, Any], output: str
    ) -> Response:
        passing = not session_id
        token = session_id
        if data is not None:
            token = self._create(user, data)["session_id"]
        lease = self._leases.get(token, user)
        try:
            with lease.lock:
                session: Session = lease.state
                if session.predictor.name != self._engine.models[model].title:
                    session = lease.state = Session(session.volume, EnginePredictor(self._engine, user, model))
                return _result(session, params, output)
        finally:
            if passing:
                self._leases.release(token, user)


def _result(session: Session, params: dict[str, Any], output: str) -> Response:
    label = params.get("label")
    name = label if isinstance(label, str) and 0 < len(label) <= 128 else "object"
    clicks = _clicks(session, params)
    if name not in {o.name for o in session.objects}:
        if len(session.objects) >= MAX_LABELS:
            raise PromptError(f"A session takes at most {MAX_LABELS} labels. Start a new one.")
        session.add_object(name)
    known = session.select(name).clicks
    kept = [click for click in known if click in clicks]  # the order in which they came is not sent, but known
    session.set_clicks([*kept, *(click for click in clicks if click not in kept)])
    suffix = params.get("result_extension", ".nrrd")
    file = image_files.write(session.mask(), session.volume.grid, suffix if isinstance(suffix, str) else "")
    answer = {"label_names": {name: 1}, "latencies": {}}
    if output == "image":
        return Response(file, media_type="application/octet-stream")
    if output == "json":
        return Response(json.dumps(answer), media_type="application/json")
    return _multipart(answer, f"result{suffix}", file)


def _clicks(session: Session, params: dict[str, Any]) -> list[Click]:
    clicks = []
    shape = session.volume.grid.shape
    for key, positive in (("foreground", True), ("background", False)):
        points = params.get(key, [])
        if not isinstance(points, list) or len(points) > MAX_CLICKS:
            raise PromptError(f"{key!r} must be a list of at most {MAX_CLICKS} points.")
        for point in points:
            if not _is_point(point) or not all(0 <= round(v) < n for v, n in zip(point, shape, strict=True)):
                raise PromptError(f"A {key} point is no voxel of the image, whose shape is {shape}.")
            x, y, z = session.volume.grid.to_world(point).tolist()
            clicks.append(Click((x, y, z), positive))
    if not clicks:
        raise PromptError("There is no click: 'foreground' and 'background' are empty.")
    return list(dict.fromkeys(clicks))


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list) and len(point) == 3 and all(type(v) in (int, float) and math.isfinite(v) for v in point)
    )


def _described(lease: Lease) -> dict[str, Any]:
    session: Session = lease.state
    return {
        "name": lease.token,
        "image": "image",
        "expiry": round(lease.remaining),
        "shape": list(session.volume.grid.shape),
        "meta": {},
    }


async def _file(form: Mapping[str, Any], name: str) -> bytes:
    file = form.get(name)
    if not isinstance(file, UploadFile):
        raise BodyError("There is no image. This server has no datastore: upload the image with a session first.", 404)
    return await file.read()


def _json_object(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise PromptError("'params' is missing: a JSON object.")
    return decode_object(text)


def _multipart(params: dict[str, Any], name: str, file: bytes) -> Response:
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(params)}\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + file + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")


def _form(*names: str) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in names}
    schema = {"type": "object", "properties": properties, "required": list(names)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


STATUS: list[tuple[type[Exception], int]] = [
    (LeaseEndedError, 404),
    (NoRoomError, 503),
    (NoMemoryError, 413),
    (BusyError, 429),
    (UnavailableError, 503),
    (WorkerError, 500),
    (SAMMed3DError, 400),
]


def _refusal(request: Request, error: Exception) -> Response | None:
    """Answer an error that somebody foresaw; None for others."""
    if isinstance(error, BodyError):
        return problem(request.scope, error.status, str(error))
    for kind, status in STATUS:
        if isinstance(error, kind):
            return problem(request.scope, status, str(error), error.headers if isinstance(error, BusyError) else None)
    return None
