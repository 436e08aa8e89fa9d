"""Reading a folder of DICOM slices as one volume, and refusing distorted ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sammed3d.errors import SeveralSeriesError, VolumeError, VolumeWarning
from sammed3d.files import path_letters
from sammed3d.files.damaged_slices import check_whole
from sammed3d.files.dicom_colours import PHOTOMETRIC
from sammed3d.files.dicom_frames import GAP_TOLERANCE_MM, DicomFile, numbers_in

POSITION, ORIENTATION, SPACING = "0020|0032", "0020|0037", "0028|0030"
INTERCEPT, SLOPE = "0028|1052", "0028|1053"
LEAST_STEP_MM = 1e-4
"""Slices that lie closer than this are at one place."""
CHARACTER_SET, MODALITY, DESCRIPTION = "0008|0005", "0008|0060", "0008|103e"
ENCODINGS = {
    "ISO_IR 100": "iso8859-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 166": "tis-620",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
"""Names of character sets in DICOM and in Python; all others are read as UTF-8."""


@dataclass(frozen=True)
class SeriesFiles:
    """A series of a folder.

    Attributes:
        files: of its slices, in the order of their positions.
        modality: "CT", say; "" where it is not said.
        description: what the department called it; "" where it is not said.
    """

    files: tuple[str, ...]
    modality: str
    description: str

    @property
    def title(self) -> str:
        """What tells it from others: "CT, portal venous, 120 slices"."""
        count = len(self.files)
        slices = f"{count} slice{'s' if count > 1 else ''}"
        return ", ".join(word for word in (self.modality, self.description, slices) if word)


def series_in(folder: Path) -> list[SeriesFiles]:
    """Return the series of a folder, counted as `read_series` does; none where it holds no DICOM slices."""
    return [_described(files) for files in _files_by_series(folder).values()]


def _described(files: tuple[str, ...]) -> SeriesFiles:
    """Return a series with what its first slice says of it."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return SeriesFiles(files, "", "")
    encoding = ENCODINGS.get(_text(reader, CHARACTER_SET, "ascii").split("\\")[0], "utf-8")
    modality, description = (_text(reader, tag, encoding) for tag in (MODALITY, DESCRIPTION))
    return SeriesFiles(files, modality, description)


