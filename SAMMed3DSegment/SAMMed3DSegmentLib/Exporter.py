"""Segments and clicks written into files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import slicer
import vtk

from sammed3d import VolumeError
from sammed3d.core import prompt_files
from SAMMed3DSegmentLib import DicomSeg
from SAMMed3DSegmentLib.FileNames import fileNameFor
from SAMMed3DSegmentLib.Segmenter import Segmenter

NIFTI, NRRD, SEGMENTATION, STL, OBJ, DICOM = "NIfTI", "NRRD label map", "seg.nrrd", "STL", "OBJ", "DICOM SEG"
FORMATS = {
    SEGMENTATION: "Segmentation (.seg.nrrd)",
    NIFTI: "NIfTI label map (.nii.gz)",
    NRRD: "NRRD label map (.nrrd)",
    STL: "STL surfaces",
    OBJ: "OBJ surfaces",
    DICOM: "DICOM SEG",
}
"""Formats and what people read."""


def export(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentIds: Sequence[str],
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
    fileFormat: str,
) -> list[Path]:
    """Write segments into a folder; returns the files that are new or were written again.

    Raises:
        VolumeError: nothing to write, the folder cannot be written, or the format needs what is not there.
    """
    check(segmentIds, folder)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    match fileFormat:
        case "seg.nrrd":
            _writeSegmentation(segmentationNode, segmentIds, folder)
        case "NIfTI" | "NRRD label map":
            _writeLabelmap(segmentationNode, segmentIds, volumeNode, folder, fileFormat)
        case "STL" | "OBJ":
            _writeSurfaces(segmentationNode, segmentIds, folder, fileFormat)
        case "DICOM SEG":
            DicomSeg.write(DicomSeg.gather(segmentationNode, segmentIds, volumeNode), folder)
    written = [file for file in sorted(folder.iterdir()) if before.get(file) != file.stat().st_mtime_ns]
    if not written:
        raise VolumeError(f"{folder}: nothing could be written there. Check the folder's permissions and the disk.")
    return written


def check(segmentIds: Sequence[str], folder: Path) -> None:
    """Refuse what cannot be exported.

    Raises:
        VolumeError: there is no segment, or no such folder.
    """
    if not segmentIds:
        raise VolumeError("There is no segment to export. Select one, or tick 'All segments'.")
    if not folder.is_dir():
        raise VolumeError(f"{folder}: there is no such folder. Choose another one.")


def exportClicks(segmenter: Segmenter, segmentIds: Sequence[str], folder: Path) -> Path:
    """Write the clicks of segments as JSON.

    Raises:
        VolumeError, PromptError: nothing to write, or the file cannot be written.
    """
    if not segmentIds:
        raise VolumeError("There is no segment whose clicks could be exported. Select one, or tick 'All segments'.")
    file = folder / f"{fileNameFor(segmenter.segmentationNode.GetName())} clicks.json"
    prompt_files.write(file, segmenter.objectPrompts(segmentIds))
    return file


def _writeSegmentation(segmentationNode, segmentIds: Sequence[str], folder: Path) -> None:
    with _copyOf(segmentationNode, segmentIds) as copy:
        file = folder / f"{fileNameFor(segmentationNode.GetName())}.seg.nrrd"
        copy.AddDefaultStorageNode()
        copy.GetStorageNode().SetFileName(str(file))
        if not copy.GetStorageNode().WriteData(copy):
            raise VolumeError(f"{file}: cannot be written. Check the folder's permissions and the disk.")


def _writeSurfaces(segmentationNode, segmentIds: Sequence[str], folder: Path, fileFormat: str) -> None:
    """Write a surface for each segment into a file of its name, which need not be any file's, or two may share."""
    with _copyOf(segmentationNode, segmentIds) as copy:
        copy.SetName(fileNameFor(segmentationNode.GetName()))
        copy.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
        taken: set[str] = set()
        for segmentId in segmentIds:
            segment = copy.GetSegmentation().GetSegment(segmentId)
            name = stem = fileNameFor(segment.GetName(), "Segment")
            number = 2
            while name.lower() in taken:
                name, number = f"{stem} {number}", number + 1
            taken.add(name.lower())
            segment.SetName(name)
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsClosedSurfaceRepresentationToFiles(
            str(folder), copy, _stringArray(segmentIds), fileFormat, True, 1.0, False
        )


@contextmanager
def _copyOf(segmentationNode, segmentIds: Sequence[str]) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    """A segmentation with some of the segments of another, in the scene for as long as it takes to write it."""
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", segmentationNode.GetName())
    try:
        copy.SetHideFromEditors(True)
        copy.GetSegmentation().SetSourceRepresentationName(
            segmentationNode.GetSegmentation().GetSourceRepresentationName()
        )
        copy.GetSegmentation().CopyConversionParameters(segmentationNode.GetSegmentation())
        for segmentId in segmentIds:
            copy.GetSegmentation().CopySegmentFromSegmentation(segmentationNode.GetSegmentation(), segmentId)
        yield copy
    finally:
        _removeWithItsNodes(copy)


def _writeLabelmap(segmentationNode, segmentIds: Sequence[str], volumeNode, folder: Path, fileFormat: str) -> None:
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    labelmapNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", segmentationNode.GetName())
    try:
        ids = _stringArray(segmentIds)
        if not logic.ExportSegmentsToLabelmapNode(segmentationNode, ids, labelmapNode, volumeNode):
            raise VolumeError("The segments cannot be turned into a label map.")
        ending = ".nii.gz" if fileFormat == NIFTI else ".nrrd"
        file = folder / f"{fileNameFor(segmentationNode.GetName())}{ending}"
        labelmapNode.AddDefaultStorageNode(str(file))
        labelmapNode.GetStorageNode().SetFileName(str(file))
        if not labelmapNode.GetStorageNode().WriteData(labelmapNode):
            raise VolumeError(f"{file}: cannot be written. Check the folder's permissions and the disk.")
    finally:
        _removeWithItsNodes(labelmapNode)


def _removeWithItsNodes(node) -> None:
    """Remove a temporary node with its storage, display and colour nodes."""
    scene = slicer.mrmlScene
    own = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    own += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    own += [display.GetColorNode() for display in own if hasattr(display, "GetColorNode")]
    scene.RemoveNode(node)
    for other in own:
        if other is not None and scene.IsNodePresent(other) and other.GetSingletonTag() is None:
            scene.RemoveNode(other)


def _stringArray(texts: Sequence[str]) -> vtk.vtkStringArray:
    array = vtk.vtkStringArray()
    for text in texts:
        array.InsertNextValue(text)
    return array
