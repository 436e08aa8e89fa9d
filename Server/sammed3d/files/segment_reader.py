"""Segments out of files: `.seg.nrrd` as 3D Slicer writes it (layers, names, terminology), and label maps.

Source of the `.seg.nrrd` keys: 3D Slicer's `vtkMRMLSegmentationStorageNode`, documented in its "Segmentations" manual.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sammed3d.core.geometry import LPS_TO_RAS, Grid, voxel_offset
from sammed3d.core.mask import BoxedMask
from sammed3d.errors import VolumeError
from sammed3d.files import other_layouts, path_letters, text_headers
from sammed3d.files.segmentation import PALETTE, RGB, TISSUE, Segment
from sammed3d.files.volume import Array, grid_of, read_image, unreadable, without_nan


def read_segments(path: Path) -> tuple[Grid, dict[str, Segment]]:
    """Read the segments of a `.seg.nrrd`, or the values of a label map in any image format.

    Args:
        path: the file.

    Returns:
        The grid that masks lie on, and segments by ID; those of a label map are "1", "2", ..., named "label 1", ....

    Raises:
        VolumeError: unreadable, or no segmentation.
    """
    if not path.is_file():
        raise VolumeError(f"{path}: there is no such file.")
    if path.name.lower().endswith((".seg.nrrd", ".nrrd")):
        return _read_layers(path)
    if why := other_layouts.segmentation_of_dicom(path):  # of which ITK would take neither names nor segments apart
        raise VolumeError(f"{path.name}: is {why}")
    grid, labels, _owner = read_image(path)
    return grid, dict(_values(labels, path.name))


def on_grid(mask: BoxedMask, source: Grid, target: Grid) -> tuple[BoxedMask | None, bool]:
    """Bring a mask onto another grid.

    Args:
        mask: the segment's mask on `source`.
        source: its grid.
        target: the wanted grid.

    Returns:
        The mask on `target` (None where nothing of it is there), and whether it had to be resampled: grids that share
        their voxels, such as that of a part of an image, need none. Resampling takes the nearest voxel.
    """
    offset = voxel_offset(source.index_to_world, target.index_to_world)
    if offset is not None:
        whole = BoxedMask(mask.box.shifted(offset), mask.voxels)
        inside = whole.full(target.shape) if _fits(whole, target) else _clipped(whole, target)
        return BoxedMask.of(inside), False
    edges = zip(mask.box.begin, mask.box.end, strict=True)
    corners = target.to_index(source.to_world(list(itertools.product(*((b - 0.5, e - 0.5) for b, e in edges)))))
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, target.shape)
    found = np.zeros(target.shape, np.uint8)
    if (low < high).all():
        places = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        index = np.floor(source.to_index(target.to_world(places)) + 0.5).astype(int) - np.array(mask.box.begin)
        valid = ((index >= 0) & (index < mask.voxels.shape)).all(axis=-1)
        i, j, k = np.where(valid[..., None], index, 0).reshape(-1, 3).T
        values = mask.voxels[i, j, k].reshape(valid.shape) * valid
        found[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = values
    return BoxedMask.of(found), True


def _fits(mask: BoxedMask, grid: Grid) -> bool:
    return min(mask.box.begin) >= 0 and all(e <= n for e, n in zip(mask.box.end, grid.shape, strict=True))


def _clipped(mask: BoxedMask, grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return what of a mask lies in a grid, as an array of the grid's shape."""
    full = np.zeros(grid.shape, np.uint8)
    begin = [max(0, b) for b in mask.box.begin]
    end = [min(n, e) for n, e in zip(grid.shape, mask.box.end, strict=True)]
    if all(b < e for b, e in zip(begin, end, strict=True)):
        to = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        within = tuple(slice(b - o, e - o) for b, e, o in zip(begin, end, mask.box.begin, strict=True))
        full[to] = mask.voxels[within]
    return full


