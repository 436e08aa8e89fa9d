"""What can be downloaded: each kind as one file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from sammed3d.errors import VolumeError
from SAMMed3DSegmentLib import Exporter
from SAMMed3DSegmentLib.FileNames import fileNameFor

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
    target = folder / f"{fileNameFor(work.segmentation_node.GetName())} surfaces.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return target


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
"""What can be downloaded: its title, and who writes it into a folder."""


def write(work: Any, kind: str, folder: Path) -> Path:
    """Write all segments that hold something into an empty folder, as one file.

    Raises:
        VolumeError: there is nothing to write, or no such kind.
        PromptError: the prompts cannot be written.
    """
    if kind not in KINDS:
        raise VolumeError(f"There is no download {kind!r}. Use {', '.join(KINDS)}.")
    ids = [row.id for row in work.rows() if row.ml is not None]
    if not ids:
        raise VolumeError("There is no segment with anything in it yet.")
    return KINDS[kind][1](work, ids, folder)


def _exported(work: Any, ids: list[str], folder: Path, file_format: str) -> Path:
    [file] = Exporter.export(work.segmentation_node, ids, work.volume_node, folder, file_format)
    return Path(file)
