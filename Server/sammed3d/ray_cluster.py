"""A Ray cluster, joined and left again."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from sammed3d.errors import ModelError

REACHED = 10.0
"""Seconds in which a cluster has to answer."""
MISSING = 'Ray is not installed: pip install "sammed3d[ray]"'


@contextlib.contextmanager
def joined(address: str) -> Iterator[Any]:
    """Join a cluster and yield the package `ray`; leave it in the end.

    Args:
        address: HOST:PORT of its head, ray://HOST:PORT, or "auto" for the cluster of this machine.

    Raises:
        ModelError: Ray is not installed, or nobody answers at the address (Ray itself would wait for minutes).
    """
    try:
        import ray  # noqa: PLC0415 - the extra [ray]
    except ImportError as error:
        raise ModelError(MISSING) from error
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED).close()
        ray.init(address, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, OverflowError, ray.exceptions.RayError) as error:
        raise ModelError(f"{address}: no Ray cluster answers there. Start one: ray start --head") from error
    try:
        yield ray
    finally:
        ray.shutdown()