def _read_layers(path: Path) -> tuple[Grid, dict[str, Segment]]:
    """Read an NRRD file: of one layer or several, with segments described or not."""
    path_letters.check(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise unreadable(path, error) from error
    if image.GetDimension() != 3:
        raise VolumeError(f"{path.name}: has {image.GetDimension()} axes. Give a segmentation of a 3-D volume.")
    grid = grid_of(image, path.name)
    text_headers.check_nrrd(path, (LPS_TO_RAS @ grid.index_to_world)[:3, :3])
    layers: Array = sitk.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = layers[..., None]
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    numbers = sorted(int(found[1]) for key in keys if (found := re.fullmatch(r"Segment(\d+)_ID", key)))
    if not numbers:
        if layers.shape[3] > 1:
            raise VolumeError(
                f"{path.name}: every voxel has {layers.shape[3]} values (colour or vector image), and it describes no "
                "segments. Give a segmentation, or a label map of one value per voxel."
            )
        return grid, dict(_values(layers[..., 0].T, path.name))
    try:
        places = _layers_of(keys, numbers, layers.shape[3])
        described = [_described(keys, n, layers[..., place]) for n, place in places.items()]
        if len(segments := dict(described)) < len(described):
            raise ValueError("two of them have one ID")
        return grid, segments
    except (KeyError, ValueError, IndexError) as error:
        raise VolumeError(f"{path.name}: what it says of its segments is damaged ({error}). Save it again.") from error


def _layers_of(keys: Mapping[str, str], numbers: Sequence[int], count: int) -> dict[int, int]:
    """Return the layer of each segment: where none is said, the only one, or as older files have it, one for each.

    Raises:
        ValueError: of several layers, it is not said which, or one that is not there.
    """
    said = {n: int(keys[f"Segment{n}_Layer"]) for n in numbers if f"Segment{n}_Layer" in keys}
    if any(not 0 <= layer < count for layer in said.values()):
        raise ValueError(f"one lies in a layer that is none of the {count} that there are")
    if len(said) == len(numbers):
        return said
    if count == 1:
        return dict.fromkeys(numbers, 0) | said
    if said or list(numbers) != list(range(count)):
        raise ValueError(f"it does not say which of {count} layers they lie in")
    return {n: n for n in numbers}


def _described(keys: Mapping[str, str], number: int, layer: Array) -> tuple[str, Segment]:
    """Return the ID of a segment of a `.seg.nrrd`, and the segment.

    Args:
        keys: the header's keys.
        number: the segment's number.
        layer: its layer's voxels (K, J, I).
    """

    def key(name: str, default: str) -> str:
        return keys.get(f"Segment{number}_{name}", default)

    if (value := int(key("LabelValue", "1"))) == 0:
        raise ValueError("one has the value 0, which is that of the background")
    red, green, blue = (float(c) for c in key("Color", " ".join(map(str, PALETTE[0]))).split())
    color: RGB = (red, green, blue)
    tags = dict(entry.split(":", 1) for entry in key("Tags", "").split("|") if ":" in entry)
    mask = BoxedMask.of(np.equal(layer.T, value))
    terminology = tags.get("TerminologyEntry") or tags.get("Segmentation.TerminologyEntry") or TISSUE
    return keys[f"Segment{number}_ID"], Segment(key("Name", f"segment {number + 1}"), mask, color, terminology)


def _values(labels: Array, name: str) -> Iterator[tuple[str, Segment]]:
    """Yield a segment for each value of a label map but 0 and NaN (no value)."""
    labels = without_nan(labels)
    if labels.dtype.kind == "f" and bool((labels % 1).any()):
        raise VolumeError(f"{name}: holds fractions, so it is no label map. Save it as whole numbers.")
    found = np.unique(labels)
    if len(found) > 10000:
        raise VolumeError(f"{name}: holds {len(found)} different values, so it is an image and no label map.")
    for value in found[found != 0]:
        yield str(int(value)), Segment(f"label {int(value)}", BoxedMask.of(labels == value))
