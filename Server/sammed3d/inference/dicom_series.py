"""A DICOM series as the volume of a session, and the session's objects back as a DICOM SEG that refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sammed3d.files import dicom_seg
from sammed3d.files.dicom_slices import volume_of
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session

if TYPE_CHECKING:
    import pydicom


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A series in memory.

    Attributes:
        volume: its voxels.
        slices: its headers, along the volume's K axis; their pixels are gone.
    """

    volume: Volume
    slices: tuple[pydicom.Dataset, ...]

    @classmethod
    def of(cls, slices: Sequence[pydicom.Dataset], name: str = "the series") -> DicomSeries:
        """Make a volume of slices, which lose their pixels.

        Raises:
            VolumeError: they make none.
        """
        volume = volume_of(slices, name)
        for each in slices:
            del each.PixelData
        return cls(volume, tuple(dicom_seg.in_order(slices, volume.grid, name)))

    @property
    def study(self) -> str:
        """Instance UID of its study."""
        return str(self.slices[0].StudyInstanceUID)

    def segmentation_of(self, session: Session, title: str = "SAMMed3DSegment") -> pydicom.Dataset:
        """Make a DICOM SEG of the objects of a session that are not empty.

        Raises:
            VolumeError: all are empty, or highdicom is missing.
        """
        found = [o for o in session.objects if o.mask is not None] or session.objects
        masks = [session.mask(o.name) for o in found]
        return dicom_seg.segmentation(title, [o.name for o in found], masks, self.slices)
