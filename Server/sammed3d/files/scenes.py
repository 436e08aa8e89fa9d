"""What a saved scene of 3D Slicer (`.mrb`, `.mrml`) holds of segmentations: their files, volumes and clicks.

Read without Slicer. Transforms are not applied: a segmentation and its volume have to be under the same one, or none.

Source: MRML's XML as 3D Slicer 5 writes it; the names of attributes and references of clicks are the module's own.
"""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from sammed3d.core import prompt_files
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import PromptError, VolumeError

SEGMENT_ATTRIBUTE = "SAMMed3DSegment.SegmentID"
SEGMENTATION_ROLE = "SAMMed3DSegment.Segmentation"
VOLUME_ROLE = "referenceImageGeometryRef"
LARGEST_BYTES = 64 * 1024**3
"""Of all files of a scene, unpacked."""


@dataclass(frozen=True)
class SceneSegmentation:
    """A segmentation of a scene.

    Attributes:
        name: name of its node; it may name a patient.
        file: its `.seg.nrrd`.
        volume: file of the volume that it was made on.
        prompts: clicks of segments, by segment ID, world RAS mm in the volume's own frame; drawings are not read.
    """

    name: str
    file: Path
    volume: Path
    prompts: Mapping[str, ObjectPrompts] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """The segmentations of a scene.

    Attributes:
        segmentations: that can be used.
        left_out: a sentence for each that cannot.
    """

    segmentations: tuple[SceneSegmentation, ...]
    left_out: tuple[str, ...]


def read_scene(path: Path, unpacked: Path) -> Scene:
    """Read a scene.

    Args:
        path: `.mrb` or `.mrml`.
        unpacked: an empty folder, into which an `.mrb` is unpacked; its files are needed as long as the result is.

    Raises:
        VolumeError: no scene, damaged, or too large.
    """
    if not path.is_file():
        raise VolumeError(f"{path}: there is no such file.")
    scene_file = path if path.suffix.lower() == ".mrml" else _unpack(path, unpacked)
    try:
        text = scene_file.read_text(encoding="utf-8", errors="replace")
        if "<!DOCTYPE" in text:
            raise VolumeError(f"{path.name}: defines entities, which no scene of Slicer does. Save it again.")
        root = ET.fromstring(text)  # noqa: S314 - no entities, so nothing can expand
    except ET.ParseError as error:
        raise VolumeError(f"{path.name}: the scene is damaged. Save it again.") from error
    return _Nodes(root, scene_file.parent).scene()


def _unpack(path: Path, folder: Path) -> Path:
    """Unpack an `.mrb`; returns its `.mrml` file."""
    try:
        with zipfile.ZipFile(path) as bundle:
            entries = [entry for entry in bundle.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > LARGEST_BYTES:
                raise VolumeError(f"{path.name}: holds more than {LARGEST_BYTES // 1024**3} GiB. Split the scene.")
            for entry in entries:
                parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
                if not parts or ".." in parts or PurePosixPath(*parts).is_absolute() or ":" in parts[0]:
                    raise VolumeError(f"{path.name}: names files outside of itself. Do not trust it.")
                place = folder.joinpath(*parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with bundle.open(entry) as source, place.open("xb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:  # RuntimeError: it is locked
        raise VolumeError(f"{path.name}: is damaged, locked, or no scene of Slicer (.mrb). Save it again.") from error
    scenes = sorted(folder.rglob("*.mrml"))
    if len(scenes) != 1:
        raise VolumeError(f"{path.name}: holds {len(scenes)} scenes (.mrml) instead of one. Save it again.")
    return scenes[0]


class _Nodes:
    """The nodes of a scene by ID.

    Args:
        root: root element of the scene's XML.
        folder: folder of the scene's file.
    """

    def __init__(self, root: ET.Element, folder: Path) -> None:
        self._folder = folder
        self._nodes = {node.attrib["id"]: node for node in root.iter() if "id" in node.attrib}

    def scene(self) -> Scene:
        found: list[SceneSegmentation] = []
        left_out: list[str] = []
        for number, node in enumerate(self._of_kind("Segmentation"), start=1):
            try:
                found.append(self._segmentation(node))
            except VolumeError as error:
                left_out.append(f"segmentation {number}: {error}")
        return Scene(tuple(found), tuple(left_out))

    def _segmentation(self, node: ET.Element) -> SceneSegmentation:
        file = self._file(node)
        volume = self._referred(node, VOLUME_ROLE)
        if volume is None:
            raise VolumeError("names no volume. Choose its source volume in the Segment Editor, and save again.")
        if _references(node).get("transform") != _references(volume).get("transform"):
            raise VolumeError("lies under another transform than its volume. Harden both, and save again.")
        return SceneSegmentation(node.get("name", ""), file, self._file(volume), dict(self._clicks(node)))

    def _clicks(self, segmentation: ET.Element) -> Iterator[tuple[str, ObjectPrompts]]:
        """Yield the clicks of each segment that has some."""
        for node in self._of_kind("MarkupsFiducial"):
            attributes = dict(part.split(":", 1) for part in node.get("attributes", "").split(";") if ":" in part)
            segment = attributes.get(SEGMENT_ATTRIBUTE)
            if segment is None or self._referred(node, SEGMENTATION_ROLE) is not segmentation:
                continue
            file = self._file(node)
            try:
                clicks = tuple(click for prompts in prompt_files.read(file) for click in prompts.clicks)
            except PromptError as error:
                raise VolumeError(f"the clicks of a segment cannot be read ({error})") from error
            if clicks:
                yield unquote(segment), ObjectPrompts(unquote(segment), clicks)

    def _of_kind(self, tag: str) -> list[ET.Element]:
        return [node for node in self._nodes.values() if node.tag == tag]

    def _referred(self, node: ET.Element, role: str) -> ET.Element | None:
        return self._nodes.get(_references(node).get(role, ""))

    def _file(self, node: ET.Element) -> Path:
        """Return the file that a node was saved in.

        Raises:
            VolumeError: it was not saved, or the file is not there.
        """
        storage = self._referred(node, "storage")
        name = unquote(storage.get("fileName", "")) if storage is not None else ""
        if not name:
            raise VolumeError("was not saved with the scene. Save all data, as an .mrb for one.")
        file = self._folder / name.replace("\\", "/")
        if not file.is_file():
            raise VolumeError("a file of it is missing. Save the scene again, as an .mrb for one.")
        return file


def _references(node: ET.Element) -> dict[str, str]:
    """Return the first node ID of each role of a node's references."""
    parts = (part.split(":", 1) for part in node.get("references", "").split(";") if ":" in part)
    return {role: ids.split(" ")[0] for role, ids in parts}
