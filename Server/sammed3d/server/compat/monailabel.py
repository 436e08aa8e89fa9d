"""The part of MONAI Label's protocol that its clients need to click: info, login, session, infer, and saving a label.

Clicks arrive as complete lists of foreground and background voxels of the image, whose geometry is known: a file that
was uploaded, or a series of the DICOMweb server that the administrator named. No name that a client sends is ever taken
for a path or an address. `monai_others` has the calls that are only refused.
"""

from __future__ import annotations

import asyncio
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
from sammed3d.files.dicomweb import DicomWeb
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session
from sammed3d.server.compat import image_files, monai_others, monai_training
from sammed3d.server.compat.leases import Lease, LeaseEndedError, Leases, NoMemoryError, NoRoomError
from sammed3d.server.compat.monai_volumes import NoImageError, Opened, Volumes, seg_bytes
from sammed3d.server.compute.admission import BusyError
from sammed3d.server.compute.engine import Engine, EnginePredictor
from sammed3d.server.compute.training import NoTrainingError, Trainings
from sammed3d.server.compute.worker import UnavailableError, WorkerError
from sammed3d.server.http.bodies import BodyError, read_form
from sammed3d.server.http.keys import Keys
from sammed3d.server.http.problems import problem
from sammed3d.server.http.routes import explaining
from sammed3d.wire.strict_json import decode_object

OPEN_PATHS = frozenset({"/auth/", "/auth/token"})
VOLUME_PATHS = frozenset({"/session/", "/infer/", "/datastore/"})
MAX_CLICKS = 1024
MAX_LABELS = 64
Id = Annotated[str, Path(max_length=128)]
QueryId = Annotated[str, Query(max_length=128)]


