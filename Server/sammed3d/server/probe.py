"""Whether a server answers that runs with the settings there are: for a container's health check."""

from __future__ import annotations

import http.client
import ssl

from sammed3d.errors import ModelError
from sammed3d.server.addresses import EVERYWHERE
from sammed3d.server.settings import ServerSettings
from sammed3d.wire.messages import LIVE

SECONDS = 4.0


def probe(settings: ServerSettings) -> None:
    """Ask the server on this computer that has these settings whether it lives.

    Raises:
        ModelError: it does not answer, or its port is not known.
    """
    if not settings.port:
        raise ModelError("A server with port 0 chose one itself, so it cannot be asked. Name its port with --port.")
    host = settings.host if settings.host not in EVERYWHERE else "::1" if ":" in settings.host else "127.0.0.1"
    try:
        connection = _connection(settings, host)
        try:
            connection.request("GET", LIVE)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ModelError(f"No server answers at port {settings.port} of {host} ({reason}).") from error
    if status != 200:
        raise ModelError(f"What answers at port {settings.port} of {host} is no server of these settings ({status}).")


def _connection(settings: ServerSettings, host: str) -> http.client.HTTPConnection:
    if settings.tls_cert is None:
        return http.client.HTTPConnection(host, settings.port, timeout=SECONDS)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its name is the one that others call it by
    return http.client.HTTPSConnection(host, settings.port, timeout=SECONDS, context=context)
