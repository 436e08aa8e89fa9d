"""2-D pictures: PNG, JPEG, TIFF, BMP, and single images of DICOM, grey or coloured. Their coordinates are pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError
from sammed3d.files import path_letters
from sammed3d.files.dicom_colours import PHOTOMETRIC, check_colours
from sammed3d.files.dicom_frames import DicomFile
from sammed3d.files.image_lists import SUFFIXES, Bytes, check_upright, read_mask, read_pixels, size_beyond_itk
from sammed3d.files.outputs import written_whole
from sammed3d.files.segmentation import LABEL_MAP_SUFFIXES, Segment, write_segments
from sammed3d.files.unreadable import no_file
from sammed3d.files.volume import Array, Volume, array_of, grid_of

PNG = ".png"
PLANE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Column and row to the places that stand for them, so that a slice of them is shown as the picture is."""
MOST_PIXELS = 100_000_000
"""A mask of a larger picture is no use to a model that sees 256 x 256."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A 2-D image.

    Attributes:
        pixels: (H, W, 3) uint8, blue first, as the 2-D models were trained; the three are equal where it is grey.
        grid: where programs that show pictures in a world (3D Slicer) put its pixels: (W, H, 1) voxels. What a file
            says about that, or one unit for each pixel.
        name: in error messages.

    Raises:
        VolumeError: it is too small or too large, or all of its pixels are equal.
    """

    pixels: Bytes
    grid: Grid
    name: str = "the picture"

    def __post_init__(self) -> None:
        _check_size(self.name, self.width, self.height)
        if (self.pixels == self.pixels[0, 0]).all():
            raise VolumeError(f"{self.name}: all pixels are equal, so there is nothing to segment.")

    @property
    def is_coloured(self) -> bool:
        """Whether any pixel is not grey."""
        return bool((self.pixels[..., :1] != self.pixels).any())

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.pixels.shape[0])

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Picture:
        """Read a picture, or a single image of DICOM.

        8 bits are taken as they are, 16 bits for their upper 8 as in the training of the models; grey values of DICOM
        from the smallest to the largest, bright where the file says that 0 is white (MONOCHROME1).

        Raises:
            VolumeError: it cannot be read, holds several images, or is to be turned when it is shown.
        """
        path = Path(path)
        path_letters.check(path)
        if not path.is_file():
            raise VolumeError(no_file(path))
        if not is_picture(path):
            return _read_dicom(path)
        grid = _flat_grid(path)
        _check_png_upright(path)
        return cls(read_pixels(path), grid, path.name)


