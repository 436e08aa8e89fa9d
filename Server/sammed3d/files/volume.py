"""Volumes: an image array and its grid, read from files or handed over by a front end.

SimpleITK reads NIfTI, NRRD, MetaImage and folders of DICOM slices. Its LPS frame and (K, J, I) arrays are turned into
RAS and (I, J, K) here and nowhere else.
"""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import LPS_TO_RAS, Grid
from sammed3d.errors import EmptyVolumeError, VolumeError, VolumeWarning
from sammed3d.files import dicom, nifti, path_letters, text_headers
from sammed3d.files.dicom_frames import DicomFile
from sammed3d.files.unreadable import DAMAGED, no_file, why_unreadable

Array = npt.NDArray[np.generic]
LEAST_EXTENT_MM, MOST_EXTENT_MM = 1.0, 3000.0
"""Along its longest axis an image of a patient, or of a specimen, is larger than the one and smaller than the other."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar 3-D image with geometry.

    Attributes:
        array: shape (I, J, K), any integer or real dtype, kept as given (never copied to another dtype).
        grid: the voxels' places, RAS mm.
        name: the volume's name in error messages (a file name, or a word).

    Raises:
        VolumeError: no array, not 3-D, not a scalar image, shape and grid disagree, no finite voxel, or all voxels are
            equal.

    NaN and infinite voxels are replaced by the smallest finite value, with a `VolumeWarning`.
    """

    array: Array
    grid: Grid
    name: str = "the volume"
    _owner: object = field(default=None, repr=False)  # keeps alive the ITK buffer that `array` is a view of
    lowest: float = field(init=False, repr=False)
    """The smallest value, as it was found when the volume was made."""
    non_finite: int = field(default=0, init=False, repr=False)
    """How many voxels were NaN or infinite, and hold the smallest finite value instead."""

    def __post_init__(self) -> None:
        _check_kind(self.array, self.name)
        if self.array.shape != self.grid.shape:
            raise VolumeError(f"{self.name}: the array is {self.array.shape} but its grid is {self.grid.shape}.")
        low, high = self._range()
        if low == high:
            raise EmptyVolumeError(
                f"{self.name}: all voxels have the same value ({low:g}), so there is nothing to segment. "
                "Check that the right file was chosen."
            )
        object.__setattr__(self, "lowest", low)
        if self.remark:
            warnings.warn(self.remark, VolumeWarning, stacklevel=3)

    @property
    def remark(self) -> str:
        """What was done to its voxels, for who uses it; "" where nothing was."""
        if not self.non_finite:
            return ""
        what = f"{self.non_finite} NaN or infinite voxels were treated as the smallest value ({self.lowest:g})"
        return f"{self.name}: {what}."

    @classmethod
    def read(cls, path: str | os.PathLike[str], series: int | None = None) -> Volume:
        """Read an image file (NIfTI, NRRD, MHA, ...) or a folder of DICOM slices.

        Args:
            path: the file or folder.
            series: which series (0, 1, ...) of a DICOM folder that holds several.

        Raises:
            VolumeError: names the file and says what to do about it.

        Warns:
            VolumeWarning: the image is larger than any patient or smaller than a millimetre, or a reason of its header.
        """
        grid, array, owner = read_image(path, series)
        name = Path(path).name or str(path)
        _check_extent(grid, name)
        return cls(array, grid, name, owner)

    def named(self, name: str) -> Volume:
        """Return the same voxels under another name."""
        made = copy.copy(self)  # its voxels were checked, and are not looked through again
        object.__setattr__(made, "name", name)
        return made

    def apart(self, name: str) -> Volume:
        """Return a copy under another name, whose voxels are its own: the file, or who handed them over, may go."""
        made = self.named(name)
        own: dict[str, object] = {"array": np.array(self.array, order="F"), "_owner": None}
        for field_name, value in own.items():
            object.__setattr__(made, field_name, value)
        return made

    @property
    def content(self) -> Array:
        """What tells it from other images on the same grid: its voxels."""
        return self.array

    def _range(self) -> tuple[float, float]:
        """Return the smallest and largest value; repairs non-finite voxels on the way."""
        if np.issubdtype(self.array.dtype, np.floating):
            # min and max carry NaN and infinity through, so two passes without a temporary find any of them.
            low, high = float(self.array.min()), float(self.array.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                return self._replace_non_finite()
            return low, high
        return float(self.array.min()), float(self.array.max())

    def _replace_non_finite(self) -> tuple[float, float]:
        array = np.array(self.array, order="K")
        low, high, count = np.inf, -np.inf, 0
        for k in range(array.shape[2]):
            finite = np.isfinite(array[:, :, k])
            count += finite.size - int(finite.sum())
            low = min(low, array[:, :, k].min(where=finite, initial=np.inf))
            high = max(high, array[:, :, k].max(where=finite, initial=-np.inf))
        if low > high:
            raise EmptyVolumeError(f"{self.name}: no voxel has a finite value. The file is damaged; export it again.")
        for k in range(array.shape[2]):
            plane = array[:, :, k]
            plane[~np.isfinite(plane)] = low
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "non_finite", count)
        return float(low), float(high)


