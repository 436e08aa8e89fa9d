"""The routes of the nnInteractive 2 protocol.

Points, boxes, scribbles, lassos, an initial mask and undo. What a model does not know it is told in clicks
(`inference/prompt_translation.py`). These clients send the whole volume and neither its orientation nor its origin, so
the direction of its axes is an assumption: by default that of an axial volume as 3D Slicer stores it, slices first
("SPL": the first axis grows towards Superior, then Posterior, then Left).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from sammed3d import __version__
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.errors import SAMMed3DError
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session
from sammed3d.inference.session_object import Update
from sammed3d.server.compat.leases import Lease, LeaseEndedError, Leases, NoMemoryError, NoRoomError
from sammed3d.server.compat.nninteractive.arrays import ArrayError, Unpacker, pack
from sammed3d.server.compat.nninteractive.axes import affine_of, directions_of, is_spacing
from sammed3d.server.compat.nninteractive.client import Client
from sammed3d.server.compat.nninteractive.prompts import (
    BadRequestError,
    BoundingBox,
    Painted,
    Point,
    drawing_of,
    painted_of,
)
from sammed3d.server.compute.admission import BusyError
from sammed3d.server.compute.engine import Engine, EnginePredictor
from sammed3d.server.compute.worker import UnavailableError, WorkerError
from sammed3d.server.http.problems import problem
from sammed3d.server.http.routes import explaining
from sammed3d.wire.strict_json import decode_object

OPEN_PATHS = frozenset({"/healthz"})
VOLUME_PATHS = frozenset(
    {"/set_image", "/add_initial_seg_interaction", "/add_scribble_interaction", "/add_lasso_", "/upload_"}
)
BINARY = "application/octet-stream"
OF_VERSION_1 = ("/upload_image", "/upload_segment")
"""What the first version's clients ask for before anything else."""
TOO_OLD = (
    "This client speaks the first version of nnInteractive's protocol, and this server the second. Update it: 3D "
    "Slicer's extension nnInteractive to 1.0.0 or later."
)
IDLE, SILENCE = 600.0, 90.0
"""Seconds after which a session ends that the user, or the program, has forgotten."""
_BINARY_BODY = {
    "requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}
}
Token = Annotated[str, Header(alias="X-Lease-Token", max_length=256)]
Result = TypeVar("Result")
Meta = Annotated[str, Header(alias="X-Meta", max_length=8192)]


class Buffer(BaseModel):
    """Where the client keeps the mask."""

    shape: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=3, max_length=3)]


