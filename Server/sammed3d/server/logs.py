"""Log lines of the server, for people or as JSON. They hold what `Guard` puts in, never what clients sent."""

from __future__ import annotations

import json
import logging
import warnings
from datetime import UTC, datetime
from typing import Any, Literal


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        line |= fields if fields is not None else {"message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(kind: Literal["text", "json"]) -> None:
    """Write log lines of the server, and what is warned of, to standard error."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if kind == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").addFilter(_is_true_here)
    warnings.showwarning = _warn


def _is_true_here(record: logging.LogRecord) -> bool:
    """Leave out where uvicorn says that it listens: it knows of no TLS, and `serve` has said it.

    So is what it would have installed where a stranger asks for a WebSocket, which nothing here speaks.
    """
    return not str(record.msg).startswith(("Uvicorn running on", "No supported WebSocket library"))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    logging.getLogger("sammed3d.server").warning("%s", message)
