"""Errors as RFC 9457 problems: what went wrong and the request's id, nothing of the server's insides."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.responses import Response

from sammed3d.wire.messages import PROBLEM


def problem(
    scope: MutableMapping[str, Any], status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Make the response.

    Args:
        scope: the ASGI scope of the request, which the guard gave an id.
        status: status code of HTTP.
        detail: a sentence for people.
        headers: further ones.
    """
    body = {"type": "about:blank", "status": status, "detail": detail, "request_id": scope["request_id"]}
    return Response(json.dumps(body), status, headers, PROBLEM)
