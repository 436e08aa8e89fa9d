"""What sessions of MONAI Label's clients are opened on: files, archives of DICOM slices, series of a server."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError
from sammed3d.files import dicom_seg
from sammed3d.files.dicom_slices import slices_in_zip
from sammed3d.files.dicomweb import DicomWeb
from sammed3d.files.volume import Volume
from sammed3d.inference.dicom_series import DicomSeries
from sammed3d.inference.session import Session
from sammed3d.server.compat import image_files
from sammed3d.server.compat.image_files import Reserve
from sammed3d.server.compat.leases import Lease, LeaseEndedError, Leases

ZIP = b"PK\x03\x04"
IDLE = 3600.0
"""Seconds after which an unused session ends."""
MOST_LABELS = 255


class NoImageError(VolumeError):
    """A request names no image that this server has or could get."""


@dataclass(eq=False)
class Opened:
    """What a lease of a client holds.

    Attributes:
        session: its objects and clicks.
        series: the DICOM series that its volume is, if it is one.
    """

    session: Session
    series: DicomSeries | None = None


class Volumes:
    """Open volumes, each behind a lease.

    Args:
        leases: where they are kept.
        start: makes a session on a volume, for a user.
        max_bytes: largest size of a volume, in bytes.
        dicomweb: where series are fetched from; None for nowhere.
    """

    def __init__(
        self, leases: Leases, start: Callable[[Volume, str], Session], max_bytes: int, dicomweb: DicomWeb | None
    ) -> None:
        self._leases, self._start, self._max_bytes, self.dicomweb = leases, start, max_bytes, dicomweb
        self._of_series: dict[tuple[str, str], str] = {}

    def open_file(self, user: str, data: bytes) -> Lease:
        """Open an image file, or a ZIP archive of DICOM slices.

        Raises:
            VolumeError: it is none, or too large.
            NoRoomError, NoMemoryError: see `Leases`.
        """

        def read(reserve: Reserve) -> tuple[Volume, DicomSeries | None]:
            if not data.startswith(ZIP):
                return image_files.read(data, self._max_bytes, reserve), None
            series = DicomSeries.of(slices_in_zip(data, self._max_bytes, "the archive", reserve), "the archive")
            return series.volume, series

        return self._open(user, read)

    def open_series(self, user: str, uid: str) -> Lease:
        """Find a user's session on a series, or fetch the series; for one caller at a time.

        Raises:
            NoImageError: no DICOMweb server is configured.
            VolumeError: it has no such series.
            NoRoomError, NoMemoryError: see `Leases`.
        """
        web = self.dicomweb
        if web is None:
            raise NoImageError(
                "There is no image. Upload it with a session first (PUT /session/): this server has no datastore, and "
                "no DICOMweb server is configured (--dicomweb) from which it could fetch a series."
            )

        def fetch(_: Reserve) -> tuple[Volume, DicomSeries | None]:
            series = DicomSeries.of(web.slices(web.study_of(uid), uid))
            return series.volume, series

        try:
            return self._leases.get(self._of_series.get((user, uid), ""), user)
        except LeaseEndedError:
            lease = self._open(user, fetch)
            self._of_series = {k: v for k, v in self._of_series.items() if self._leases.holds(v)}
            self._of_series[user, uid] = lease.token
            return lease

    def store_label(self, opened: Opened, data: bytes, params: dict[str, Any]) -> str:
        """Store a label map beside a series, as a DICOM SEG; returns the SEG's instance UID.

        Args:
            opened: session on the series.
            data: the label map, NIfTI or NRRD, on the grid of the series.
            params: parameters of the request; `label_info` may name the labels.

        Raises:
            VolumeError: it does not lie on the series, or the DICOMweb server refuses it.
        """
        series, web = opened.series, self.dicomweb
        if series is None or web is None:
            raise VolumeError("This image is no DICOM series.")
        label = image_files.read(data, self._max_bytes)
        values = [int(v) for v in np.unique(label.array) if v]
        if not _same_grid(label.grid, series.volume.grid) or len(values) > MOST_LABELS:
            raise VolumeError("The label map does not lie on the voxels of the series. Export it in their geometry.")
        names = _names(params)
        labels = np.zeros(label.array.shape, np.uint8)
        for number, value in enumerate(values, 1):
            labels[label.array == value] = number
        titles = [names.get(value, f"Segment {value}") for value in values]
        made = dicom_seg.segmentation_of_labels("SAMMed3DSegment", titles, labels, series.slices)
        web.store(series.study, made)
        return str(made.SOPInstanceUID)

    def _open(self, user: str, read: Callable[[Reserve], tuple[Volume, DicomSeries | None]]) -> Lease:
        lease = self._leases.claim(user, IDLE)
        try:
            volume, series = read(lambda count: self._leases.take_memory(lease, 2 * count))
            self._leases.take_memory(lease, 2 * volume.array.nbytes)
            lease.state = Opened(self._start(volume, user), series)
        except BaseException:
            self._leases.release(lease.token, user)
            raise
        return lease


def seg_bytes(opened: Opened) -> bytes:
    """Return a session's objects as a DICOM SEG.

    Raises:
        VolumeError: its volume is no DICOM series, or nothing is segmented.
    """
    if opened.series is None:
        raise VolumeError("A DICOM SEG refers to a DICOM series, which this image is not. Ask for .nrrd or .nii.gz.")
    file = io.BytesIO()
    opened.series.segmentation_of(opened.session).save_as(file)
    return file.getvalue()


def _same_grid(one: Grid, other: Grid) -> bool:
    return one.shape == other.shape and np.allclose(one.index_to_world, other.index_to_world, atol=1e-2)


def _names(params: dict[str, Any]) -> dict[int, str]:
    """Names of labels, as OHIF's plugin and Slicer's module send them: a list of {"name": ..., "idx": ...}."""
    info = params.get("label_info")
    found = {}
    for n, entry in enumerate(info if isinstance(info, list) else [], 1):
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and entry["name"]:
            index = entry.get("idx", n)
            found[index if type(index) is int else n] = entry["name"][:64]
    return found
