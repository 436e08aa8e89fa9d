"""Where the metrics are read: at an address of their own; beyond this computer with a key, and encrypted."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from sammed3d.errors import ModelError
from sammed3d.server.http.keys import Keys
from sammed3d.server.settings import ServerSettings
from sammed3d.wire.loopback import is_loopback

SECONDS = 10.0
"""Silence after which a connection is closed."""
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def check_metrics(settings: ServerSettings) -> None:
    """Refuse to show metrics to a network without keys and encryption.

    Raises:
        ModelError: says what is missing.
    """
    if not settings.admin_port or is_loopback(settings.admin_host):
        return
    if settings.keys is None:
        raise ModelError(
            f"Metrics on {settings.admin_host} can be read by others: a file of keys is needed (--keys FILE; make one "
            "with sammed3d serve-key). Or leave --admin-host out."
        )
    if settings.tls_cert is None and not settings.insecure_http:
        raise ModelError(
            f"Metrics on {settings.admin_host} without encryption would send a key in the clear. Give --tls-cert and "
            "--tls-key, or --insecure-http where a reverse proxy encrypts."
        )


def serve_metrics(registry: CollectorRegistry, settings: ServerSettings) -> WSGIServer:
    """Answer `GET /metrics` with these numbers at the address that the settings name, in a thread.

    Raises:
        ModelError: a reason of `check_metrics`, or the address cannot be had.
    """
    check_metrics(settings)
    host, port = settings.admin_host, settings.admin_port
    page: Wsgi = make_wsgi_app(registry)
    outside = not is_loopback(host)
    if outside and settings.keys is not None:
        page = _with_key(page, Keys.read(settings.keys))
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        server: WSGIServer = make_server(
            host, port, page, type("Server", (_Server,), {"address_family": family}), _Handler
        )
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(
            f"Port {port} of {host} cannot be had for metrics ({reason}). Choose another --admin-port."
        ) from error
    if outside and settings.tls_cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        # without a handshake while it accepts, which who keeps silent would hold up
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _with_key(page: Wsgi, keys: Keys) -> Wsgi:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        scheme, _, key = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and keys.user_of(key.strip()) is not None:
            return page(environ, start)
        start("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")])
        return [b"A valid key is needed (Authorization: Bearer ...).\n"]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a connection that broke, or spoke no TLS."""


class _Handler(WSGIRequestHandler):
    timeout = SECONDS

    def log_message(self, *_: Any) -> None:
        """Write nothing down: who reads metrics does so all the time."""
