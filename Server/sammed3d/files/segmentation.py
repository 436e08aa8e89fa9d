"""Segmentation files: label maps, and `.seg.nrrd` with names, colours and terminology as 3D Slicer writes them.

Source of the `.seg.nrrd` keys: 3D Slicer's `vtkMRMLSegmentationStorageNode`, documented in its "Segmentations" manual.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask, Mask
from sammed3d.errors import VolumeError
from sammed3d.files import path_letters
from sammed3d.files.outputs import DATA_SUFFIXES, check_written, not_written, written_whole
from sammed3d.files.volume import Array, array_of, image_on, read_image, without_nan

RGB = tuple[float, float, float]
TISSUE = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
"""3D Slicer's default terminology entry."""
PALETTE: tuple[RGB, ...] = (
    (0.50, 0.68, 0.50),
    (0.95, 0.84, 0.57),
    (0.69, 0.48, 0.40),
    (0.44, 0.72, 0.82),
    (0.85, 0.40, 0.31),
    (0.87, 0.51, 0.40),
    (0.56, 0.93, 0.56),
    (0.73, 0.40, 0.73),
)
"""Colours of new objects, in turn."""
LABEL_MAP_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
MOST_LABELS = 1000
"""Kinds of values in a mask: atlases have some hundreds, an image of 16 bits more."""


@dataclass(frozen=True)
class Segment:
    """One segment of a file.

    Attributes:
        name: shown to users.
        mask: None for an empty segment.
        color: red, green, blue in 0..1.
        terminology: a 3D Slicer terminology entry (category ~ type ~ modifier ~ anatomic context and codes).
    """

    name: str
    mask: BoxedMask | None
    color: RGB = PALETTE[0]
    terminology: str = TISSUE


def write_segments(path: str | os.PathLike[str], segments: Sequence[Segment], grid: Grid) -> None:
    """Write segments as `.seg.nrrd`, or as a label map (values 1, 2, ... in order) in any other format.

    The file appears whole or not at all: it is written beside its place first.

    Raises:
        VolumeError: unknown suffix, segments that overlap in a label map, or the file cannot be written.
    """
    path = check_place(path)
    layered = path.name.lower().endswith(".seg.nrrd")
    write_whole(_segmentation_image(segments, grid) if layered else _label_map(path, segments, grid), path)


def write_field(path: str | os.PathLike[str], part: tuple[Box, npt.NDArray[np.float32]] | None, grid: Grid) -> None:
    """Write numbers on a grid, for example probabilities, as float32; the file appears whole or not at all.

    Args:
        path: NIfTI, NRRD or MHA.
        part: a box of the grid's voxels (I, J, K) and the numbers in it, same shape; None or outside it they are 0.
        grid: where.

    Raises:
        VolumeError: unknown suffix, or the file cannot be written.
    """
    path = check_field_place(path)
    image = image_on(grid, sitk.sitkFloat32)
    if part is not None:
        box, field = part
        i, j, k = (slice(a, b) for a, b in zip(box.begin, box.end, strict=True))
        image[i, j, k] = sitk.GetImageFromArray(np.ascontiguousarray(field.T))
    write_whole(image, path)


def check_field_place(path: str | os.PathLike[str]) -> Path:
    """Refuse a file that numbers cannot be written to, before any work is done for it; errors as `write_field`."""
    path = check_place(path)
    if path.name.lower().endswith(".seg.nrrd"):
        raise VolumeError(f"{path.name}: a segmentation holds no numbers. Use {', '.join(LABEL_MAP_SUFFIXES)}.")
    return path


def check_place(path: str | os.PathLike[str]) -> Path:
    """Refuse a file that segments cannot be written to, before any work is done for it.

    Raises:
        VolumeError: unknown suffix, or the folder does not exist.
    """
    path = Path(path)
    if not path.name.lower().endswith(LABEL_MAP_SUFFIXES):
        raise VolumeError(f"{path.name or path}: unknown format. Use .seg.nrrd, {', '.join(LABEL_MAP_SUFFIXES)}.")
    if not path.parent.is_dir():
        raise VolumeError(f"{path}: the folder does not exist. Create it, or choose another place.")
    return path


def read_mask(path: str | os.PathLike[str], grid: Grid) -> Mask:
    """Read a mask that lies on `grid`: uint8 (I, J, K), 1 wherever the file is neither 0 nor NaN (no value).

    Raises:
        VolumeError: unreadable, on another grid, or an image rather than a mask.
    """
    found, voxels, _owner = read_image(path)
    if not found.matches(grid):
        raise VolumeError(
            f"{Path(path).name}: this mask's grid ({_describe(found)}) is not the volume's ({_describe(grid)}). "
            "Resample the mask to the volume first."
        )
    labels = without_nan(voxels)
    if not _is_label_map(labels):
        raise VolumeError(
            f"{Path(path).name}: holds an image rather than a mask (negative values, fractions, or more than "
            f"{MOST_LABELS} different ones). Give a file with 0 outside and whole numbers inside."
        )
    mask: Mask = (labels != 0).astype(np.uint8)
    return mask


