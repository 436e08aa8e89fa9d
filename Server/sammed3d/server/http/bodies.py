"""The one place where bodies of requests are decoded, for all protocols but packed arrays: JSON and forms."""

from __future__ import annotations

from email.message import Message
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from sammed3d.wire.strict_json import JsonError, decode

MOST_FIELDS = 8
_UTF8 = frozenset({"", "utf-8", "utf8", "us-ascii"})


class BodyError(Exception):
    """A body that is not what it should be.

    Attributes:
        status: status code of the answer.
    """

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


class StrictRequest(Request):
    """A request whose JSON is decoded with limits; FastAPI reads bodies through it."""

    async def json(self) -> Any:
        """Decode the body."""
        try:
            check_charset(self)
            return decode(await self.body())
        except JsonError as error:
            raise HTTPException(400, str(error)) from error
        except BodyError as error:
            raise HTTPException(error.status, str(error)) from error


async def read_form(request: Request) -> FormData:
    """Read a form with at most one file; uploads stay in memory.

    Raises:
        BodyError: it is no form, or not in UTF-8.
    """
    kind = check_charset(request)
    try:
        if kind == "multipart/form-data":
            return await _InMemoryParser(request.headers, request.stream(), max_files=1, max_fields=MOST_FIELDS).parse()
        if kind == "application/x-www-form-urlencoded":
            return await FormParser(request.headers, request.stream()).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise BodyError("The form is damaged.") from error
    raise BodyError("A form is expected (multipart/form-data).", 415)


def check_charset(request: Request) -> str:
    """Return the media type of a body, and refuse all encodings of text but UTF-8.

    Raises:
        BodyError: it names another one.
    """
    message = Message()
    message["Content-Type"] = request.headers.get("Content-Type", "").replace("\r", " ").replace("\n", " ")
    charset = message.get_param("charset", "")
    if not isinstance(charset, str) or charset.strip().lower() not in _UTF8:
        raise BodyError("Text is expected in UTF-8; leave 'charset' out.", 415)
    return message.get_content_type()


class _InMemoryParser(MultiPartParser):
    """Never puts an upload on disk."""

    spool_max_size = 1 << 40