class Facade:
    """The routes and what stands behind them.

    Args:
        engine: predicts; its first model is used.
        leases: the sessions.
        axes: a letter for each axis of an image, where it grows to: one of R and L, one of A and P, one of S and I.
        max_bytes: largest size of a volume.

    Raises:
        ModelError: `axes` are no three directions.
    """

    def __init__(self, engine: Engine, leases: Leases, axes: str, max_bytes: int) -> None:
        self._engine, self._leases = engine, leases
        self._directions = directions_of(axes)
        self._unpacker = Unpacker(max_bytes)

    def close(self) -> None:
        """End the process that unpacks arrays."""
        self._unpacker.close()

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(route_class=explaining(refusal))

        @routes.get("/healthz")
        async def healthz() -> dict[str, bool]:
            """Tell that the server answers."""
            return {"ok": True}

        @routes.post("/claim", responses={503: {"description": "All sessions are taken."}})
        async def claim(request: Request) -> dict[str, Any]:
            """Start a session."""
            lease = self._leases.claim(request.scope["user"], IDLE, SILENCE, Client())
            return {
                "lease_token": lease.token,
                "idle_timeout_seconds": IDLE,
                "liveness_timeout_seconds": SILENCE,
                "max_sessions": self._leases.most,
            }

        @routes.get("/capabilities")
        async def capabilities() -> dict[str, Any]:
            """Say what this server can do."""
            return self._capabilities()

        @routes.post("/release")
        async def release(request: Request, token: Token = "") -> dict[str, bool]:
            """End a session."""
            self._leases.release(token, request.scope["user"], Client)
            return {"released": True}

        @routes.post("/heartbeat")
        async def heartbeat(request: Request, token: Token = "") -> dict[str, float]:
            """Keep a session while the program runs."""
            return {"remaining_seconds": self._lease(request, token, acts=False).remaining}

        @routes.get("/lease_status")
        async def lease_status(request: Request, token: Token = "") -> dict[str, float]:
            """Say how long a session lasts."""
            remaining = self._lease(request, token, acts=False).remaining
            return {"remaining_seconds": remaining, "idle_timeout_seconds": IDLE}

        @routes.post("/set_image", openapi_extra=_BINARY_BODY)
        async def set_image(request: Request, token: Token = "", meta: Meta = "{}") -> dict[str, Any]:
            """Take the volume, (1, X, Y, Z)."""
            lease = self._lease(request, token)
            body = await request.body()
            return await self._in_turn(lease, self._set_image, lease, body, decode_object(meta))

        @routes.post("/set_target_buffer")
        async def set_target_buffer(buffer: Buffer, request: Request, token: Token = "") -> dict[str, Any]:
            """Take note of the shape in which masks are expected."""
            session = _client(self._lease(request, token)).on_image
            if tuple(buffer.shape) != session.volume.grid.shape:
                raise BadRequestError(f"The mask's shape is not the image's, {session.volume.grid.shape}.")
            return {}

        @routes.post("/set_do_autozoom")
        async def set_do_autozoom(request: Request, token: Token = "") -> dict[str, Any]:
            """Accept a setting that means nothing here."""
            self._lease(request, token)
            return {}

        @routes.post("/reset_interactions")
        async def reset_interactions(request: Request, token: Token = "") -> dict[str, Any]:
            """Begin a new object."""
            lease = self._lease(request, token)
            await self._in_turn(lease, lambda: _client(lease).begin_object())
            return {}

        @routes.post("/add_point_interaction", response_class=Response)
        async def add_point(point: Point, request: Request, token: Token = "") -> Response:
            """Click."""
            return await self._run(request, token, lambda client: client.add_point(point))

        @routes.post("/predict", response_class=Response)
        async def predict(request: Request, token: Token = "") -> Response:
            """Run the clicks that wait."""
            return await self._run(request, token, Client.run_pending)

        @routes.post("/undo", response_class=Response)
        async def undo(request: Request, token: Token = "") -> Response:
            """Take the newest click back; as often as there are clicks."""
            return await self._run(request, token, Client.undo)

        @routes.post("/add_initial_seg_interaction", response_class=Response, openapi_extra=_BINARY_BODY)
        async def add_initial_seg(request: Request, token: Token = "") -> Response:
            """Start from a mask."""
            self._lease(request, token)
            body = await request.body()
            return await self._run(request, token, lambda client: client.start_from(self._unpacker.unpack(body, 3)))

        @routes.post("/add_bbox_interaction", response_class=Response)
        async def add_bbox(box: BoundingBox, request: Request, token: Token = "") -> Response:
            """Draw a box round the object; it takes the place of the one before."""
            return await self._run(request, token, lambda client: client.add_box(box))

        @routes.post("/add_scribble_interaction", response_class=Response, openapi_extra=_BINARY_BODY)
        async def add_scribble(request: Request, token: Token = "", meta: Meta = "{}") -> Response:
            """Draw a stroke: painted voxels."""
            return await self._draw(request, token, meta, Scribble)

        @routes.post("/add_lasso_interaction", response_class=Response, openapi_extra=_BINARY_BODY)
        async def add_lasso(request: Request, token: Token = "", meta: Meta = "{}") -> Response:
            """Draw a loop, which comes filled: the voxels inside."""
            return await self._draw(request, token, meta, Lasso)

        for path in OF_VERSION_1:
            routes.add_api_route(path, _too_old, methods=["POST"], response_class=Response, status_code=426)
        return routes

    def _lease(self, request: Request, token: str, acts: bool = True) -> Lease:
        return self._leases.get(token, request.scope["user"], acts, Client)

    def _capabilities(self) -> dict[str, Any]:
        model = next(iter(self._engine.models.values()))
        tools = {"bbox2d": model.preset.by_slice, "bbox3d": True, "scribble": True, "lasso": True}
        return {
            "supported_interactions": {"points": True} | tools,
            "channel_mapping": {"prev_seg": 0, "points": [1, 2]},
            "num_interaction_channels": 3,
            "supports_initial_label": True,
            "supports_zero_shot_label_refinement": True,
            "preferred_scribble_thickness": [1, 1, 1],
            "interaction_decay": None,
            "inference_session_version": f"sammed3d {__version__}",
            "license": model.licence or "see the server's administrator",
            "supports_undo": True,
            "do_autozoom": False,
            "patch_size": list(model.preset.patch_shape),
            "server": {"name": "SAMMed3DSegment", "model": model.title},
        }

    def _set_image(self, lease: Lease, body: bytes, meta: dict[str, Any]) -> dict[str, Any]:
        with self._leases.room_for(lease, 2 * self._unpacker.size(body, 4)):  # before: others may send theirs meanwhile
            shape, lease.state = self._opened(lease, body, meta)
        return {"original_image_shape": shape}

    def _opened(self, lease: Lease, body: bytes, meta: dict[str, Any]) -> tuple[list[int], Client]:
        """Return the shape of the array that was sent, and what is kept of its client from now on."""
        array = self._unpacker.unpack(body, 4)
        if array.shape[0] != 1:
            raise BadRequestError(f"The image has {array.shape[0]} channels; one is expected.")
        if array.dtype == bool:
            array = array.astype(np.uint8)
        properties = meta.get("image_properties")
        spacing = properties.get("spacing") if isinstance(properties, dict) else None
        if not is_spacing(spacing):
            raise BadRequestError("The image needs a spacing: three positive numbers, in mm.")
        grid = Grid(array.shape[1:], affine_of(self._directions, spacing or ()))
        model = next(iter(self._engine.models))
        session = Session(Volume(array[0], grid, "the image"), EnginePredictor(self._engine, lease.user, model))
        return list(array.shape), Client(session)

    async def _draw(self, request: Request, token: str, meta: str, kind: type[Scribble] | type[Lasso]) -> Response:
        self._lease(request, token)
        body = await request.body()
        painted = painted_of(decode_object(meta))
        return await self._run(request, token, lambda client: self._add_drawing(client, body, painted, kind))

    def _add_drawing(
        self, client: Client, body: bytes, painted: Painted, kind: type[Scribble] | type[Lasso]
    ) -> Update | None:
        grid = client.on_image.volume.grid
        drawing = drawing_of(kind, self._unpacker.unpack(body, 3), painted, grid)
        return client.add_drawing(drawing, painted.run_prediction)

    async def _run(self, request: Request, token: str, act: Callable[[Client], Update | None]) -> Response:
        lease = self._lease(request, token)
        return _answer(await self._in_turn(lease, lambda: act(_client(lease))))

    async def _in_turn(self, lease: Lease, work: Callable[..., Result], *args: Any) -> Result:
        """Work on a session in a thread, once nobody else does."""
        async with lease.lock:
            return await run_in_threadpool(work, *args)