def read_image(path: str | os.PathLike[str], series: int | None = None) -> tuple[Grid, Array, object]:
    """Read any scalar image: its grid, its voxels (I, J, K), and an object that has to live as long as they do.

    Raises:
        VolumeError: names the file and says what to do about it.
    """
    path = Path(path)
    path_letters.check(path)
    if not path.exists():
        raise VolumeError(f"{path}: there is no such file or folder.")
    if not path.is_file() and not path.is_dir():
        raise VolumeError(no_file(path))
    if series and not path.is_dir():
        raise VolumeError(
            f"{path.name}: there is no series {series} in it: it is a file of one image. Leave the series out, or "
            "give the folder."
        )
    return _read_folder(path, series) if path.is_dir() else _read_file(path)


def _check_extent(grid: Grid, name: str) -> None:
    """Say where sizes are no patient's, which headers have whose units are others: sizes of segments follow them."""
    extent = np.array(grid.shape) * grid.spacing
    if LEAST_EXTENT_MM <= extent.max() <= MOST_EXTENT_MM:
        return
    size = " x ".join(f"{e:.0f}" if e >= 10 else f"{e:.3g}" for e in extent)
    warnings.warn(
        f"{name}: the image is {size} mm large by its header. Check whether its voxel "
        "sizes are in mm: what is found in it, and how large that is said to be, depends on them.",
        VolumeWarning,
        stacklevel=3,
    )


def grid_of(image: Any, name: str = "the image") -> Grid:
    """Return the RAS grid of a `sitk.Image`, or of the file whose header a `sitk.ImageFileReader` has read.

    Of an image with more than three axes, the grid of the first three.

    Raises:
        VolumeError: there is none; says so of `name`.
    """
    axes = len(image.GetSize())
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (axes, axes))[:3, :3] * np.array(image.GetSpacing()[:3])
    lps[:3, 3] = image.GetOrigin()[:3]
    try:
        return Grid(image.GetSize()[:3], LPS_TO_RAS @ lps)
    except VolumeError as error:
        raise VolumeError(f"{name}: where its voxels lie is damaged in its header. {error} Export it again.") from error


def image_on(grid: Grid, pixel_type: int) -> sitk.Image:
    """Return an empty ITK image with this grid.

    Raises:
        VolumeError: a reason of `check_writable`.
    """
    check_writable(grid)
    lps = LPS_TO_RAS @ grid.index_to_world
    spacing = np.array(grid.spacing)
    image = sitk.Image(list(grid.shape), pixel_type)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def check_writable(grid: Grid) -> None:
    """Refuse a grid that results cannot be written on, before any work is done for them.

    Raises:
        VolumeError: the axes are not perpendicular; no image file format that ITK writes can express that.
    """
    direction = grid.index_to_world[:3, :3] / np.array(grid.spacing)
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise VolumeError(
            "This grid is sheared (its axes are not perpendicular), which image files cannot express. "
            "Harden or remove the transform, or resample the volume, and save again."
        )


def _read_folder(path: Path, series: int | None) -> tuple[Grid, Array, object]:
    image = dicom.read_series(path, series)
    return grid_of(image, path.name or str(path)), array_of(image), image


