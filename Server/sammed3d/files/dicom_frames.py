"""Single DICOM files, of one image or many frames: where those lie, and what their values mean; ITK guesses both.

Source: DICOM PS3.3, functional groups of multi-frame images (C.7.6.16), Grid Frame Offset Vector (C.8.8.3.2), Modality
LUT (C.11.1).
"""

from __future__ import annotations

import math
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files.damaged_slices import IMPLICIT_LITTLE_ENDIAN, PIXEL_DATA

GROUPS = bytes.fromhex("00522992"), bytes.fromhex("00523092")
"""Tags (5200,9229) and (5200,9230), after which a file says where its frames lie: what they share, and each its own."""
DEFLATED, BIG_ENDIAN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2\0"
"""The transfer syntaxes whose tags do not stand in a file as these do."""
FRAME_TAGS = tuple(bytes.fromhex(tag) for tag in ("20003200", "20003700", "28003000"))
"""Tags of position, orientation and pixel spacing: (0020,0032), (0020,0037) and (0028,0030)."""
SCALE_TAGS = tuple(bytes.fromhex(tag) for tag in ("28005210", "28005310"))
"""Tags of rescale intercept and slope: (0028,1052) and (0028,1053)."""
THICKNESS_TAG, TABLE_TAG, ITEM = (bytes.fromhex(tag) for tag in ("18005000", "28000030", "feff00e0"))
"""Tags (0018,0050) and (0028,3000), and what an item of a sequence begins with."""
THICKNESS, BETWEEN, PIXELS, OFFSETS = "0018|0050", "0018|0088", "0028|0030", "3004|000c"
"""Slice thickness, spacing between slices, pixel spacing, and where the frames of a dose lie, as ITK names them."""
KIND = "0008|0016"
"""The class of what a DICOM file holds."""
BEGINNINGS = b"\x02\0", b"\x08\0"
"""Groups of the first tags of files that lack the preamble, which GDCM reads, too."""
META = 144
"""Where what a file says of itself goes on, behind how long that is in four bytes; its data follow."""
OF_TABLE = (
    "{}: its values are numbers of a table (Modality LUT Sequence), which is not applied here. Export the image with "
    "the table applied."
)
"""What is said of such an image, by name."""
GAP_TOLERANCE_MM = 0.05
"""How far a slice may lie from its even position before the series counts as irregular."""


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file, and what ITK makes of its header.

    Attributes:
        data: the file, inflated where it is deflated.
        reader: has read its header.
        name: in messages.
    """

    data: bytes = field(repr=False)
    reader: sitk.ImageFileReader
    name: str

    @classmethod
    def at(cls, path: Path, reader: sitk.ImageFileReader, name: str) -> DicomFile:
        """Return a DICOM file whose header a reader has read."""
        data = path.read_bytes()
        return cls(_inflated(data) if DEFLATED in data[:2048] else data, reader, name)

    @classmethod
    def of(cls, path: Path, reader: sitk.ImageFileReader) -> DicomFile | None:
        """Return a file whose header a reader has read; None where it is one of another format."""
        with path.open("rb") as file:
            head = file.read(132)
        if head[128:] == b"DICM" or (head[:2] in BEGINNINGS and reader.HasMetaDataKey(KIND)):
            return cls.at(path, reader, path.name)
        return None

    def check(self) -> None:
        """Refuse frames that ITK would put elsewhere, and values that it would take for others.

        Frames that have no places of their own, as in doses and older multi-frame images, are left to ITK where they
        are evenly spaced.

        Raises:
            VolumeError: frames that do not lie where ITK puts them, or do not say where they lie; values that mean
                something else in each frame, or by a table.
        """
        self.check_values()
        self.check_step()
        frames = self.reader.GetSize()[2]
        if frames > 1 and (self._is_big_endian or not self._are_where_itk_puts_them()):
            raise VolumeError(
                f"{self.name}: its {frames} frames are not evenly spaced or not in the order of their places, or the "
                "file does not say where they lie. Convert it to NIfTI (dcm2niix does) and use that."
            )

    def check_values(self) -> None:
        """Refuse values that ITK would take for others, without a word.

        Raises:
            VolumeError: they mean something else in each frame, or by a table.
        """
        self.check_table()
        if any(scales[1:] != scales[:-1] for scales in map(self._of_frames, SCALE_TAGS)):
            raise VolumeError(
                f"{self.name}: the values of its frames are rescaled each in its own way, which is not applied here. "
                "Convert it to NIfTI (dcm2niix does) and use that."
            )

    def check_table(self) -> None:
        """Refuse values that are numbers of a table.

        Raises:
            VolumeError: they are.
        """
        if self._has_table():
            raise VolumeError(OF_TABLE.format(self.name))

    def check_step(self) -> None:
        """Refuse slices that lie 0 mm apart, of which ITK makes no image, wherever they say that they lie.

        Raises:
            VolumeError: they do.
        """
        try:
            apart = float(self.reader.GetMetaData(BETWEEN))
        except (RuntimeError, ValueError):
            return
        if apart == 0:
            raise VolumeError(
                f"{self.name}: its header says that slices lie 0 mm apart (Spacing Between Slices). Export it again, "
                "or convert it to NIfTI (dcm2niix does) and use that."
            )

    @property
    def step(self) -> float | None:
        """The mm from one slice to the next where ITK does not look for them: a slice is as thick as it says.

        None where ITK is right, or the header says nothing.
        """
        if self._is_placed:
            return None
        said = [self._number(THICKNESS), *(each[0] for each in self._of_frames(THICKNESS_TAG))]
        return next((each for each in said if each is not None and 0 < each < math.inf), None)

    def on(self, grid: Grid) -> Grid:
        """Return the grid that ITK gives it with slices as far apart as `step` says."""
        if (step := self.step) is None:
            return grid
        affine = grid.index_to_world.copy()
        affine[:3, 2] *= step / grid.spacing[2]
        return Grid(grid.shape, affine)

    def warn_of_unsaid(self) -> None:
        """Say what its header leaves unsaid of sizes, for which something is taken.

        Warns:
            VolumeWarning: how large its pixels are, how thick its slice is, or how far its frames lie apart.
        """
        frames, step, unsaid = self.reader.GetSize()[2], self.step, []
        if (
            self.reader.GetSpacing()[:2] == (1.0, 1.0)
            and not self.reader.HasMetaDataKey(PIXELS)
            and not self._of_frames(FRAME_TAGS[2])
        ):
            unsaid.append("how large its pixels are (1 mm is taken)")
        if not self._is_placed and frames > 1:
            unsaid.append(
                f"how far its {frames} frames lie apart ({step or 1:g} mm is taken; if they are pictures of one place "
                "at several times, they are no volume)"
            )
        elif not self._is_placed and step is None:
            unsaid.append("how thick its slice is (1 mm is taken)")
        if unsaid:
            warnings.warn(
                f"{self.name}: its header does not say {', nor '.join(unsaid)}. What is measured follows from that.",
                VolumeWarning,
                stacklevel=5,
            )

    @property
    def _is_placed(self) -> bool:
        """Whether it says how far slices lie apart in a way that ITK reads."""
        return (
            self._number(BETWEEN) is not None
            or self.reader.HasMetaDataKey(OFFSETS)
            or (self.reader.GetSize()[2] > 1 and bool(self._groups))
        )

    def _number(self, tag: str) -> float | None:
        """Return a number of its header that is not 0; None where it has none."""
        try:
            return float(self.reader.GetMetaData(tag)) or None
        except (RuntimeError, ValueError):  # the first where there is no such tag
            return None

    @property
    def _is_big_endian(self) -> bool:
        return BIG_ENDIAN in self.data[:2048]

    @property
    def _is_implicit(self) -> bool:
        bare = self.data[:2] in BEGINNINGS and self.data[128:132] != b"DICM"
        return IMPLICIT_LITTLE_ENDIAN in self.data[:2048] or (bare and not self.data[4:6].isalpha())

    @property
    def _groups(self) -> bytes:
        """The part of it where its frames are described; empty where there is none."""
        begin = min((at for tag in GROUPS if (at := self.data.find(tag)) >= 0), default=len(self.data))
        end = self.data.find(PIXEL_DATA, begin)
        return self.data[begin : end if end >= 0 else len(self.data)]

    def _of_frames(self, tag: bytes) -> list[list[float]]:
        """Return the numbers that its frames have for a tag, one after the other; none where one is no number."""
        try:
            return _values(self._groups, tag, self._is_implicit)
        except ValueError:
            return []

    def _has_table(self) -> bool:
        """Tell whether it has a Modality LUT Sequence with something in it."""
        tag, item = (_swapped(TABLE_TAG), _swapped(ITEM)) if self._is_big_endian else (TABLE_TAG, ITEM)
        mark = tag if self._is_implicit else tag + b"SQ\0\0"
        end = self.data.find(PIXEL_DATA)
        at = self.data.find(mark, 0, end)
        while at >= 0:
            begin = at + len(mark) + 4
            if self.data[begin : begin + len(item)] == item:
                return True
            at = self.data.find(mark, begin, end)
        return False

    def _are_where_itk_puts_them(self) -> bool:
        if self._groups:
            return _is_stack(self._groups, self._is_implicit, self.reader)
        return not self.reader.HasMetaDataKey(OFFSETS) or _are_even(self.reader)


def _inflated(data: bytes) -> bytes:
    """Return a deflated file as if it were not; as it is where it is damaged, which ITK tells."""
    begin = META + int.from_bytes(data[META - 4 : META], "little")
    try:
        return data[:begin] + zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[begin:])
    except zlib.error:
        return data


def _swapped(tag: bytes) -> bytes:
    """Return a tag as it stands in a big-endian file."""
    return tag[1::-1] + tag[:1:-1]


def numbers_in(text: str) -> list[float]:
    r"""Return the numbers of a value of several: "1\2"."""
    return [float(part) for part in text.split("\\")]


def _are_even(reader: sitk.ImageFileReader) -> bool:
    """Tell whether the frames of a dose are as far apart as its first two, which ITK takes for all of them."""
    try:
        steps = np.diff(numbers_in(reader.GetMetaData(OFFSETS)))
    except ValueError:
        return False
    return len(steps) == reader.GetSize()[2] - 1 and bool(np.ptp(steps) <= GAP_TOLERANCE_MM)


def _is_stack(header: bytes, implicit: bool, reader: sitk.ImageFileReader) -> bool:
    """Tell whether the frames lie where ITK puts them, and their pixels are as large as it says."""
    try:
        positions, orientations, spacings = (_values(header, tag, implicit) for tag in FRAME_TAGS)
        axes = np.reshape(reader.GetDirection(), (3, 3)).T  # one a row
        step = axes[2] * reader.GetSpacing()[2]
        places = np.array(reader.GetOrigin()) + step * np.arange(reader.GetSize()[2])[:, None]
        return (
            np.shape(positions) == places.shape
            and bool(np.abs(np.subtract(positions, places)).max() <= GAP_TOLERANCE_MM)
            and bool(np.abs(np.subtract(orientations, axes[:2].ravel())).max() <= 1e-3)
            and np.allclose(spacings, reader.GetSpacing()[1::-1], rtol=1e-3)
        )
    except ValueError:  # not there, no numbers, or too few of them
        return False


def _values(header: bytes, tag: bytes, implicit: bool) -> list[list[float]]:
    """Return the numbers of all elements of a tag, in their order."""
    found: list[list[float]] = []
    start = header.find(tag)
    while start >= 0:
        length = int.from_bytes(header[start + (4 if implicit else 6) : start + 8], "little")
        found.append(numbers_in(header[start + 8 : start + 8 + length].decode("ascii").strip("\0 ")))
        start = header.find(tag, start + 8 + length)
    return found
