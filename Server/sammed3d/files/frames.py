"""Series in time: the volumes of a 4-D NIfTI file or of several files, and their masks as files again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import SimpleITK as sitk

from sammed3d.core.mask import BoxedMask
from sammed3d.errors import VolumeError
from sammed3d.files import nifti
from sammed3d.files.segmentation import PALETTE, Segment, write_segments, write_whole
from sammed3d.files.volume import Array, Volume, grid_of, header_of, image_on, size_in_header

NIFTI = (".nii", ".nii.gz")


class Frames:
    """The volumes of a series, all on one grid.

    Args:
        paths: one 4-D NIfTI file, or a file for each frame in their order.
        name: what the one file is called in error messages; that of the path by default.

    Attributes:
        count: number of frames.
        interval: between two frames, in the units of the file's header (seconds in most); 1 for several files.

    Raises:
        VolumeError: a file cannot be read, or is no series.
    """

    def __init__(self, paths: Sequence[Path], name: str = "") -> None:
        self._paths, self._name = list(paths), name or paths[0].name
        self._array: Array | None = None
        self.interval = 1.0
        if len(self._paths) > 1:
            self.count = len(self._paths)
            return
        path = self._paths[0]
        reader = _header(path)
        self.interval = float(reader.GetSpacing()[3]) or 1.0
        self._grid = grid_of(reader, path.name)
        self._array = nifti.read_voxels(path, reader, axes=4)
        self.count = int(reader.GetSize()[3])

    def volume(self, number: int) -> Volume:
        """Return a frame, counted from 0.

        Raises:
            VolumeError: it cannot be read, or holds nothing.
        """
        if self._array is None:
            return Volume.read(self._paths[number])
        return Volume(self._array[..., number], self._grid, f"{self._name}, frame {number + 1}")


def is_in_time(path: Path) -> bool:
    """Tell whether a file is a 4-D NIfTI file of several volumes."""
    if not (path.is_file() and path.name.lower().endswith(NIFTI)):
        return False
    size = size_in_header(path)
    return len(size) == 4 and size[3] > 1


def check_frames_place(path: Path) -> None:
    """Refuse a place that masks of frames cannot be written to, before any work is done for them.

    Raises:
        VolumeError: neither a NIfTI file nor a folder that exists.
    """
    if not (path.is_dir() or (path.name.lower().endswith(NIFTI) and path.parent.is_dir())):
        raise VolumeError(f"{path}: give a .nii.gz file for a 4-D label map, or a folder that exists for many files.")


def frame_files(path: Path, frames: range) -> list[Path]:
    """Return the files that `write_frames` writes."""
    return [path / f"frame-{number + 1:03d}.seg.nrrd" for number in frames] if path.is_dir() else [path]


def write_frames(path: Path, masks: Mapping[int, BoxedMask | None], frames: Frames, name: str) -> None:
    """Write masks: a 4-D label map with all frames, empty where there is no mask; or in a folder, a file for each.

    Args:
        path: a NIfTI file, or a folder.
        masks: by number of the frame, counted from 0; at least one.
        frames: the series.
        name: of the segment.

    Raises:
        VolumeError: a file cannot be written.
    """
    grid = frames.volume(next(iter(masks))).grid
    if path.is_dir():
        for number, mask in masks.items():
            file = frame_files(path, range(number, number + 1))[0]
            write_segments(file, [Segment(name, mask, PALETTE[0])], grid)
        return
    images = []
    for number in range(frames.count):
        image, mask = image_on(grid, sitk.sitkUInt8), masks.get(number)
        if mask is not None:
            part = sitk.GetImageFromArray(mask.voxels.T.copy())
            begin = [int(n) for n in mask.box.begin]
            image = sitk.Paste(image, part, part.GetSize(), [0, 0, 0], begin)
        images.append(image)
    series = sitk.JoinSeries(images, 0.0, frames.interval)
    write_whole(cast(sitk.Image, series), path)


def _header(path: Path) -> sitk.ImageFileReader:
    if not path.is_file():
        raise VolumeError(f"{path}: there is no such file.")
    reader = header_of(path)
    size = reader.GetSize()
    if not path.name.lower().endswith(NIFTI) or len(size) != 4 or reader.GetNumberOfComponents() != 1:
        raise VolumeError(
            f"{path.name}: this is no series (size {size}). Give one 4-D NIfTI file, or a file for each frame."
        )
    nifti.check_positions(path, reader)
    return reader