def _text(reader: sitk.ImageFileReader, tag: str, encoding: str) -> str:
    """Return what a tag says, as one line; ITK hands on bytes that are no UTF-8 as they stand."""
    said: str = reader.GetMetaData(tag) if reader.HasMetaDataKey(tag) else ""
    text = said.encode(errors="surrogateescape").decode(encoding, "replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _files_by_series(folder: Path) -> dict[str, tuple[str, ...]]:
    path_letters.check(folder)
    reader, place = sitk.ImageSeriesReader, str(folder)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # a folder without a series is told by who asked
    try:
        found = {uid: tuple(reader.GetGDCMSeriesFileNames(place, uid)) for uid in reader.GetGDCMSeriesIDs(place)}
    except RuntimeError as error:
        raise VolumeError(_unreadable_header(folder.name or place)) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    for files in found.values():
        for file in files:
            path_letters.check(Path(file))
    return found


def _unreadable_header(name: str) -> str:
    return (
        f"{name}: one of its DICOM files has a header that cannot be read. Export the series again, or copy the "
        "slices of the one that is needed into a folder of their own."
    )


def read_series(folder: Path, series: int | None = None) -> sitk.Image:
    """Read the slices of one series of a folder, in the order of their positions.

    Args:
        folder: the folder of the slices; folders in it are not searched.
        series: which series (0, 1, ...) where the folder holds several.

    Raises:
        SeveralSeriesError: several series, and none chosen.
        VolumeError: no DICOM slices, damaged slices, or slices that are no even stack.
    """
    name = folder.name or str(folder)  # the present folder has none
    found = _files_by_series(folder)
    if not found:
        words = f"{name}: this folder holds no DICOM slices. Give the folder that does, or a file."
        raise VolumeError(words + path_letters.hint(folder))
    if series is None and len(found) > 1:
        listing = "; ".join(f"{index}: {_described(files).title}" for index, files in enumerate(found.values()))
        raise SeveralSeriesError(
            f"{name}: this folder holds {len(found)} series ({listing}). Say which one to read "
            "(--series N; Volume.read(folder, series=N) in Python)."
        )
    if series is not None and not 0 <= series < len(found):
        raise VolumeError(f"{name}: there is no series {series}; it holds {len(found)}, counted from 0.")
    uid, files = list(found.items())[series or 0]
    check_whole(folder, files, [file for names in found.values() if names is not files for file in names], uid)
    first = _first_of(files, name)
    first.check_values()
    first.check_step()
    for file in files[1:]:
        DicomFile.at(Path(file), first.reader, name).check_table()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        raise VolumeError(f"{name}: a DICOM slice is damaged or differs in size. Export it again.") from error
    _check_image(image, name)
    _check_positions(reader, image.GetSize()[2], name)
    if len(files) == 1:
        image.SetSpacing([*image.GetSpacing()[:2], first.step or image.GetSpacing()[2]])
        first.warn_of_unsaid()
    if _first(reader, PHOTOMETRIC) == "MONOCHROME1":
        warnings.warn(
            f"{name}: its slices are stored with bright and dark exchanged (MONOCHROME1). They are read as they are "
            "shown, so their values are inverted, and those of a CT are no HU.",
            VolumeWarning,
            stacklevel=5,
        )
    return _with_all_fractions(reader, image)


def _first_of(files: tuple[str, ...], name: str) -> DicomFile:
    """Return the first slice of a series, under the name of its folder."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(_unreadable_header(name)) from error
    return DicomFile.at(Path(files[0]), reader, name)


def _first(reader: sitk.ImageSeriesReader, tag: str) -> str:
    """Return what the first slice says for a tag; "" where it does not."""
    said: str = reader.GetMetaData(0, tag).strip() if reader.HasMetaDataKey(0, tag) else ""
    return said


def _with_all_fractions(reader: sitk.ImageSeriesReader, image: sitk.Image) -> sitk.Image:
    """Read slices again as real numbers where each is rescaled in its own way, as in PET.

    ITK takes the first slice's type for all of them, so those after a slice of whole numbers would be cut to such.
    """
    if image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        return image
    scales = {
        tuple(reader.GetMetaData(s, tag).strip() if reader.HasMetaDataKey(s, tag) else "" for tag in (SLOPE, INTERCEPT))
        for s in range(image.GetSize()[2])
    }
    if len(scales) == 1:
        return image
    reader.SetOutputPixelType(sitk.sitkFloat32)
    again: sitk.Image = reader.Execute()
    return again


def _check_image(image: sitk.Image, name: str) -> None:
    if image.GetDimension() > 3:
        raise VolumeError(
            f"{name}: each file of this series holds several slices. Give the file instead of the folder."
        )
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise VolumeError(f"{name}: this series is not a stack of grey-value slices, so it is not a volume.")


def _check_positions(reader: sitk.ImageSeriesReader, slices: int, name: str) -> None:
    """Refuse gaps, repeated or turned slices, tilted gantries: ITK would squeeze them into a regular grid, silently."""
    if slices < 2:
        return
    if not all(reader.HasMetaDataKey(s, tag) for s in range(slices) for tag in (POSITION, ORIENTATION, SPACING)):
        raise VolumeError(
            f"{name}: its slices do not say where they lie or how large their pixels are. Export the original series, "
            "or convert it to NIfTI with a tool that knows."
        )
    try:
        positions, orientations, spacings = (
            np.array([numbers_in(reader.GetMetaData(s, tag)) for s in range(slices)])
            for tag in (POSITION, ORIENTATION, SPACING)
        )
    except ValueError as error:  # before SimpleITK 2.5.4 GDCM does not mind
        raise VolumeError(_unreadable_header(name)) from error
    if not (spacings > 0).all():  # ITK would take 1 mm
        raise VolumeError(
            f"{name}: a pixel of its slices is 0 mm large, so the size of what is in them is not known. Export the "
            "original series."
        )
    if np.abs(orientations - orientations[0]).max() > 1e-3 or not np.allclose(spacings, spacings[0], rtol=1e-3, atol=0):
        raise VolumeError(
            f"{name}: its slices are not parallel, or their pixels not of one size (two series are mixed, or a "
            "localizer is among them). Keep the slices of one stack in the folder."
        )
    row, column = np.reshape(orientations[0], (2, 3))
    steps = np.diff(positions, axis=0)
    step = np.median(steps, axis=0)
    if np.abs(steps - step).max() > GAP_TOLERANCE_MM:
        raise VolumeError(
            f"{name}: the slices are not evenly spaced (some are missing or there twice, or two series are mixed). "
            "Complete the folder, or resample the volume in 3D Slicer and use that."
        )
    if np.linalg.norm(step) < LEAST_STEP_MM:
        raise VolumeError(
            f"{name}: all {slices} slices lie at the same place, as in a series in time, so they are no volume. "
            "Keep the slices of one stack in the folder."
        )
    tilt = np.abs([step @ row, step @ column]).max() * slices
    if tilt > 1.0:
        raise VolumeError(
            f"{name}: the slices are shifted against each other (tilted gantry, {tilt:.1f} mm in all). "
            "Load the series in 3D Slicer, which corrects the tilt, and save it as NRRD."
        )
