"""Images that a browser sends: a file, a zip of DICOM slices, or the slices. Nothing of them stays on the disk.

A header may declare any size and name any other file, and a zip may unpack to anything: all of that is looked at first.
"""

from __future__ import annotations

import errno
import io
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sammed3d.errors import VolumeError
from sammed3d.files import path_letters
from sammed3d.files.dicom import SeriesFiles, series_in
from sammed3d.files.frames import Frames, is_in_time
from sammed3d.files.image_lists import SUFFIXES
from sammed3d.files.picture import PictureVolume
from sammed3d.files.unreadable import DAMAGED, OTHER, why_unreadable
from sammed3d.files.volume import Volume
from sammed3d.web.allowance import ANY_SIZE, Allowance
from sammed3d.web.images import Image, is_dicom_picture, read_image
from sammed3d.web.several import Several, frames_of, series_of

MOST_BYTES = 4 << 30
"""Of an upload, and of what a zip holds."""
MOST_FILES = 20_000
MOST_VOXELS = 1 << 30
"""Of a volume: 1024 x 1024 x 1024."""
MOST_DIRECTORY = 16 << 20
"""Bytes of a zip's own list of what it holds, which is read whole: several times what so many files take."""
IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha", *SUFFIXES)
HEADER_BYTES = 1 << 16
NO_SLICES = (
    "holds no DICOM slices. Choose all slices of a DICOM series, or a zip of them; other images one at a time, not in "
    "a zip."
)


