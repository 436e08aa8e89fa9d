"""MONAI Label's calls for training, where the administrator allows it: start, status, stop."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from sammed3d.server.compute.training import Trainings

PATHS = frozenset({("GET", "/train/"), ("DELETE", "/train/"), ("POST", "/train/{model}")})
"""Method and path of each; `monai_others` refuses them where they are not allowed."""
Wishes = Annotated[dict[str, Any] | None, Body()]


def add_to(routes: APIRouter, trainings: Trainings) -> None:
    """Add the routes."""

    @routes.get("/train/")
    async def status(
        request: Request,
        every: Annotated[bool, Query(alias="all")] = False,
        check_if_running: bool = False,
    ) -> Any:
        """Describe the user's last training, all of them, or the one that runs."""
        return trainings.status(request.scope["user"], every=every, running=check_if_running)

    @routes.post("/train/{model}")
    async def start(model: Annotated[str, Path(max_length=128)], request: Request, params: Wishes = None) -> Any:
        """Start a training."""
        return await run_in_threadpool(trainings.start, request.scope["user"], model, params or {})

    @routes.delete("/train/")
    async def stop(request: Request) -> Any:
        """Stop the user's training."""
        return await run_in_threadpool(trainings.stop, request.scope["user"])


def described(trainings: Trainings | None) -> dict[str, Any]:
    """Return what /info/ says of it: the models that can learn, and what can be wished for."""
    if trainings is None:
        return {}
    return {
        name: {"description": "Learns from the cases of this server.", "config": {"name": "", "minutes": minutes}}
        for name in trainings.models
        for minutes in (trainings.minutes,)
    }