class Facade:
    """The routes and what stands behind them.

    Args:
        engine: predicts.
        leases: the sessions.
        keys: the users' keys; None where anybody may use the server.
        max_bytes: largest size of a volume.
        dicomweb: where series are fetched from and results are stored; None for nowhere.
        trainings: trainings that clients may start; None where that is not allowed.
    """

    def __init__(
        self,
        engine: Engine,
        leases: Leases,
        keys: Keys | None,
        max_bytes: int,
        dicomweb: DicomWeb | None = None,
        trainings: Trainings | None = None,
    ) -> None:
        self._engine, self._leases, self._keys, self._trainings = engine, leases, keys, trainings
        self._volumes = Volumes(leases, self._start, max_bytes, dicomweb)
        self._fetching = asyncio.Lock()

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
            if (
                not isinstance(user, str)
                or not isinstance(key, str)
                or self._keys is None
                or self._keys.user_of(key) != user
            ):
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
            if data is None:
                raise BodyError("There is no image in the field 'files'.")
            return await run_in_threadpool(self._create, request.scope["user"], data)

        @routes.get("/session/{session_id}")
        async def get(session_id: Id, request: Request) -> dict[str, Any]:
            """Tell whether an image is still there."""
            return _described(self._leases.get(session_id, request.scope["user"], holds=Opened))

        @routes.delete("/session/{session_id}")
        async def remove(session_id: Id, request: Request) -> dict[str, Any]:
            """Forget an image."""
            lease = self._leases.get(session_id, request.scope["user"], holds=Opened)
            self._leases.release(session_id, lease.user)
            return _described(lease)

        @routes.post("/infer/{model}", response_class=Response, openapi_extra=_form("params"))
        async def infer(
            model: Id, request: Request, session_id: QueryId = "", image: QueryId = "", output: str = ""
        ) -> Response:
            """Segment what is clicked."""
            if model not in self._engine.models:
                raise BodyError("There is no such model. See /info/.", 404)
            form = await read_form(request)
            params = _json_object(form.get("params"))
            data = None if session_id else await _file(form, "file")
            lease, passing = await self._find(request.scope["user"], session_id, image, data)
            return await self._infer(lease, passing, model, params, output)

        @routes.put("/datastore/label", openapi_extra=_form("label"))
        async def save(request: Request, image: QueryId = "") -> Response:
            """Store a label map as a DICOM SEG beside the series that it is of."""
            if self._volumes.dicomweb is None:
                return problem(request.scope, 404, monai_others.NO_STORE)
            form = await read_form(request)
            data = await _file(form, "label")
            params = _json_object(form.get("params", "{}"))
            lease = await self._series(request.scope["user"], image)
            async with lease.lock:
                uid = await run_in_threadpool(self._volumes.store_label, lease.state, data or b"", params)
            return Response(json.dumps({"image": image, "label": uid}), media_type="application/json")

        if self._trainings is not None:
            monai_training.add_to(routes, self._trainings)
        monai_others.add_to(routes, () if self._trainings is None else monai_training.PATHS)
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
            "trainers": monai_training.described(self._trainings),
            "strategies": {},
            "scoring": {},
            "train_stats": {},
            "datastore": {"total": 0, "completed": 0},
        }

    def _start(self, volume: Volume, user: str) -> Session:
        return Session(volume, EnginePredictor(self._engine, user, next(iter(self._engine.models))))

    def _create(self, user: str, data: bytes) -> dict[str, Any]:
        lease = self._volumes.open_file(user, data)
        return {"session_id": lease.token, "session_info": _described(lease)}

    async def _find(self, user: str, session_id: str, image: str, data: bytes | None) -> tuple[Lease, bool]:
        """Find what a request is about, and whether it is only there for this request."""
        if session_id:
            return self._leases.get(session_id, user, holds=Opened), False
        if data is not None:
            return await run_in_threadpool(self._volumes.open_file, user, data), True
        return await self._series(user, image), False

    async def _series(self, user: str, uid: str) -> Lease:
        """Find a user's session on a series, or fetch the series; one at a time, for each takes its memory."""
        async with self._fetching:
            return await run_in_threadpool(self._volumes.open_series, user, uid)

    async def _infer(self, lease: Lease, passing: bool, model: str, params: dict[str, Any], output: str) -> Response:
        try:
            async with lease.lock:
                return await run_in_threadpool(self._segment, lease, model, params, output)
        finally:
            if passing:
                self._leases.release(lease.token, lease.user)

    def _segment(self, lease: Lease, model: str, params: dict[str, Any], output: str) -> Response:
        opened: Opened = lease.state
        if opened.session.predictor.name != self._engine.models[model].title:
            volume = opened.session.volume
            opened.session = Session(volume, EnginePredictor(self._engine, lease.user, model))
        return _result(opened, params, output)


def _result(opened: Opened, params: dict[str, Any], output: str) -> Response:
    session = opened.session
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
    if output == "dicom_seg":
        return Response(seg_bytes(opened), media_type="application/dicom")
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
    opened: Opened = lease.state
    session = opened.session
    return {
        "name": lease.token,
        "image": "image",
        "expiry": round(lease.remaining),
        "shape": list(session.volume.grid.shape),
        "meta": {},
    }


async def _file(form: Mapping[str, Any], name: str) -> bytes | None:
    """Return what a form carries in a field; None for nothing."""
    file = form.get(name)
    return await file.read() if isinstance(file, UploadFile) else None


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
    (NoImageError, 404),
    (NoTrainingError, 404),
    (NoRoomError, 503),
    (NoMemoryError, 413),
    (BusyError, 429),
    (UnavailableError, 503),
    (WorkerError, 500),
    (SAMMed3DError, 400),
]


def _refusal(request: Request, error: Exception) -> Response | None:
    """Return the answer to an error with a meaning of its own; None for any other."""
    if isinstance(error, BodyError):
        return problem(request.scope, error.status, str(error))
    for kind, status in STATUS:
        if isinstance(error, kind):
            return problem(request.scope, status, str(error), error.headers if isinstance(error, BusyError) else None)
    return None
