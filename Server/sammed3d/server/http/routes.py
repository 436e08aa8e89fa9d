"""Routes whose errors become answers."""

from __future__ import annotations

import traceback
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
                    _let_go(error)
                    return response

            return explained

    return ExplainingRoute


def _let_go(error: BaseException) -> None:
    """Let go of what the functions held that an error ended: bodies and volumes.

    An error that comes out of a thread is part of a circle (anyio's future holds it, and it the frame of who waited for
    the future), which Python would only find in a collection of garbage, hours later where little is asked.
    """
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
