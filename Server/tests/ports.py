"""Ports for servers that run in processes of their own."""

from __future__ import annotations

import contextlib
import random
import socket

BELOW_OUTGOING = range(20_000, 32_000)
"""Between the ports of Ray's workers and those that Linux gives to outgoing connections (from 32768).

One of the latter may be taken by another test's connection before the server that it was found for listens."""


def unused_port() -> int:
    """Return a port of this machine that nobody listens on."""
    while True:
        port = random.choice(BELOW_OUTGOING)  # noqa: S311 - not a secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
