"""DICOM slices in memory, from strangers: as one volume, with all checks that a folder of slices has to pass."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sammed3d.errors import VolumeError
from sammed3d.files.dicom_frames import OF_TABLE
from sammed3d.files.volume import Volume

if TYPE_CHECKING:
    import pydicom

MISSING = 'DICOM from servers and archives needs more packages: pip install "sammed3d[dicomweb]"'
MOST_SLICES = 20_000
PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""Transfer syntaxes whose pixels are not compressed: little endian, implicit and explicit."""
NEEDED = ("Rows", "Columns", "PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
KEPT = (
    *NEEDED,
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "InstanceNumber"),
)
"""All that a volume needs; the patient's name is not among it."""


def volume_of(slices: Sequence[pydicom.Dataset], name: str) -> Volume:
    """Make a volume of slices.

    What their volume needs is written anew, to a folder that nobody else can read and that is gone afterwards. So the
    library that reads it, in C++, never sees what strangers wrote, and the disk never sees who the patient is.

    Raises:
        VolumeError: a slice is compressed or lacks what a volume needs, or a reason of `Volume.read`.
    """
    with tempfile.TemporaryDirectory(prefix="sammed3d-") as folder:
        try:
            for n, each in enumerate(slices):
                _write(each, Path(folder) / f"{n:06d}.dcm", name)
            volume = Volume.read(folder)
        except VolumeError as error:
            raise VolumeError(str(error).replace(Path(folder).name, name)) from error
    object.__setattr__(volume, "name", name)
    return volume


def slices_in_zip(
    data: bytes, most_bytes: int, name: str, reserve: Callable[[int], None] = lambda _: None
) -> list[pydicom.Dataset]:
    """Read the slices of a ZIP archive. Names in it do not matter, and what is no DICOM is passed by.

    Args:
        data: the archive.
        most_bytes: that its files may take.
        name: a name for messages.
        reserve: told of the bytes that its files take, before they are taken; refuses with a VolumeError.

    Raises:
        VolumeError: it is damaged, too large, or holds no slices.
    """
    import_pydicom()
    import pydicom  # noqa: PLC0415 - the extra [dicomweb]

    found: list[pydicom.Dataset] = []
    left = most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [entry for entry in archive.infolist() if not entry.is_dir()]
            size = sum(entry.file_size for entry in files)
            if len(files) > MOST_SLICES or size > most_bytes:
                raise VolumeError(f"{name}: holds more than {MOST_SLICES} files or {most_bytes >> 20} MiB.")
            reserve(size)
            for entry in files:
                with archive.open(entry) as file:
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise VolumeError(f"{name}: holds more than {most_bytes >> 20} MiB.")
                if content[128:132] == b"DICM":
                    found.append(pydicom.dcmread(io.BytesIO(content)))
    except VolumeError:
        raise
    except Exception as error:  # whatever zipfile and pydicom make of it, it is the data's fault
        raise VolumeError(f"{name}: is damaged. Export the series again.") from error
    found = [each for each in found if "PixelData" in each]
    if not found:
        raise VolumeError(f"{name}: holds no DICOM slices.")
    if len({each.get("SeriesInstanceUID") for each in found}) > 1:
        raise VolumeError(f"{name}: holds several series. Send the slices of one.")
    return found


def import_pydicom() -> None:
    """Refuse where pydicom is not there.

    Raises:
        VolumeError: names the remedy.
    """
    try:
        import pydicom  # noqa: F401, PLC0415 - the extra [dicomweb]
    except ImportError as error:
        raise VolumeError(MISSING) from error


def _write(source: pydicom.Dataset, file: Path, name: str) -> None:
    import pydicom  # noqa: PLC0415 - the extra [dicomweb]
    from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415

    syntax = str(getattr(source.file_meta, "TransferSyntaxUID", "")) if hasattr(source, "file_meta") else ""
    if syntax not in PLAIN:
        raise VolumeError(f"{name}: its pixels are compressed. Send them uncompressed (explicit VR little endian).")
    clean = pydicom.Dataset()
    try:
        if missing := [keyword for keyword in NEEDED if keyword not in source]:
            raise VolumeError(f"{name}: its slices lack {', '.join(missing)}, so they make no volume.")
        if int(source.get("NumberOfFrames", 1)) != 1 or int(source.get("SamplesPerPixel", 1)) != 1:
            raise VolumeError(f"{name}: has several frames or colours in one file. Send single grey slices.")
        if source.get("ModalityLUTSequence"):
            raise VolumeError(OF_TABLE.format(name))
        expected = int(source.Rows) * int(source.Columns) * int(source.BitsAllocated) // 8
        if expected == 0 or not expected <= len(source.PixelData) <= expected + 1:
            raise VolumeError(f"{name}: a slice is incomplete. Export the series again.")
        for keyword in KEPT:
            if keyword in source and (keyword != "SpacingBetweenSlices" or source[keyword].value):  # ITK takes no 0 mm
                setattr(clean, keyword, source[keyword].value)
        clean.file_meta = pydicom.dataset.FileMetaDataset()
        clean.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        clean.file_meta.MediaStorageSOPClassUID = source.SOPClassUID
        clean.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
        clean.save_as(file, enforce_file_format=True)
    except VolumeError:
        raise
    except Exception as error:  # values of a wrong kind
        raise VolumeError(f"{name}: a slice is damaged. Export the series again.") from error
