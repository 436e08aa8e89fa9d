"""A series of a DICOMweb server as the volume of a session, and the session's objects back as a DICOM SEG beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sammed3d.files import dicom_seg
from sammed3d.files.dicom_slices import volume_of
from sammed3d.files.dicomweb import DicomWeb
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session

if TYPE_CHECKING:
    import pydicom


@dataclass(frozen=True, eq=False)
class WebSeries:
    """A series that was fetched.

    Attributes:
        web: where from.
        study: its study's instance UID.
        volume: its voxels.
        slices: its headers, along the volume's K axis; their pixels are gone.
    """

    web: DicomWeb
    study: str
    volume: Volume
    slices: tuple[pydicom.Dataset, ...]

    @classmethod
    def fetch(cls, web: DicomWeb, study: str, series: str, name: str = "the series") -> WebSeries:
        """Fetch a series.

        Raises:
            VolumeError: it cannot be fetched, or is no volume.
        """
        slices = web.slices(study, series)
        volume = volume_of(slices, name)
        for each in slices:
            del each.PixelData
        return cls(web, study, volume, tuple(dicom_seg.in_order(slices, volume.grid, name)))

    def segmentation_of(self, session: Session, title: str = "SAMMed3DSegment") -> pydicom.Dataset:
        """Make a DICOM SEG of the objects of a session that are not empty.

        Raises:
            VolumeError: all are empty, or highdicom is missing.
        """
        found = [o for o in session.objects if o.mask is not None] or session.objects
        masks = [session.mask(o.name) for o in found]
        return dicom_seg.segmentation(title, [o.name for o in found], masks, self.slices)

    def store(self, session: Session, title: str = "SAMMed3DSegment") -> str:
        """Store a session's objects beside the series; returns the SEG's instance UID.

        Raises:
            VolumeError: see `segmentation_of`; the server refuses it.
        """
        made = self.segmentation_of(session, title)
        self.web.store(self.study, made)
        return str(made.SOPInstanceUID)
