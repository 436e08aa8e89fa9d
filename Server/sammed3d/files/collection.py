"""Cases for training out of what users segmented: an image, its labels and clicks, and nothing that names a patient.

A case is a folder: `image.nii.gz`, `label.nii.gz` and `labels.json`, and where segments overlap further pairs
(`label_2.nii.gz`, `labels_2.json`); `prompts.json` holds the prompts. The folder's name is made of the image, so that
the same image collected twice is one case.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import SimpleITK as sitk

from sammed3d.core import prompt_files
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import VolumeError
from sammed3d.files.outputs import make_folder
from sammed3d.files.segmentation import Segment, layered, write_segments, write_whole
from sammed3d.files.volume import Volume, image_on

STRIPPED = (
    "Not kept: names of files, nodes, series and patients, dates, and everything else that headers hold. Kept: voxels, "
    "the grid, names of structures, prompts. Voxels are not changed: a face in a scan of a head can be recognised."
)


@dataclass(frozen=True)
class Wanted:
    """Which segments are taken, and what they are called.

    Attributes:
        only: names or terminology codes; empty for all segments.
        names: structure by segment name or terminology code, where it differs from the segment's name.
        by_terminology: whether structures are called as their terminology says, where it says more than "Tissue".
    """

    only: Collection[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    by_terminology: bool = False

    def structure(self, segment: Segment) -> str | None:
        """Return what the structure of a segment is called; None where it is not wanted."""
        called, code = terminology_of(segment)
        if self.only and not {segment.name, called, code} & set(self.only):
            return None
        renamed = self.names.get(segment.name) or self.names.get(code)
        return renamed or (called if self.by_terminology and called else segment.name)


@dataclass(frozen=True)
class Collected:
    """What became of an image and its segments.

    Attributes:
        case: name of the folder; "" where nothing was written.
        taken: structures.
        left_out: a sentence for each segment that was not, and why.
    """

    case: str
    taken: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def collect(
    volume: Volume,
    segments: Mapping[str, Segment],
    prompts: Mapping[str, ObjectPrompts],
    dataset: Path,
    wanted: Wanted | None = None,
    force: bool = False,
    earlier: Mapping[str, Segment] | None = None,
) -> Collected:
    """Write a case.

    Args:
        volume: the image.
        segments: masks on the volume's grid, by segment ID.
        prompts: those of segments, by segment ID; a mask that they start from is not kept, nor is its name.
        dataset: folder of cases; made where it is not there.
        wanted: which segments; None for all.
        force: whether a case of the same image is replaced.
        earlier: segments that the case holds besides, by IDs of their own, named as their structures.

    Returns:
        What was taken of `segments`. Where that is nothing, nothing is written.

    Raises:
        VolumeError: the case cannot be written.
    """
    wanted = wanted or Wanted()
    earlier = earlier or {}
    chosen = {key: (segment.name, segment) for key, segment in earlier.items()}
    left_out: list[str] = []
    for key, segment in segments.items():
        structure = wanted.structure(segment)
        if structure is None:
            left_out.append(f"{segment.name}: not asked for.")
        elif segment.mask is None or not segment.mask.voxels.any():
            left_out.append(f"{segment.name}: is empty.")
        elif structure in (other for other, _ in chosen.values()):
            left_out.append(f"{segment.name}: there is another segment of {structure!r}. Merge or rename one of them.")
        else:
            chosen[key] = (structure, segment)
    taken = tuple(structure for key, (structure, _) in chosen.items() if key not in earlier)
    if not taken:
        return Collected("", left_out=tuple(left_out))
    name = case_name(volume)
    if (dataset / name).exists() and not force:
        sentence = f"{name}: is there already. Replace it with --force, with all of its sources in that call."
        return Collected("", left_out=(*left_out, sentence))
    kept = [
        replace(prompts[key], name=structure, initial_mask=prompts[key].initial_mask and "mask")
        for key, (structure, _) in chosen.items()
        if key in prompts
    ]
    _write(volume, list(chosen.values()), kept, dataset / name)
    return Collected(name, taken, tuple(left_out))


def case_name(volume: Volume) -> str:
    """Return a name made of an image's voxels and grid alone."""
    digest = hashlib.sha256(repr((volume.array.shape, volume.array.dtype.str)).encode())
    digest.update(np.round(volume.grid.index_to_world, 6).astype("<f8").tobytes())
    for k in range(volume.array.shape[2]):
        digest.update(np.ascontiguousarray(volume.array[:, :, k]).tobytes())
    return f"case_{digest.hexdigest()[:12]}"


def terminology_of(segment: Segment) -> tuple[str, str]:
    """Return what a segment's terminology calls it, and the code; both "" for 3D Slicer's default, "Tissue"."""
    parts = segment.terminology.split("~")
    kind = parts[2].split("^") if len(parts) > 3 else []
    if len(kind) != 3 or kind[2] in ("", "Tissue"):
        return "", ""
    modifier = parts[3].split("^")
    side = modifier[2].lower() + " " if len(modifier) == 3 and modifier[2] else ""
    return side + kind[2].lower(), kind[1]


def _write(
    volume: Volume, chosen: Sequence[tuple[str, Segment]], prompts: Sequence[ObjectPrompts], folder: Path
) -> None:
    """Write the files of a case; the folder appears whole or not at all."""
    make_folder(folder.parent)
    beside = folder.with_name(f".collecting.{uuid4().hex[:8]}")
    try:
        beside.mkdir()
        _write_image(volume, beside / "image.nii.gz")
        for number, layer in enumerate(_apart(chosen), start=1):
            end = "" if number == 1 else f"_{number}"
            write_segments(beside / f"label{end}.nii.gz", [segment for _, segment in layer], volume.grid)
            entries = {
                str(value): {"name": structure, "terminology": segment.terminology}
                for value, (structure, segment) in enumerate(layer, start=1)
            }
            (beside / f"labels{end}.json").write_text(json.dumps(entries, indent=2), encoding="utf-8")
        if prompts:
            prompt_files.write(beside / "prompts.json", prompts)
        _put_in_place(beside, folder)
    except OSError as error:
        raise VolumeError(f"{folder}: cannot be written. Check permissions and free space.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(made: Path, folder: Path) -> None:
    """Move a folder to where another one may be, which is deleted last, and is back where that fails."""
    if not folder.exists():
        made.replace(folder)
        return
    earlier = made.with_name(f"{made.name}.earlier")
    folder.rename(earlier)
    try:
        made.replace(folder)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _apart(chosen: Sequence[tuple[str, Segment]]) -> Iterator[list[tuple[str, Segment]]]:
    """Yield groups of segments that do not overlap."""
    layers = layered([segment for _, segment in chosen])
    for number in sorted(set(layers)):
        yield [each for each, layer in zip(chosen, layers, strict=True) if layer == number]


def _write_image(volume: Volume, path: Path) -> None:
    """Write voxels and grid, and no other header."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T))
    frame = image_on(volume.grid, sitk.sitkUInt8)
    image.SetSpacing(frame.GetSpacing())
    image.SetOrigin(frame.GetOrigin())
    image.SetDirection(frame.GetDirection())
    write_whole(image, path)
