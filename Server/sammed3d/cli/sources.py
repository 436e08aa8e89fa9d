"""What commands read: files, folders, and series of a DICOMweb server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sammed3d.errors import VolumeError
from sammed3d.files.dicomweb_address import is_address, parse_address
from sammed3d.files.volume import Volume
from sammed3d.inference.dicom_series import DicomSeries
from sammed3d.inference.session import Session

if TYPE_CHECKING:
    from sammed3d.files.dicomweb import DicomWeb

AUTHORIZATION = "SAMMED3D_DICOMWEB_AUTHORIZATION"
"""Variable of the environment: what the header Authorization says to the DICOMweb server."""


@dataclass(frozen=True, eq=False)
class Fetched:
    """A series that was fetched, and where from."""

    web: DicomWeb
    series: DicomSeries

    def store(self, session: Session) -> None:
        """Store a session's objects beside the series.

        Raises:
            VolumeError: there are none, or the server refuses them.
        """
        self.web.store(self.series.study, self.series.segmentation_of(session))


def as_path(source: str) -> Path | None:
    """Return the file or folder that a text names; None for a series on a server."""
    return None if is_address(source) else Path(source)


def check_store(source: str, store: bool) -> None:
    """Refuse to store a result on a DICOMweb server that was not read from.

    Raises:
        VolumeError: says so.
    """
    if store and not is_address(source):
        raise VolumeError("--store sends the result to the DICOMweb server of the volume; this one is a file.")


def read_source(source: str, series: int | None, ca: Path | None, proxies: bool) -> tuple[Volume, Fetched | None]:
    """Read a volume, and tell where from, if it is from a DICOMweb server.

    Raises:
        VolumeError: it cannot be read.
    """
    if not is_address(source):
        return Volume.read(source, series), None
    from sammed3d.files.dicomweb import DicomWeb  # noqa: PLC0415 - requests, only where it is used

    address = parse_address(source)
    web = DicomWeb(address.root, os.environ.get(AUTHORIZATION, ""), True if ca is None else str(ca), proxies)
    series_there = DicomSeries.of(web.slices(address.study, address.series))
    return series_there.volume, Fetched(web, series_there)
