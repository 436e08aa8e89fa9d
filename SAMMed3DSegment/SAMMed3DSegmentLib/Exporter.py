"""Segments and clicks written into files."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import slicer
import vtk

from sammed3d import VolumeError
from sammed3d.core import prompt_files
from SAMMed3DSegmentLib import DicomSeg, MaskGrids
from SAMMed3DSegmentLib.FileNames import fileNameFor
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment

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


Asks = Callable[[Sequence[str]], bool]
"""Called with the names of files that are there already; tells whether they are to be replaced."""


def export(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentIds: Sequence[str],
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
    fileFormat: str,
    replaces: Asks = lambda _names: True,
) -> list[Path]:
    """Write segments into a folder, all files whole or none; returns them, or [] where they were not to replace others.

    Raises:
        VolumeError: nothing to write, the folder cannot be written, the format needs what is not there or cannot hold
            segments that overlap, or a file would be one that the scene was read from or saved in.
    """
    check(segmentIds, folder)
    with _folderIn(folder) as made:
        match fileFormat:
            case "seg.nrrd":
                _writeSegmentation(segmentationNode, segmentIds, made)
            case "NIfTI" | "NRRD label map":
                _writeLabelmap(segmentationNode, segmentIds, volumeNode, made, fileFormat)
            case "STL" | "OBJ":
                _writeSurfaces(segmentationNode, segmentIds, made, fileFormat)
            case "DICOM SEG":
                DicomSeg.write(DicomSeg.gather(segmentationNode, segmentIds, volumeNode), made)
        written = sorted(made.iterdir())
        if not written:
            raise VolumeError(f"{folder}: nothing could be written there. Check the folder's permissions and the disk.")
        if not mayWrite([folder / file.name for file in written], replaces):
            return []
        return [file.replace(folder / file.name) for file in written]


def mayWrite(files: Sequence[Path], replaces: Asks) -> bool:
    """Tell whether files may be written: whoever asked for them is asked about those that are there already.

    Raises:
        VolumeError: one of them is the file of a node in the scene, which would be lost.
    """
    there = [file for file in files if file.exists()]
    for file in there:
        owner = _ownerOf(file)
        if owner is not None:
            raise VolumeError(
                f"{file.name}: {owner.GetName()} was read from this file, or saved in it. Choose another folder, or "
                "give the segmentation another name."
            )
    return not there or replaces([file.name for file in there])


def check(segmentIds: Sequence[str], folder: Path) -> None:
    """Refuse what cannot be exported.

    Raises:
        VolumeError: there is no segment, or no such folder.
    """
    if not segmentIds:
        raise VolumeError("There is no segment to export. Select one, or tick 'All segments'.")
    if not folder.is_dir():
        raise VolumeError(f"{folder}: there is no such folder. Choose another one.")


def exportClicks(
    segmenter: Segmenter, segmentIds: Sequence[str], folder: Path, replaces: Asks = lambda _names: True
) -> Path | None:
    """Write the clicks of segments as JSON; None where the file was not to replace another one.

    Raises:
        VolumeError, PromptError: nothing to write, or the file cannot be written; see `mayWrite`.
    """
    if not segmentIds:
        raise VolumeError("There is no segment whose clicks could be exported. Select one, or tick 'All segments'.")
    file = folder / f"{fileNameFor(segmenter.segmentationNode.GetName())} clicks.json"
    if not mayWrite([file], replaces):
        return None
    prompt_files.write(file, segmenter.objectPrompts(segmentIds))
    return file


@contextmanager
def _folderIn(folder: Path) -> Iterator[Path]:
    """A folder in another one, for as long as it takes to write files and to move them."""
    try:
        made = tempfile.TemporaryDirectory(prefix=".export-", dir=folder)
    except OSError as error:
        raise VolumeError(f"{folder}: nothing can be written there. Check the folder's permissions.") from error
    with made as name:
        yield Path(name)


def _ownerOf(file: Path):
    """Return the node of the scene that has a file as its own; None where none has."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLStorableNode")
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        for number in range(node.GetNumberOfStorageNodes()):
            storage = node.GetNthStorageNode(number)
            own = [storage.GetFullNameFromFileName()] if storage is not None else []
            own += [storage.GetFullNameFromNthFileName(n) for n in range(storage.GetNumberOfFileNames() if own else 0)]
            alike = [Path(name) for name in own if name and Path(name).name.lower() == file.name.lower()]
            if any(other.exists() and other.samefile(file) for other in alike):
                return node
    return None


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
    _checkOverlaps(segmentationNode, segmentIds, volumeNode)
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


def _checkOverlaps(segmentationNode, segmentIds: Sequence[str], volumeNode) -> None:
    """Refuse segments that a label map cannot hold: one of two that overlap would be smaller than it is."""
    masks = [(segmentId, maskOfSegment(segmentationNode, segmentId, volumeNode)) for segmentId in segmentIds]
    for (one, mask), (other, further) in itertools.combinations(masks, 2):
        both = MaskGrids.common(mask, further)
        if both is not None:
            names = [segmentationNode.GetSegmentation().GetSegment(each).GetName() for each in (one, other)]
            raise VolumeError(
                f"{names[0]} and {names[1]} overlap in {np.count_nonzero(both.voxels)} voxels, which a label map "
                "cannot hold. Save as .seg.nrrd, or one by one."
            )


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
