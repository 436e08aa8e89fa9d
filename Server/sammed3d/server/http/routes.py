"""Routes whose errors become answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from sammed3d.server.http.bodies import StrictRequest

Explain = Callable[[Request, Exception], Response | None]


def explaining(explain: Explain) -> type[APIRoute]:
    """Make a class of routes which answer with what `explain` makes of an error, if it makes anything of it."""

    class ExplainingRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def explained(request: Request) -> Response:
                try:
                    return await handle(StrictRequest(request.scope, request.receive))
                except Exception as error:
                    response = explain(request, error)
                    if response is None:
                        raise
                    return response

            return explained

    return ExplainingRoute
