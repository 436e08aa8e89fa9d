"""JSON from strangers: the one place that decodes it, for all protocols of the server and for its clients."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from sammed3d.errors import SAMMed3DError

MOST_BYTES = 1 << 20
MOST_DIGITS = 18
"""Of a whole number: what 64 bits hold."""
DEEPEST = 16


class JsonError(SAMMed3DError):
    """Text that is not the JSON that was expected; says in what way."""


def decode(text: bytes | bytearray | memoryview | str, most_bytes: int = MOST_BYTES) -> Any:
    """Decode JSON.

    Args:
        text: UTF-8 bytes, or text.
        most_bytes: the bound of its length.

    Raises:
        JsonError: it is too long or nested too deeply, is not UTF-8 or not JSON, or holds a number that is not finite
            or has more than 18 digits, or half of a surrogate pair.
    """
    if len(text) > most_bytes:
        raise JsonError(f"The JSON is longer than {most_bytes} bytes.")
    try:
        plain = text if isinstance(text, str) else bytes(text).decode()
        found = json.loads(plain, parse_int=_whole, parse_float=_finite, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise JsonError("The JSON is not UTF-8.") from error
    except RecursionError as error:
        raise JsonError(f"The JSON is nested more than {DEEPEST} times.") from error
    except json.JSONDecodeError as error:
        raise JsonError("This is no JSON.") from error
    _check(found)
    return found


def decode_object(text: bytes | bytearray | memoryview | str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Decode a JSON object; see `decode`.

    Raises:
        JsonError: it is no object, or a reason of `loads`.
    """
    found = decode(text, most_bytes)
    if not isinstance(found, dict):
        raise JsonError("The JSON is no object.")
    return found


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise JsonError(f"The JSON holds a number of more than {MOST_DIGITS} digits.")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise JsonError("The JSON holds a number that is not finite.")
    return number


def _constant(_: str) -> NoReturn:
    raise JsonError("The JSON holds a number that is not finite.")


def _check(found: Any) -> None:
    """Refuse what is nested too deeply, and text that cannot be written down again."""
    level = [found]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += [*each.keys(), *each.values()]
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str) and not each.isascii() and any("\ud800" <= c <= "\udfff" for c in each):
                raise JsonError("The JSON holds half of a surrogate pair.")
        if not below:
            return
        level = below
    raise JsonError(f"The JSON is nested more than {DEEPEST} times.")
