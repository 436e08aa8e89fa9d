"""Where the server may listen: asked before models are loaded, so that a mistake is known at once."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
import ssl
import stat
from pathlib import Path

from sammed3d.errors import ModelError
from sammed3d.wire.loopback import bare

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to know them
"""Addresses that stand for all of this computer."""


def compared(host: str) -> str:
    """Return a host, with a port or without, in the one way of writing it in which hosts are compared.

    Names are in small letters, without the dot that may end them; IPv6 is in brackets, and as short as it can be.
    """
    name = re.sub(r":\d*$", "", host) if host.count(":") == 1 or "]" in host else host
    try:
        return f"[{ipaddress.IPv6Address(bare(name)).compressed}]"
    except ValueError:
        return name.lower().removesuffix(".")


def host_alone(host: str) -> str:
    """Return the name of a host as it is; raises ValueError where it is a whole address."""
    if re.search(r"[/?#@\s*]", host):
        raise ValueError(f"{host!r} is no host name: write the name alone, as in gpu.hospital.example")
    return host


def origin_of(page: str) -> str:
    """Return the origin of web pages as browsers say it; raises ValueError where it is none."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^/?#@\s*]+)/?", page.strip().lower())
    if found is None:
        raise ValueError(
            f"{page!r} is no origin of pages: write scheme, host and port alone, as in https://ohif.example"
        )
    scheme, place = found.groups()
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return f"{scheme}://{place.removesuffix(default) if default else place}"


def listening_socket(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens at all addresses of this computer, IPv4 and IPv6, for "::"; None for other hosts.

    What listens at one address, or at the addresses of a name, is left to who serves: there, "::" means IPv6 alone.
    """
    if host != "::" or not socket.has_dualstack_ipv6():
        return None
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)


def check_free(host: str, port: int, prefix: str = "") -> None:
    """Look whether this process could listen at an address now.

    Args:
        host: an address of this computer, or a name of one.
        port: port of TCP.
        prefix: what the options of the command line begin with that name them: --prefix-host and --prefix-port.

    Raises:
        ModelError: it could not; says why, and what to do about it.
    """
    error = _why_not(host, port)
    if error is None:
        return
    dashes = f"--{prefix}-" if prefix else "--"
    if error.errno == errno.EADDRINUSE:
        why, remedy = "another program has it", f"Choose another one with {dashes}port, or stop that program"
    elif error.errno == errno.EACCES:
        why, remedy = "the system gives this user none below 1024", f"Choose a larger one with {dashes}port"
    else:
        why, remedy = _reason(error), f"Name an address of this computer with {dashes}host"
    raise ModelError(f"Port {port} of {host} cannot be had: {why}. {remedy}.") from error


def some_port(host: str, port: int) -> int:
    """Return a port, or where it is 0 one of a host that nobody has now."""
    if port:
        return port
    for family, _, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        with contextlib.suppress(OSError), socket.create_server(address[:2], family=family) as free:
            return int(free.getsockname()[1])
    return port


def check_admin(host: str, port: int, admin_host: str, admin_port: int) -> None:
    """Look whether metrics could be shown at an address beside the server's; nothing where their port is 0.

    Raises:
        ModelError: they could not, or both would be one address.
    """
    if not admin_port:
        return
    if admin_port == port and (admin_host == host or {host, admin_host} & EVERYWHERE):
        raise ModelError(f"Port {port} cannot be that of the server and of its metrics. Choose another --admin-port.")
    check_free(admin_host, admin_port, "admin")


def _why_not(host: str, port: int) -> OSError | None:
    """Try to listen at all addresses of a host; returns what went wrong.

    A name may stand for addresses of a kind that this computer does not have, such as ::1 for localhost without IPv6:
    the others are enough then, as they are for the server.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    absent = []
    if host == "::":
        try:
            both = listening_socket(host, port)
        except OSError as error:
            return error
        if both is not None:
            both.close()
            return None
    for family, _, _, _, address in found:
        try:
            socket.create_server(address[:2], family=family).close()
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return error
            absent.append(error)
    return absent[0] if len(absent) == len(found) else None


def check_tls(certificate: Path | None, key: Path | None) -> None:
    """Look whether connections could be encrypted with a certificate and its key, where they are given.

    Raises:
        ModelError: one of two is missing, cannot be read, or they do not belong together.
    """
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise ModelError("TLS needs both a certificate and its key: --tls-cert FILE --tls-key FILE.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_password)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{certificate} and {key} are no certificate with its key: {_reason(error)}. Both are files of PEM that "
            "this user may read; the key has no password."
        ) from error


def is_for_all(file: Path) -> bool:
    """Tell whether every user of this computer may read a file; never on Windows, whose rights are others."""
    return os.name == "posix" and bool(file.stat().st_mode & stat.S_IROTH)


def _no_password() -> str:
    """Keep OpenSSL from asking for one at the terminal."""
    return ""


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "cannot be read").replace("_", " ").lower()
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return str(error)