def _is_label_map(voxels: Array) -> bool:
    """Whether these are whole numbers from 0 on, of few kinds; looked at in a million of them at most."""
    few = voxels.ravel(order="K")[:: max(1, voxels.size // 1_000_000)]
    found = np.unique(few)
    return bool(found[0] >= 0 and (found == np.floor(found)).all() and len(found) <= MOST_LABELS)


def _describe(grid: Grid) -> str:
    shape = " x ".join(str(n) for n in grid.shape)
    return f"{shape} voxels of {' x '.join(f'{s:g}' for s in np.round(grid.spacing, 3))} mm"


def write_whole(image: sitk.Image, path: Path) -> None:
    """Write an image: whole, or not at all; raises VolumeError if it cannot be."""
    if path.suffix.lower() in DATA_SUFFIXES:
        _write_apart(image, path)
        return
    with written_whole(path) as beside:
        sitk.WriteImage(image, str(beside), useCompression=True)
        if path.name.lower().endswith(".seg.nrrd") and image.GetNumberOfComponentsPerPixel() > 1:
            check_written(beside)  # before its header is taken apart
            _call_layers_a_list(beside)


def _write_apart(image: sitk.Image, path: Path) -> None:
    """Write a header and the voxels that it names into a folder beside their place, and move them there: it last."""
    path_letters.check(path)
    try:
        with tempfile.TemporaryDirectory(prefix=".writing.", dir=path.parent) as folder:
            made = Path(folder) / path.name
            sitk.WriteImage(image, str(made), useCompression=True)
            check_written(made)
            for part in sorted(Path(folder).iterdir(), key=made.__eq__):
                part.replace(path.with_name(part.name))
    except (RuntimeError, OSError) as error:
        raise not_written(path) from error


def _call_layers_a_list(path: Path) -> None:
    """ITK writes the axis of layers as a "vector"; segmentation files call it a "list"."""
    header, data = path.read_bytes().split(b"\n\n", 1)
    path.write_bytes(header.replace(b"kinds: vector ", b"kinds: list ", 1) + b"\n\n" + data)


def _label_map(path: Path, segments: Sequence[Segment], grid: Grid) -> sitk.Image:
    image = image_on(grid, sitk.sitkUInt8 if len(segments) < 256 else sitk.sitkUInt16)
    layers = layered(segments)
    if max(layers, default=0) > 0:
        raise VolumeError(
            f"{path.name}: some objects overlap, which a label map cannot hold. Save as .seg.nrrd, or one by one."
        )
    for value, segment in enumerate(segments, start=1):
        image = _put(image, segment.mask, value)
    return image


def _segmentation_image(segments: Sequence[Segment], grid: Grid) -> sitk.Image:
    layers = layered(segments, per_layer=255)
    images = [image_on(grid, sitk.sitkUInt8) for _ in range(max(layers, default=0) + 1)]
    used = [0] * len(images)
    keys = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, (segment, layer) in enumerate(zip(segments, layers, strict=True)):
        used[layer] += 1
        images[layer] = _put(images[layer], segment.mask, used[layer])
        extent = segment.mask.box if segment.mask else Box((0, 0, 0), (0, 0, 0))
        keys |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": _storable(segment.name),
            f"Segment{number}_NameAutoGenerated": "0",
            f"Segment{number}_Color": " ".join(f"{c:g}" for c in segment.color),
            f"Segment{number}_ColorAutoGenerated": "0",
            f"Segment{number}_Layer": str(layer),
            f"Segment{number}_LabelValue": str(used[layer]),
            f"Segment{number}_Extent": " ".join(f"{b} {e - 1}" for b, e in zip(extent.begin, extent.end, strict=True)),
            f"Segment{number}_Tags": f"Segmentation.Status:inprogress|TerminologyEntry:{segment.terminology}|",
        }
    image = images[0] if len(images) == 1 else sitk.Compose(images)
    for key, value in keys.items():
        image.SetMetaData(key, value)
    return image


def _storable(name: str) -> str:
    """Return a name as a header can hold it: with signs of replacement for what is no letter."""
    return name.encode(errors="replace").decode().replace("\0", "?")


def layered(segments: Sequence[Segment], per_layer: int | None = None) -> list[int]:
    """Return a layer for each segment: the first in which it overlaps no other and that has not got its fill.

    Args:
        segments: segments on one grid.
        per_layer: largest number of segments of a layer; None for any.
    """
    layers: list[list[BoxedMask | None]] = []
    chosen = []
    for segment in segments:
        fits = (
            n
            for n, others in enumerate(layers)
            if (per_layer is None or len(others) < per_layer) and not any(_overlap(segment.mask, o) for o in others)
        )
        layer = next(fits, len(layers))
        if layer == len(layers):
            layers.append([])
        layers[layer].append(segment.mask)
        chosen.append(layer)
    return chosen


def _overlap(a: BoxedMask | None, b: BoxedMask | None) -> bool:
    common = a.box.intersection(b.box) if a is not None and b is not None else None
    return common is not None and bool((a.cut(common) & b.cut(common)).any())  # type: ignore[union-attr]


def _put(image: sitk.Image, mask: BoxedMask | None, value: int) -> sitk.Image:
    """Set the voxels of a mask to a value, touching only its box."""
    if mask is None:
        return image
    begin, end = mask.box.begin, mask.box.end
    region = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
    cut = image[region]  # `array_of` is a view of it: it has to stay
    there = array_of(cut)
    labels = np.where(mask.voxels != 0, np.array(value, there.dtype), there)
    image[region] = sitk.GetImageFromArray(np.ascontiguousarray(labels.T))
    return image