class Incoming:
    """Files as they arrive, written into a folder of ours under names of ours.

    Args:
        folder: an empty one.
        most_bytes: of all files together.

    Attributes:
        files: name as sent, and where the file is.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._left = folder, most_bytes
        self.files: list[tuple[str, Path]] = []

    def begin(self, name: str) -> Path:
        """Return where to write the next file.

        Raises:
            VolumeError: it is one too many.
        """
        if len(self.files) >= MOST_FILES:
            raise VolumeError(
                f"That is more than {MOST_FILES} files. Open them on this computer: sammed3d view FOLDER."
            )
        shown = Path(name.replace("\\", "/")).name or "upload"
        ending = next((e for e in (*IMAGES, ".zip") if shown.lower().endswith(e)), ".dcm")
        place = self._folder / f"{len(self.files):06d}{ending}"
        self.files.append((shown, place))
        return place

    def count(self, length: int) -> None:
        """Count bytes that arrived.

        Raises:
            VolumeError: they are too many.
        """
        self._left -= length
        if self._left < 0:
            raise VolumeError("That is more than a page takes. Open it on this computer: sammed3d view FILE.")


def read(files: Sequence[tuple[str, Path]], folder: Path, allowance: Allowance = ANY_SIZE) -> Volume | Several:
    """Read the volume or picture that files are, or what there is to choose from. Takes seconds; touches no scene.

    Args:
        files: name as sent, and where the file is.
        folder: an empty one for what is unpacked, removed by the caller afterwards; series are read from it.
        allowance: how much memory there is for images; any by default.

    Raises:
        VolumeError: in one line why they are none.

    Warns:
        VolumeWarning: what a user should know of the image.
    """
    if not files:
        raise VolumeError("Nothing was sent.")
    name, place = files[0]
    if len(files) == 1 and place.suffix == ".zip":
        place = _unpacked(name, place, folder)
    elif len(files) > 1:
        if other := next((name for name, place in files if place.suffix != ".dcm"), None):
            raise VolumeError(f"{other}: open image files one at a time. Several files are taken for DICOM slices.")
        name, place = "DICOM", place.parent
    elif place.suffix == ".dcm" and not is_dicom_picture(place):
        raise VolumeError(f"{name}: {_why_not(place)}")
    found = series_in(place) if place.is_dir() else []
    if len(found) > 1:
        return series_of(found, name, lambda number: _series(name, place, found[number], number, allowance))
    _check_sizes(name, _files_at(place), allowance)
    if place.is_dir() and not found:
        raise VolumeError(f"{name}: {NO_SLICES}{path_letters.hint(place)}")
    if is_in_time(place):
        return frames_of(_told_as(name, place, lambda: Frames([place], name)), name)
    volume = _named(name, place)
    if isinstance(volume, PictureVolume):
        return PictureVolume.of(replace(volume.picture, name=name))
    return volume.apart(name)  # the file goes away


def _series(name: str, place: Path, found: SeriesFiles, number: int, allowance: Allowance) -> Volume:
    """Read a series of a folder."""
    _check_sizes(name, [Path(file) for file in found.files], allowance)
    return _named(name, place, number)


def _named(name: str, place: Path, series: int | None = None) -> Volume:
    return _told_as(name, place, lambda: read_image(place, series))


def _told_as(name: str, place: Path, work: Callable[[], Image]) -> Image:
    """Read an image; errors and warnings have the name under which it was sent."""

    def renamed(words: object) -> str:
        return str(words).replace(str(place), name).replace(f"{place.name}:", f"{name}:")

    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            image = work()
        except VolumeError as error:
            raise VolumeError(renamed(error)) from error
    for each in noted:
        warnings.warn(renamed(each.message), each.category, stacklevel=3)
    return image


def _why_not(place: Path) -> str:
    """Say why a file of no known name is nothing that the page opens."""
    why = why_unreadable(place)
    if why in (OTHER, DAMAGED):
        return f"not one of {', '.join(IMAGES)} or a zip. Choose all slices of a DICOM series."
    return why


def _files_at(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.iterdir())


def _check_sizes(name: str, files: Sequence[Path], allowance: Allowance) -> None:
    """Refuse headers that declare more voxels than anybody means, or than there is memory for, or from another file."""
    voxels = size = 0
    for file in files:
        _check_alone(name, file)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            continue  # whoever reads the volume says what that is
        declared = int(np.prod([int(n) for n in reader.GetSize()], dtype=object)) * reader.GetNumberOfComponents()
        bits = int((re.findall(r"\d+", sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())) or ["64"])[0])
        voxels, size = voxels + declared, size + declared * bits // 8
        if voxels > MOST_VOXELS:
            raise VolumeError(f"{name}: declares more than {MOST_VOXELS:,} voxels. Crop or resample it.")
    if voxels:
        allowance.check(name, size, f"{voxels:,} voxels of {8 * size // voxels} bits")


def _check_alone(name: str, file: Path) -> None:
    with file.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    if head.startswith(b"NRRD"):
        fields = [line.split(b":")[0].strip().lower() for line in head.split(b"\n\n")[0].splitlines()]
        apart = b"data file" in fields or b"datafile" in fields
    else:
        lines = [line for line in head.splitlines() if line.strip().lower().startswith(b"elementdatafile")]
        apart = any(line.split(b"=")[-1].strip().upper() != b"LOCAL" for line in lines)
    if apart:
        raise VolumeError(f"{name}: a header whose voxels are in another file. Save both as one file, .nrrd or .mha.")


class _Packed(io.BufferedReader):
    """A zip on the disk, of which no more than its list of files may be is read at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_DIRECTORY:
            raise VolumeError("Its list of files is too long.")
        return super().read(size)


def _unpacked(name: str, packed: Path, folder: Path) -> Path:
    """Unpack a zip into one folder, whatever the names in it."""
    slices = folder / "slices"
    slices.mkdir()
    incoming = Incoming(slices)
    try:
        with _Packed(io.FileIO(packed)) as file, zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                with archive.open(entry) as source, incoming.begin("slice").open("wb") as target:
                    while part := source.read(1 << 20):
                        incoming.count(len(part))
                        target.write(part)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # says nothing of the file
        raise VolumeError(f"{name}: cannot be unpacked; it is damaged, locked or no zip.") from error
    except VolumeError as error:
        raise VolumeError(
            f"{name}: unpacks to more than {MOST_BYTES >> 30} GiB or {MOST_FILES} files. Unpack it, and open the "
            "folder on this computer: sammed3d view FOLDER."
        ) from error
    return slices