def _read_file(path: Path) -> tuple[Grid, Array, object]:
    try:
        reader = header_of(path)
        _check_header(reader, path.name)
        if nifti.is_nifti(path):
            nifti.check_positions(path, reader)
            return grid_of(reader, path.name), nifti.read_voxels(path, reader), None
        grid = _placed(path, reader)
        text_headers.check_nrrd(path, (LPS_TO_RAS @ grid.index_to_world)[:3, :3])
        reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (len(reader.GetSize()) - 3)])
        image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    return grid, array_of(image), image


def _placed(path: Path, reader: sitk.ImageFileReader) -> Grid:
    """Return the grid of a file that is no NIfTI: of DICOM, as its header says, not as ITK guesses."""
    file = DicomFile.of(path, reader)
    if file is None:
        return grid_of(reader, path.name)
    file.check()
    grid = file.on(grid_of(reader, path.name))
    file.warn_of_unsaid()
    return grid


def header_of(path: Path) -> sitk.ImageFileReader:
    """Return a reader that has read a file's header.

    Raises:
        VolumeError: it cannot; says what the file is, and what to do about it.
    """
    path_letters.check(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    return reader


def unreadable(path: Path, error: RuntimeError) -> VolumeError:
    """Return the error to raise where ITK could not read a file."""
    return VolumeError(_explain(path, str(error)) + path_letters.hint(path))


def array_of(image: sitk.Image) -> Array:
    """View the voxels of an ITK image as (I, J, K); the view is only valid while the image lives."""
    view: Array = sitk.GetArrayViewFromImage(image).T  # (K, J, I) -> (I, J, K), no copy
    return view


def size_in_header(path: Path, io: str = "") -> tuple[int, ...]:
    """Return the size that a file's header says, along each of its axes; none where no header can be read.

    Args:
        path: the file.
        io: ITK's reader that is to read it; "" for any.

    Raises:
        VolumeError: a reason of `path_letters.check`.
    """
    path_letters.check(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return ()
    size: tuple[int, ...] = reader.GetSize()
    return size


def without_nan(labels: Array) -> Array:
    """Return labels with 0 where they have no value (NaN), as statistics packages write what lies outside of all."""
    if labels.dtype.kind != "f" or not bool((missing := np.isnan(labels)).any()):
        return labels
    found: Array = np.where(missing, labels.dtype.type(0), labels)
    return found


def _check_header(reader: sitk.ImageFileReader, name: str) -> None:
    size = reader.GetSize()
    if len(size) < 3:
        raise VolumeError(f"{name}: this is a {len(size)}-D image. Give a 3-D volume, or the folder of all its slices.")
    if any(n != 1 for n in size[3:]):
        raise VolumeError(
            f"{name}: this image has {len(size)} dimensions (size {size}). Extract one 3-D frame and use that, or "
            "segment all frames of a series in time with `sammed3d propagate`."
        )
    if reader.GetNumberOfComponents() != 1:
        raise VolumeError(
            f"{name}: every voxel has {reader.GetNumberOfComponents()} values (colour or vector image). "
            "Convert it to one grey value per voxel."
        )


def _check_kind(array: Array, name: str) -> None:
    if not isinstance(array, np.ndarray):
        raise VolumeError(
            f"{name}: voxels are a NumPy array, not a {type(array).__name__}. Make one: numpy.asarray(voxels)."
        )
    if array.ndim != 3:
        raise VolumeError(f"{name}: expected a 3-D array, got shape {array.shape}. Extract one 3-D frame.")
    if array.size == 0:
        raise VolumeError(f"{name}: the volume is empty (shape {array.shape}).")
    kind = array.dtype.kind
    if kind not in "iuf":
        raise VolumeError(f"{name}: voxels of type {array.dtype} cannot be used; convert them to integers or reals.")


def _explain(path: Path, itk_message: str) -> str:
    if "orthonormal" in itk_message:
        return (
            f"{path.name}: the image axes in its header are not perpendicular. "
            "Resample the image to a regular grid (for example with 3D Slicer's Resample Scalar Volume) and use that."
        )
    if "Unable to determine ImageIO reader" in itk_message:
        return f"{path.name}: {why_unreadable(path)}"
    return f"{path.name}: {text_headers.why_not_read(path) or DAMAGED}"
