"""Addresses of series on DICOMweb servers. What asks them is `dicomweb.py`, which needs more packages."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sammed3d.errors import VolumeError

SCHEMES = {"dicomweb": "https", "dicomwebs": "https", "dicomweb+http": "http"}
_SERIES = re.compile(r"(?P<root>.*)/studies/(?P<study>[0-9.]{1,64})/series/(?P<series>[0-9.]{1,64})/?")


@dataclass(frozen=True)
class SeriesAddress:
    """Where a series is.

    Attributes:
        root: address of the DICOMweb server: "https://pacs.hospital.example/dicom-web".
        study, series: instance UIDs.
    """

    root: str
    study: str
    series: str


def is_address(text: str) -> bool:
    """Tell whether a text means a series on a DICOMweb server, and no file."""
    return text.partition("://")[0].lower() in SCHEMES


def parse_address(text: str) -> SeriesAddress:
    """Read an address: `dicomweb://SERVER/studies/UID/series/UID`.

    `dicomweb://` means HTTPS, but HTTP for this machine; `dicomweb+http://` HTTP anywhere.

    Raises:
        VolumeError: it is none.
    """
    scheme, _, rest = text.partition("://")
    found = _SERIES.fullmatch(rest)
    if scheme.lower() not in SCHEMES or found is None or "?" in rest or "#" in rest or "@" in rest:
        raise VolumeError(
            f"{text}: is no address of a series. Write dicomweb://SERVER/studies/STUDY-UID/series/SERIES-UID, with the "
            "path of the DICOMweb service after SERVER, and no password in it."
        )
    kind = "http" if scheme.lower() == "dicomweb" and _is_here(found["root"]) else SCHEMES[scheme.lower()]
    return SeriesAddress(checked_root(f"{kind}://{found['root']}"), found["study"], found["series"])


def checked_root(url: str) -> str:
    """Return the address of a DICOMweb server without a slash at its end.

    Raises:
        VolumeError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise VolumeError(f"{url}: is no address of a DICOMweb server. Write https://SERVER/PATH, without a password.")
    return url.rstrip("/")


def _is_here(rest: str) -> bool:
    host = urlsplit(f"//{rest}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
