"""Masks as a DICOM Segmentation object that refers to the slices of their volume. Needs highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import LPS_TO_RAS, Grid
from sammed3d.errors import VolumeError

if TYPE_CHECKING:
    import pydicom

MISSING = 'DICOM SEG needs the package highdicom: pip install "sammed3d[dicomweb]"'
TOLERANCE = 0.05
"""Voxels by which a slice may lie beside its place in the grid."""
VERSION = "0.1.0"


def in_order(slices: Sequence[pydicom.Dataset], grid: Grid, name: str) -> list[pydicom.Dataset]:
    """Sort the slices of a volume along its K axis.

    Args:
        slices: their headers.
        grid: grid of the volume that was read from them.
        name: the volume's name, for messages.

    Raises:
        VolumeError: they are not the volume's.
    """
    world_to_index = np.linalg.inv(grid.index_to_world)
    places = {}
    for each in slices:
        position = LPS_TO_RAS @ np.array([*map(float, each.ImagePositionPatient), 1.0])
        i, j, k = (world_to_index @ position)[:3]
        if max(abs(i), abs(j), abs(k - round(k))) > TOLERANCE:
            raise VolumeError(f"{name}: a DICOM slice does not lie where the volume says.")
        places[round(k)] = each
    if sorted(places) != list(range(grid.shape[2])) or len(slices) != grid.shape[2]:
        raise VolumeError(f"{name}: {len(slices)} DICOM slices do not match its {grid.shape[2]}.")
    return [places[k] for k in range(grid.shape[2])]


def segmentation(
    title: str, names: Sequence[str], masks: Sequence[npt.NDArray[np.uint8]], slices: Sequence[pydicom.Dataset]
) -> pydicom.Dataset:
    """Make a DICOM Segmentation.

    Args:
        title: series description.
        names: the segments' names.
        masks: (I, J, K) uint8 of each segment, 1 inside; I are columns, J rows, as DICOM readers load them.
        slices: headers of the volume's slices, in the order of K.

    Raises:
        VolumeError: highdicom is not there, or nothing is segmented.
    """
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks], axis=-1) if masks else np.zeros(0, np.uint8)
    return _segmentation(title, names, pixels, slices)


def segmentation_of_labels(
    title: str, names: Sequence[str], labels: npt.NDArray[np.uint8], slices: Sequence[pydicom.Dataset]
) -> pydicom.Dataset:
    """Make a DICOM Segmentation of segments that do not overlap, in the memory of one.

    Args:
        title: series description.
        names: the segments' names.
        labels: (I, J, K) uint8, n in the nth segment and 0 in none; axes as in `segmentation`.
        slices: headers of the volume's slices, in the order of K.

    Raises:
        VolumeError: highdicom is not there, or nothing is segmented.
    """
    return _segmentation(title, names, labels.transpose(2, 1, 0), slices)


def _segmentation(
    title: str, names: Sequence[str], pixels: npt.NDArray[np.uint8], slices: Sequence[pydicom.Dataset]
) -> pydicom.Dataset:
    try:
        import highdicom  # noqa: PLC0415 - the extra [dicomweb]; bundled with Slicer 5.12
        from pydicom.sr.codedict import codes  # noqa: PLC0415
    except ImportError as error:
        raise VolumeError(MISSING) from error
    if not pixels.any():
        raise VolumeError(f"{title}: nothing is segmented, and a DICOM SEG has to hold something.")
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name="SAMMed3DSegment", family=codes.DCM.ArtificialIntelligence, version=VERSION
            ),
        )
        for number, name in enumerate(names, 1)
    ]
    made: pydicom.Dataset = highdicom.seg.Segmentation(
        source_images=list(slices),
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=300,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="SAMMed3DSegment",
        manufacturer_model_name="SAMMed3DSegment",
        software_versions=VERSION,
        device_serial_number="0",
        series_description=title[:64],
    )
    return made
