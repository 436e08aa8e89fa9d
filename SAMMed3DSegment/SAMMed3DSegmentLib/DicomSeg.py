"""Segments as a DICOM Segmentation object, for volumes that came from DICOM. Needs highdicom, as Slicer 5.12 has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer

from sammed3d import VolumeError
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment

UIDS_ATTRIBUTE = "DICOM.instanceUIDs"


def write(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentIds: Sequence[str],
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
) -> Path:
    """Write a DICOM SEG that refers to the slices of the volume.

    Raises:
        VolumeError: highdicom is not there, the volume did not come from DICOM, or its files are gone.
    """
    try:
        import highdicom  # noqa: F401, PLC0415 - bundled with Slicer 5.12
    except ImportError as error:
        raise VolumeError(
            "DICOM SEG needs the package highdicom, which Slicer 5.12 and later bundle. Export to .seg.nrrd here."
        ) from error
    slices = _slices(volumeNode)
    masks = []
    for segmentId in segmentIds:
        mask = maskOfSegment(segmentationNode, segmentId, volumeNode)
        shape = volumeNode.GetImageData().GetDimensions()
        masks.append(np.zeros(shape, np.uint8) if mask is None else mask.full(shape))
    file = folder / f"{segmentationNode.GetName()}.dcm"
    _dataset(segmentationNode, segmentIds, slices, masks).save_as(file)
    return file


def _slices(volumeNode) -> list:
    """Read the headers of the volume's slices, in the order of its K axis."""
    import pydicom  # noqa: PLC0415 - bundled with Slicer

    uids = (volumeNode.GetAttribute(UIDS_ATTRIBUTE) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not files or not all(files):
        raise VolumeError(
            f"{volumeNode.GetName()}: this volume was not loaded from the DICOM database, so a DICOM SEG has nothing "
            "to refer to. Load it with the DICOM module, or export to .seg.nrrd."
        )
    slices = [pydicom.dcmread(file) for file in files]
    if len(slices) != volumeNode.GetImageData().GetDimensions()[2]:
        raise VolumeError(f"{volumeNode.GetName()}: {len(slices)} DICOM slices do not match its voxels.")
    origin, normal = np.array(volumeNode.GetOrigin()) * (-1, -1, 1), _normal(volumeNode)
    along = [float(np.dot(np.array(s.ImagePositionPatient, float) - origin, normal)) for s in slices]
    return [slices[index] for index in np.argsort(along)]


def _normal(volumeNode) -> np.ndarray:
    """Direction of the K axis in LPS."""
    directions = [[0.0] * 3 for _ in range(3)]
    volumeNode.GetIJKToRASDirections(directions)
    return np.array([row[2] for row in directions]) * (-1, -1, 1)


def _dataset(segmentationNode, segmentIds: Sequence[str], slices: list, masks: list[np.ndarray]):
    import highdicom  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415

    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=segmentationNode.GetSegmentation().GetSegment(segmentId).GetName(),
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name="SAMMed3DSegment", family=codes.DCM.ArtificialIntelligence, version="0.1.0"
            ),
        )
        for number, segmentId in enumerate(segmentIds, 1)
    ]
    # (I, J, K) to (slices, rows, columns, segments): rows are J, columns are I, as DICOM readers load them.
    frames = np.stack([mask.transpose(2, 1, 0) for mask in masks], axis=-1)
    return highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=300,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="SAMMed3DSegment",
        manufacturer_model_name="SAMMed3DSegment",
        software_versions="0.1.0",
        device_serial_number="0",
        series_description=segmentationNode.GetName(),
    )
