"""What can be downloaded: each kind as one file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer

from sammed3d.errors import VolumeError
from sammed3d.files.picture import PNG, write_picture_segments
from sammed3d.files.segmentation import Segment
from sammed3d.web.desks import all_masks
from sammed3d.web.segments import masks_of
from SAMMed3DSegmentLib import Exporter
from SAMMed3DSegmentLib.FileNames import fileNameFor
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment

SCENE = "mrb"


def _segmentation(work: Any, ids: list[str], folder: Path) -> Path:
    return _exported(work, ids, folder, Exporter.SEGMENTATION)


def _nifti(work: Any, ids: list[str], folder: Path) -> Path:
    return _exported(work, ids, folder, Exporter.NIFTI)


def _surfaces(work: Any, ids: list[str], folder: Path) -> Path:
    """All surfaces in one zip."""
    surfaces = folder / "surfaces"
    surfaces.mkdir()
    files = Exporter.export(work.segmentation_node, ids, work.volume_node, surfaces, Exporter.STL)
    return _zipped(files, folder / f"{fileNameFor(work.segmentation_node.GetName())} surfaces.zip")


def _zipped(files: Sequence[Path], target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return target


def _mask(work: Any, ids: list[str], folder: Path) -> Path:
    """Each segment of a picture as a PNG of its size, 0 and 255; several in one zip."""
    stem = fileNameFor(work.volume_node.GetName())
    masks = folder / "masks"
    masks.mkdir()
    files = []
    for number, segment in enumerate(_segments(work, ids), start=1):
        name = fileNameFor(segment.name) if len(ids) == 1 else f"{number} {fileNameFor(segment.name)}"
        files.append(masks / f"{stem} {name}{PNG}")
        write_picture_segments(files[-1], [segment], work.picture.grid)
    return files[0] if len(files) == 1 else _zipped(files, folder / f"{stem} masks.zip")


def _picture_segmentation(work: Any, ids: list[str], folder: Path) -> Path:
    """All segments on the picture's own grid."""
    target = folder / f"{fileNameFor(work.segmentation_node.GetName())}.seg.nrrd"
    write_picture_segments(target, _segments(work, ids), work.picture.grid)
    return target


def _segments(work: Any, ids: list[str]) -> list[Segment]:
    node, segmentation = work.segmentation_node, work.segmentation_node.GetSegmentation()
    found = []
    for segment_id in ids:
        segment, mask = segmentation.GetSegment(segment_id), maskOfSegment(node, segment_id, work.volume_node)
        found.append(Segment(segment.GetName(), mask, tuple(segment.GetColor())))
    return found


def _prompts(work: Any, ids: list[str], folder: Path) -> Path:
    return Path(Exporter.exportClicks(work.segmenter, ids, folder))


def _scene(work: Any, _ids: list[str], folder: Path) -> Path:
    """The scene with volume, segments and clicks, with which Slicer goes on."""
    target = folder / f"{fileNameFor(work.volume_node.GetName())}.{SCENE}"
    if not slicer.mrmlScene.WriteToMRB(str(target)) or not target.is_file():
        raise VolumeError("The scene could not be written. Is the disk full?")
    return target


KINDS: dict[str, tuple[str, Callable[[Any, list[str], Path], Path]]] = {
    "seg.nrrd": (".seg.nrrd", _segmentation),
    "nii.gz": ("NIfTI", _nifti),
    "stl.zip": ("STL", _surfaces),
    "prompts.json": ("Prompts", _prompts),
    SCENE: ("Scene (.mrb)", _scene),
}
"""What can be downloaded of a volume: its title, and who writes it into a folder."""
PICTURE_KINDS = {"png": ("PNG", _mask), "seg.nrrd": (".seg.nrrd", _picture_segmentation), SCENE: KINDS[SCENE]}
"""What can be downloaded of a picture, as the command line writes it."""
WITH_MASKS = ("seg.nrrd", "nii.gz", "png", SCENE)
"""Those that hold masks as they are."""


def write(work: Any, kind: str, folder: Path) -> Path:
    """Write all segments that hold something into an empty folder, as one file.

    Raises:
        VolumeError: there is nothing to write, or no such kind.
        PromptError: the prompts cannot be written.
    """
    kinds = KINDS if work.picture is None else PICTURE_KINDS
    if kind not in kinds:
        raise VolumeError(f"There is no download {kind!r}. Use {', '.join(kinds)}.")
    ids = [row.id for row in work.rows() if row.ml is not None]
    if not ids:
        raise VolumeError("There is no segment with anything in it yet.")
    return kinds[kind][1](work, ids, folder)


def masks_in(work: Any, kind: str) -> frozenset[tuple[str, int]]:
    """Return the masks that a download holds, after which they are not lost with the page; see `segments.masks_of`."""
    if kind == SCENE:
        return all_masks(work)  # of what is put aside, too
    return frozenset(masks_of(work.segmentation_node)) if kind in WITH_MASKS else frozenset()


def _exported(work: Any, ids: list[str], folder: Path, file_format: str) -> Path:
    [file] = Exporter.export(work.segmentation_node, ids, work.volume_node, folder, file_format)
    return Path(file)
