"""Segments as a DICOM Segmentation object, for volumes that came from DICOM. Needs highdicom, as Slicer 5.12 has it.

In two parts, since reading the headers of a thousand slices takes its time: `gather` takes from the scene what is
needed, on the main thread; `write` touches no scene any more and may run in the background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer

from sammed3d import Cancellation, VolumeError
from sammed3d.core.mask import BoxedMask
from sammed3d.files import dicom_seg
from SAMMed3DSegmentLib.FileNames import fileNameFor
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment

UIDS_ATTRIBUTE = "DICOM.instanceUIDs"


@dataclass(frozen=True, eq=False)
class Segments:
    """What the scene says.

    Attributes:
        title: the segmentation's name.
        names: the segments' names.
        masks: a mask for each segment, on the volume's grid; None for an empty one.
        files: DICOM files of the volume's slices, in any order.
        volumeName: for messages.
        shape: the volume's (I, J, K).
        origin: centre of its first voxel, LPS, mm.
        normal: direction of its K axis, LPS.
        spacing: from one slice to the next, mm.
    """

    title: str
    names: tuple[str, ...]
    masks: tuple[BoxedMask | None, ...]
    files: tuple[str, ...]
    volumeName: str
    shape: tuple[int, int, int]
    origin: np.ndarray
    normal: np.ndarray
    spacing: float


def gather(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentIds: Sequence[str],
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> Segments:
    """Take from the scene what a DICOM SEG needs.

    Raises:
        VolumeError: the volume did not come from DICOM, or its files are gone.
    """
    uids = (volumeNode.GetAttribute(UIDS_ATTRIBUTE) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not files or not all(files):
        raise VolumeError(
            f"{volumeNode.GetName()}: this volume was not loaded from the DICOM database, so a DICOM SEG has nothing "
            "to refer to. Load it with the DICOM module, or export to .seg.nrrd."
        )
    segmentation = segmentationNode.GetSegmentation()
    return Segments(
        segmentationNode.GetName(),
        tuple(segmentation.GetSegment(segmentId).GetName() for segmentId in segmentIds),
        tuple(maskOfSegment(segmentationNode, segmentId, volumeNode) for segmentId in segmentIds),
        tuple(files),
        volumeNode.GetName(),
        volumeNode.GetImageData().GetDimensions(),
        np.array(volumeNode.GetOrigin()) * (-1, -1, 1),
        _normal(volumeNode),
        volumeNode.GetSpacing()[2],
    )


def fileFor(title: str, folder: Path) -> Path:
    """Return the file of a segmentation of that name."""
    return folder / f"{fileNameFor(title)}.dcm"


def write(
    segments: Segments,
    folder: Path,
    report: Callable[[int, int | None], None] = lambda _done, _total: None,
    cancellation: Cancellation | None = None,
) -> Path:
    """Write a DICOM SEG that refers to the slices of the volume.

    Args:
        segments: see `gather`.
        folder: where it goes; the file appears whole or not at all.
        report: told how many headers were read, and of how many.
        cancellation: stops it.

    Raises:
        VolumeError: highdicom is not there, or the slices do not match the volume, or it was moved.
        PredictionCancelled: `cancellation` was used.
    """
    try:
        import highdicom  # noqa: F401, PLC0415 - bundled with Slicer 5.12
    except ImportError as error:
        raise VolumeError(
            "DICOM SEG needs the package highdicom, which Slicer 5.12 and later bundle. Export to .seg.nrrd here."
        ) from error
    cancellation = cancellation or Cancellation()
    slices = _slices(segments, report, cancellation)
    masks = [np.zeros(segments.shape, np.uint8) if m is None else m.full(segments.shape) for m in segments.masks]
    dataset = dicom_seg.segmentation(segments.title, segments.names, masks, slices)
    cancellation.check()
    file = fileFor(segments.title, folder)
    partial = file.with_name(file.name + ".part")
    try:
        dataset.save_as(partial)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def _slices(segments: Segments, report: Callable[[int, int | None], None], cancellation: Cancellation) -> list:
    """Read the headers of the volume's slices, in the order of its K axis."""
    import pydicom  # noqa: PLC0415 - bundled with Slicer

    slices = []
    for file in segments.files:
        cancellation.check()
        slices.append(pydicom.dcmread(file, stop_before_pixels=True))
        report(len(slices), len(segments.files))
    if len(slices) != segments.shape[2]:
        raise VolumeError(f"{segments.volumeName}: {len(slices)} DICOM slices do not match its voxels.")
    places = np.array([np.array(s.ImagePositionPatient, float) - segments.origin for s in slices]) @ segments.normal
    order = np.argsort(places)
    _checkPlace(segments, places[order])
    return [slices[index] for index in order]


def _checkPlace(segments: Segments, places: np.ndarray) -> None:
    """Refuse a volume that was moved: which slice is which would not be known, and masks could come out mirrored.

    The slices between the first and the last may lie elsewhere, as those of uneven distances or a tilted gantry do.
    """
    length = (len(places) - 1) * segments.spacing
    if abs(places[0]) > segments.spacing / 2 or abs(places[-1] - length) > segments.spacing / 2 + length / 4:
        raise VolumeError(
            f"{segments.volumeName}: it does not lie where its DICOM slices do: a transform was hardened into it. "
            "A DICOM SEG refers to the slices: load the series again, or export to .seg.nrrd."
        )


def _normal(volumeNode) -> np.ndarray:
    """Direction of the K axis in LPS."""
    directions = [[0.0] * 3 for _ in range(3)]
    volumeNode.GetIJKToRASDirections(directions)
    return np.array([row[2] for row in directions]) * (-1, -1, 1)
