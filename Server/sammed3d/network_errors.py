"""What went wrong on the way to a server, in words: certificates, encryption, names, ports, proxies."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, ReadTimeoutError


@dataclass(frozen=True)
class Remedies:
    """Where users say what certificates and proxies are to be used.

    Attributes:
        authority: where the file of a hospital's authority is named.
        no_proxy: how proxies are passed by.
    """

    authority: str
    no_proxy: str


OWN = Remedies("settings of the module, or --ca", "--no-proxy, or the settings of the module")
ENVIRONMENT = Remedies("REQUESTS_CA_BUNDLE in the environment", "NO_PROXY in the environment")
UNTRUSTED = "its certificate cannot be trusted"
_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = (62, 64)
_UNKNOWN_SIGNER = (2, 18, 19, 20, 21)
"""OpenSSL's numbers of what it finds wrong with certificates (X509_V_ERR_...)."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")
_PERHAPS_NO_TLS = (*_NO_TLS, "RECORD_LAYER_FAILURE")
"""What newer versions of OpenSSL say of it, and of connections that break."""
_NO_CERTIFICATES = ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE")
_OTHER_TLS = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "HANDSHAKE_FAILURE", "NO_SHARED_CIPHER")


def names_a_server(url: str) -> bool:
    """Tell whether an address is one for HTTP, with a host."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:  # an IPv6 address that does not end, a port that is no number, a name with an empty part
        return False


def fits_a_header(text: str) -> bool:
    """Tell whether a key, or what else a header of HTTP is to say, can be sent."""
    return text.isprintable() and all(ord(character) < 256 for character in text)


def wrong_with_certificates(file: str) -> str:
    """Say what is wrong with a file of certificates that is named, which else would look like a fault of the server's.

    Returns:
        "" where it holds some.
    """
    if not Path(file).is_file():
        return f"{file}: there is no such file of certificates."
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:  # which OpenSSL's errors are, too
        return (
            f"{file}: holds no certificates that can be read. PEM is expected, text that begins with -----BEGIN "
            "CERTIFICATE-----; openssl x509 -inform der -in FILE -out FILE.pem makes it of Windows' binary files."
        )
    return ""


def is_final(error: Exception) -> bool:
    """Tell whether another try would end in the same way.

    So it is where who answers cannot be trusted or does not encrypt, or this computer is set to use what is not there.
    Not so where a connection breaks while encryption is agreed on: the server may be starting again behind a proxy.
    """
    causes = list(_causes(error))
    stays = any(isinstance(each, ssl.SSLCertVerificationError) or _says(each, _NO_TLS) for each in causes)
    return stays or bool(_of_this_computer(error, causes, OWN))


def in_words(error: Exception, url: str, remedies: Remedies = OWN) -> str:
    """Say what went wrong with a request, and what to do about it.

    Args:
        error: of `requests`, or of the system.
        url: the server's address.
        remedies: what users can do about certificates and proxies.
    """
    causes, parts = list(_causes(error)), urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if own := _of_this_computer(error, causes, remedies):
        return f"cannot be reached: {own}"
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            return _of_certificate(each, host, remedies)
        if _says(each, _PERHAPS_NO_TLS):
            return (
                f"what answers at port {port} does not encrypt. Look whether port and address are right; one that "
                "begins with http:// sends keys and images in the clear."
            )
        if _says(each, _OTHER_TLS):
            return (
                "cannot be reached: the two agree on no way to encrypt. The server, or a proxy, needs TLS 1.2 or later."
            )
    return f"cannot be reached: {_of_connection(error, causes, parts.scheme, host, port, remedies)}"


def _of_this_computer(error: Exception, causes: list[BaseException], remedies: Remedies) -> str:
    """Say what is wrong with the environment of this process; "" where nothing is known to be."""
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        return (
            "the proxy that this computer is set to use has no address of one for HTTP (HTTPS_PROXY, HTTP_PROXY or "
            "ALL_PROXY in the environment, or the system's settings). Correct it, or pass it by "
            f"({remedies.no_proxy})."
        )
    of_file = not isinstance(error, requests.RequestException) and "CA certificate bundle" in str(error)
    if of_file or any(_says(each, _NO_CERTIFICATES) for each in causes):
        return (
            "the file of certificates that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names in the environment is not there, "
            f"or holds none. Correct it, or name your hospital's authority ({remedies.authority})."
        )
    return ""


def _of_certificate(error: ssl.SSLCertVerificationError, host: str, remedies: Remedies) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"{UNTRUSTED}: it has expired. The administrator has to renew it; or this computer's date is wrong."
    if code == _NOT_YET:
        return f"{UNTRUSTED}: it is not valid yet. Look at this computer's date, then ask the administrator."
    if code in _OTHER_NAME:
        return (
            f"{UNTRUSTED}: it is not for the name {host}. Enter the name that the certificate is for, or ask the "
            "administrator for one with this name."
        )
    if code in _UNKNOWN_SIGNER:
        return (
            f"{UNTRUSTED}: this computer does not know who signed it. If your hospital has its own authority, name the "
            f"file of its certificate ({remedies.authority})."
        )
    return f"{UNTRUSTED}: {error.verify_message}. Show this to the administrator."


def _of_connection(
    error: Exception, causes: list[BaseException], scheme: str, host: str, port: int, remedies: Remedies
) -> str:
    """Say why there is no connection, or no longer."""
    if isinstance(error, requests.exceptions.ProxyError):
        why = next((str(each) for each in causes if "unnel connection failed" in str(each)), "")
        status = "".join(filter(str.isdigit, why.partition("failed: ")[2][:3]))
        answered = f"refuses to connect (HTTP {status})" if status else "does not answer"
        return (
            f"the proxy that this computer is set to use {answered}. Pass it by ({remedies.no_proxy}), or ask its "
            "administrator."
        )
    kinds = {type(each) for each in causes}
    if any(issubclass(kind, socket.gaierror) for kind in kinds):
        return f"the name {host} is not known in this network. Check the address, and the network (VPN?)."
    if any(issubclass(kind, ConnectionRefusedError) for kind in kinds):
        return f"nothing listens at port {port} of {host}. Is the server running, the port right?"
    if any(issubclass(kind, ConnectTimeoutError) for kind in kinds):
        return f"{host} does not answer at port {port}. Is the computer on, does a firewall let the port through?"
    if any(issubclass(kind, ReadTimeoutError | TimeoutError) for kind in kinds):
        return "it takes connections, but says nothing. Is a proxy in between that keeps answers back?"
    if scheme == "http" and any(issubclass(kind, http.client.BadStatusLine | ConnectionResetError) for kind in kinds):
        return "it ends connections without an answer. If it encrypts, its address begins with https://."
    return f"the connection broke ({type(error).__name__}). Check address, network and server."


def _says(error: BaseException, reasons: tuple[str, ...]) -> bool:
    reason = (getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None) or ""
    return any(word in reason for word in reasons)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came of, which `requests` and `urllib3` hold in several ways."""
    seen: set[int] = set()
    ahead: list[object] = [error]
    while ahead:
        each = ahead.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        ahead += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