async def _too_old(request: Request) -> Response:
    """Refuse a client of the first version, whose image is not read."""
    return problem(request.scope, 426, TOO_OLD)


def _client(lease: Lease) -> Client:
    client: Client = lease.state
    return client


def _answer(update: Update | None) -> Response:
    """Answer with what changed of the mask; see the protocol's "prediction response"."""
    if update is None or update.box is None or update.voxels is None:
        return Response(media_type=BINARY, headers={"X-Meta": _compact(ran_prediction=update is not None, bbox=None)})
    bbox = [[b, e] for b, e in zip(update.box.begin, update.box.end, strict=True)]
    meta = _compact(ran_prediction=True, bbox=bbox, dtype="uint8", shape=list(update.voxels.shape))
    return Response(pack(np.ascontiguousarray(update.voxels)), media_type=BINARY, headers={"X-Meta": meta})


def _compact(**fields: Any) -> str:
    return json.dumps(fields, separators=(",", ":"))


STATUS: list[tuple[type[Exception], int]] = [
    (LeaseEndedError, 410),
    (NoRoomError, 503),
    (NoMemoryError, 413),
    (BusyError, 429),
    (UnavailableError, 429),
    (WorkerError, 500),
    (BadRequestError, 400),
    (ArrayError, 400),
    (SAMMed3DError, 400),
]
"""What its clients make of our errors: 503 means that all sessions are taken, 410 that this one is over."""


def refusal(request: Request, error: Exception) -> Response | None:
    """Return the answer to an error with a meaning of its own; None for any other."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            headers = {"Retry-After": "10"} if status in (429, 503) else None
            headers = error.headers if isinstance(error, BusyError) else headers
            return problem(request.scope, status, str(error), headers)
    return None
