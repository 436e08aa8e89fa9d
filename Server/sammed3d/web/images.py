"""What the page opens: volumes, and pictures as the only slice of one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sammed3d.errors import VolumeWarning
from sammed3d.files.picture import Picture, PictureVolume, is_picture
from sammed3d.files.volume import Volume, size_in_header


def read_image(path: str | os.PathLike[str], series: int | None = None) -> Volume:
    """Read a volume, or a picture: PNG, JPEG, TIFF, BMP, or a DICOM file that holds one image.

    Raises:
        VolumeError: names the file and says what to do about it.
    """
    path = Path(path)
    if is_picture(path) or (series is None and is_dicom_picture(path)):
        picture = Picture.read(path)
        return PictureVolume.of(picture)
    return Volume.read(path, series)


Image = TypeVar("Image")


def with_cautions(read: Callable[[], Image]) -> tuple[Image, tuple[str, ...]]:
    """Read an image, and return beside it what its user should know of it, which Python would only warn of."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        image = read()
    for each in noted:
        if not issubclass(each.category, VolumeWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return image, tuple(str(each.message) for each in noted if issubclass(each.category, VolumeWarning))


def is_dicom_picture(path: Path) -> bool:
    """Whether a file is a DICOM image of one frame; a folder of them is a volume."""
    if path.suffix.lower() != ".dcm" or not path.is_file():
        return False
    size = size_in_header(path, "GDCMImageIO")
    return len(size) == 2 or size[2:3] == (1,)
