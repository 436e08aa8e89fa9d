"""Masks as a DICOM Segmentation object that refers to the slices of their volume. Needs highdicom."""

from __future__ import annotations

import copy
import re
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
NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID")
"""What a DICOM SEG says of its series, and nobody could make up."""
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What it has to say, too, though nothing may be known: programs that take names out of series remove them."""
UNICODE = "ISO_IR 192"
"""The character set of what is written: names of segments need not be in that of the series."""


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
    if not masks:
        return _segmentation(title, names, np.zeros(0, np.uint8), slices)
    labels = _labels(masks)
    if labels is not None:
        return segmentation_of_labels(title, names, labels, slices)
    side_by_side = np.empty((len(masks), *masks[0].shape[::-1]), np.uint8)  # each slice in one piece: it is read alone
    for mine, mask in zip(side_by_side, masks, strict=True):
        mine[...] = mask.transpose(2, 1, 0)
    return _segmentation(title, names, np.moveaxis(side_by_side, 0, -1), slices)


def segmentation_of_labels(
    title: str, names: Sequence[str], labels: npt.NDArray[np.uint8 | np.uint16], slices: Sequence[pydicom.Dataset]
) -> pydicom.Dataset:
    """Make a DICOM Segmentation of segments that do not overlap, in the memory of one.

    Args:
        title: series description.
        names: the segments' names.
        labels: (I, J, K) uint8 or uint16, n in the nth segment and 0 in none; axes as in `segmentation`.
        slices: headers of the volume's slices, in the order of K.

    Raises:
        VolumeError: highdicom is not there, or nothing is segmented.
    """
    return _segmentation(title, names, labels.transpose(2, 1, 0), slices)


def _labels(masks: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8 | np.uint16] | None:
    """Return a label map of masks; None where they overlap. It is written many times faster than masks side by side."""
    labels = np.zeros(masks[0].shape, np.uint8 if len(masks) < 256 else np.uint16)
    for number, mask in enumerate(masks, 1):
        planes = np.flatnonzero(mask.any(axis=(0, 1)))
        if not len(planes):
            continue
        part = np.s_[:, :, planes[0] : planes[-1] + 1]
        inside, there = mask[part] != 0, labels[part]
        if there[inside].any():
            return None
        there[inside] = number
    return labels


def _complete(source: pydicom.Dataset, title: str) -> pydicom.Dataset:
    """Return a header whose texts will be written in Unicode, whatever character set the series has, with all it needs.

    Raises:
        VolumeError: something is missing that cannot be empty.
    """
    for keyword in NEEDED:
        if not source.get(keyword):
            raise VolumeError(
                f"{title}: the DICOM slices have no {keyword}, without which no DICOM SEG can refer to them. Export "
                "the series again, or save the result as .seg.nrrd."
            )
    header = copy.deepcopy(source)
    header.decode()
    for keyword in MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, None)
    header.SpecificCharacterSet = UNICODE
    return header


def _line(text: str) -> str:
    """Return a name as DICOM allows it: one line of 64 characters at most, without backslashes."""
    return re.sub(r"[\\\x00-\x1f\x7f]+", " ", text).strip()[:64]


def _segmentation(
    title: str, names: Sequence[str], pixels: npt.NDArray[np.uint8 | np.uint16], slices: Sequence[pydicom.Dataset]
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
            segment_label=_line(name) or f"Segment {number}",
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
        source_images=[_complete(slices[0], title), *slices[1:]],  # it takes the patient from the first
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
        series_description=_line(title),
    )
    made.SpecificCharacterSet = UNICODE  # before 0.28, highdicom says none, and "?" stands for letters
    return made
