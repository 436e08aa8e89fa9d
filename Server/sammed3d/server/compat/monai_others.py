"""Calls of MONAI Label's clients that this server has nothing to do for, answered as they expect, or refused.

There is no active learning, no pathology and no store of images, and no training where `monai_training` is not allowed.
Questions about them ("is a training
running?") get the answer no; orders are refused with what to do instead.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request, Response

from sammed3d.server.http.problems import problem

NO_STORE = (
    "This server keeps no images. Upload the image with a session (PUT /session/), or name a series where a DICOMweb "
    "server is configured; save the result in your program."
)
NOT_RUNNING = "Nothing of this kind runs here: this server only answers clicks."
NOT_HERE = "This server only answers clicks: no training, no batches, no scoring, no pathology."
ONE_MODEL = "Name the model: POST /train/MODEL, where the administrator allows training."
ITS_LOGS = "The log and the state of the machine are for the server's administrator."
STORES = "Set OHIF's data source to the DICOMweb server itself: this server passes nothing on."

REFUSED: list[tuple[tuple[str, ...], str, str]] = [
    (("PUT", "DELETE"), "/datastore/", NO_STORE),
    (("GET", "HEAD"), "/datastore/image", NO_STORE),
    (("PUT", "DELETE"), "/datastore/image", NO_STORE),
    (("GET",), "/datastore/image/info", NO_STORE),
    (("PUT",), "/datastore/image/info", NO_STORE),
    (("GET", "HEAD"), "/datastore/label", NO_STORE),
    (("DELETE",), "/datastore/label", NO_STORE),
    (("GET",), "/datastore/label/info", NO_STORE),
    (("PUT",), "/datastore/label/info", NO_STORE),
    (("PUT",), "/datastore/updatelabelinfo", NO_STORE),
    (("GET",), "/datastore/dataset", NO_STORE),
    (("GET",), "/train/", NOT_RUNNING),
    (("POST",), "/train/", ONE_MODEL),
    (("DELETE",), "/train/", NOT_HERE),
    (("POST",), "/train/{model}", NOT_HERE),
    (("GET",), "/batch/infer", NOT_RUNNING),
    (("DELETE",), "/batch/infer", NOT_HERE),
    (("POST",), "/batch/infer/{model}", NOT_HERE),
    (("GET",), "/scoring/", NOT_RUNNING),
    (("POST", "DELETE"), "/scoring/", NOT_HERE),
    (("POST",), "/scoring/{method}", NOT_HERE),
    (("POST",), "/infer/wsi/{model}", NOT_HERE),
    (("POST",), "/infer/wsi_v2/{model}", NOT_HERE),
    (("GET",), "/model/{model}", NOT_HERE),
    (("GET",), "/model/info/{model}", NOT_HERE),
    (("PUT", "DELETE"), "/model/{model}", NOT_HERE),
    (("GET",), "/logs/", ITS_LOGS),
    (("GET",), "/logs/gpu", ITS_LOGS),
    (("GET", "POST"), "/proxy/dicom/{path:path}", STORES),
]
"""Methods and path, and what the refusal says. Its status is 404, which clients take for "not running, not there"."""


def add_to(routes: APIRouter, answered: Collection[tuple[str, str]] = ()) -> None:
    """Add the routes, but for methods and paths that are answered elsewhere."""

    @routes.get("/datastore/")
    async def datastore(output: str = "") -> dict[str, Any]:
        """Say that there are no images: in full, or in numbers."""
        return {"objects": {}} if output == "all" else {"total": 0, "completed": 0, "label_tags": {}, "train": []}

    @routes.post("/activelearning/{strategy}")
    async def next_sample(strategy: str) -> dict[str, Any]:  # noqa: ARG001 - the path is the client's
        """Say that there is no next image; clients then ask the user to load one."""
        return {}

    for methods, path, words in REFUSED:
        for method in methods:
            if (method, path) in answered:
                continue
            routes.add_api_route(path, _refusing(words), methods=[method])


def _refusing(words: str) -> Any:
    async def refuse(request: Request) -> Response:
        """Refuse, with what to do instead."""
        return problem(request.scope, 404, words)

    return refuse