@dataclass(frozen=True, eq=False)
class PictureVolume(Volume):
    """A picture as the only slice of a volume, for the code that evaluates prompts: clicks are places in its grid.

    Attributes:
        array: (W, H, 1) uint8, the largest of the three colours of a pixel.
        grid: where its pixels are, one slice of them.
        picture: what 2-D models are shown; its own grid does not count here.
    """

    picture: Picture = field(kw_only=True)

    @classmethod
    def of(cls, picture: Picture, grid: Grid | None = None) -> PictureVolume:
        """Return a picture as a volume, on a grid of (W, H, 1) voxels; by default one unit a pixel, in `PLANE`."""
        grid = grid or Grid((picture.width, picture.height, 1), PLANE)
        blue, green, red = np.moveaxis(picture.pixels, 2, 0)  # in pairs, which takes a tenth of the time
        return cls(np.maximum(np.maximum(blue, green), red).T[..., None], grid, picture.name, picture=picture)

    @property
    def content(self) -> Array:
        """What tells it from others: (H, W, 3), its colours."""
        return self.picture.pixels

    def _range(self) -> tuple[float, float]:
        """Return the range of any picture: whether there is something to see in it, `Picture` has asked."""
        return 0.0, 255.0


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of a picture which cannot be a volume."""
    return Path(path).suffix.lower() in SUFFIXES


def check_picture_place(path: Path) -> None:
    """Refuse a file that the mask of a picture cannot be written to, before any work is done for it.

    Raises:
        VolumeError: unknown suffix, or the folder does not exist.
    """
    if not path.name.lower().endswith((PNG, *LABEL_MAP_SUFFIXES)):
        raise VolumeError(f"{path.name}: unknown format. Use {PNG}, .seg.nrrd or {', '.join(LABEL_MAP_SUFFIXES)}.")
    if not path.parent.is_dir():
        raise VolumeError(f"{path}: the folder does not exist. Create it, or choose another place.")


def write_picture_segments(path: Path, segments: list[Segment], grid: Grid) -> None:
    """Write the masks of a picture; a PNG holds one, as 0 and 255.

    Raises:
        VolumeError: a reason of `check_picture_place`, several masks for a PNG, or it cannot be written.
    """
    check_picture_place(path)
    if path.suffix.lower() != PNG:
        write_segments(path, segments, grid)
        return
    if len(segments) != 1:
        raise VolumeError(f"{path.name}: a PNG holds one mask, not {len(segments)}. Use .seg.nrrd, or one for each.")
    found = segments[0].mask
    mask = np.zeros(grid.shape[:2], np.uint8) if found is None else found.full(grid.shape)[..., 0]
    write_png(255 * mask.T, path)


def write_png(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    """Write pixels (H, W) as a PNG file, whole or not at all.

    Raises:
        VolumeError: it cannot be written.
    """
    with written_whole(path) as beside:
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(pixels)), str(beside), useCompression=True)


def read_picture_mask(path: Path, picture: Picture) -> npt.NDArray[np.bool_]:
    """Read a mask of a picture from a PNG or another picture (0 and 1, or 0 and 255): (H, W).

    Raises:
        VolumeError: it is none, is to be turned when it is shown, or has another size.
    """
    _check_png_upright(path)
    found = read_mask(path)
    if found.shape != picture.pixels.shape[:2]:
        raise VolumeError(
            f"{path.name}: has {found.shape[1]} x {found.shape[0]} pixels, {picture.name} has "
            f"{picture.width} x {picture.height}."
        )
    return found


def _check_png_upright(path: Path) -> None:
    """Refuse a PNG that is to be turned when it is shown; files of other kinds are looked at when they are read."""
    if path.suffix.lower() == PNG:
        check_upright(path)


def _check_size(name: str, width: int, height: int) -> None:
    if min(height, width) < 2 or height * width > MOST_PIXELS:
        raise VolumeError(f"{name}: has {width} x {height} pixels; 2 x 2 to {MOST_PIXELS:,} are possible.")


def _flat_grid(path: Path) -> Grid:
    """Return the grid of a 2-D file as one slice, as ITK lays it: columns to the left, rows to the back.

    Raises:
        VolumeError: it holds several images, or more pixels than are read; none of them was looked at.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        size = size_beyond_itk(path)
        if size is None:
            raise VolumeError(f"{path.name}: cannot be read as an image ({', '.join(SUFFIXES)}).") from error
        _check_size(path.name, *size)
        return Grid((*size, 1), PLANE)
    if reader.GetDimension() != 2:
        raise VolumeError(f"{path.name}: holds {reader.GetSize()[2]} images; save the one that is meant as PNG.")
    (columns, rows), (x, y), (left, top) = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin()
    _check_size(path.name, columns, rows)
    affine = np.diag([-x, -y, 1.0, 1.0])
    affine[:2, 3] = -left, -top
    return Grid((columns, rows, 1), affine)


def _read_dicom(path: Path) -> Picture:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if len(size) != 3 or size[2] != 1:
            what = f"{size[2]} slices or frames" if len(size) == 3 else f"size {size}"
            raise VolumeError(f"{path.name}: is no picture ({what}), but a volume, whose clicks are R,A,S (--click).")
        file, grid = DicomFile.of(path, reader), grid_of(reader, path.name)
        if file is not None:
            file.check()
            check_colours(file.data, reader.GetMetaData(PHOTOMETRIC), path.name)
            grid = file.on(grid)
        image = reader.Execute()
    except RuntimeError as error:
        raise VolumeError(f"{path.name}: is neither a picture ({', '.join(SUFFIXES)}) nor a DICOM image.") from error
    if image.GetNumberOfComponentsPerPixel() == 3:
        colours = sitk.GetArrayFromImage(image)[0]
        if colours.dtype != np.uint8:
            raise VolumeError(f"{path.name}: has colours of {colours.dtype}; 8 bits are needed.")
        return Picture(np.ascontiguousarray(colours[..., ::-1]), grid, path.name)
    grey = array_of(image)[..., 0].T.astype(np.float64)
    low, high = float(grey.min()), float(grey.max())  # ITK has inverted MONOCHROME1
    scaled = (grey - low) * (255 / max(high - low, 1e-10))
    return Picture(np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2), grid, path.name)
