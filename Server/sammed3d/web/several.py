"""Folders and files that hold several volumes, of which the page shows one at a time: DICOM series, frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sammed3d.errors import VolumeError
from sammed3d.files.dicom import SeriesFiles, series_in
from sammed3d.files.frames import Frames, is_in_time
from sammed3d.files.volume import Volume

SERIES, FRAME = "series", "frame"


@dataclass(frozen=True)
class Several:
    """What holds several volumes.

    Attributes:
        kind: what they are, SERIES or FRAME.
        titles: of them, in their order.
        read: returns the one of a number, counted from 0; errors as `Volume.read`.
    """

    kind: str
    titles: tuple[str, ...]
    read: Callable[[int], Volume]

    def at(self, number: int) -> Volume:
        """Return one of them.

        Raises:
            VolumeError: it cannot be read, or there are not as many.
        """
        if not 0 <= number < len(self.titles):
            raise VolumeError(f"There is no {self.kind} {number}; there are {len(self.titles)}, counted from 0.")
        return self.read(number)


def several_in(path: Path, name: str = "") -> Several | None:
    """Return what there is to choose from in a folder or file; None where that is one volume, or none.

    Args:
        path: the folder or file.
        name: what it is called; that of the path by default.

    Raises:
        VolumeError: a 4-D file that cannot be read.
    """
    name = name or path.name or str(path)
    if is_in_time(path):
        return frames_of(Frames([path]), name)
    found = series_in(path) if path.is_dir() else []
    if len(found) < 2:
        return None
    return series_of(found, name, lambda number: Volume.read(path, number))


def series_of(found: list[SeriesFiles], name: str, read: Callable[[int], Volume]) -> Several:
    """Return the series of a folder, each named after itself."""

    def named(number: int) -> Volume:
        label = found[number].description or f"{SERIES} {number}"
        return _renamed(read(number), f"{name.split('.', maxsplit=1)[0]} {label}")

    return Several(SERIES, tuple(each.title for each in found), named)


def frames_of(frames: Frames, name: str) -> Several:
    """Return the volumes of a 4-D file, which stay in memory."""

    def named(number: int) -> Volume:
        return _renamed(frames.volume(number), f"{name.split('.', maxsplit=1)[0]} {FRAME} {number + 1}")

    return Several(FRAME, tuple(f"{number + 1} of {frames.count}" for number in range(frames.count)), named)


def _renamed(volume: Volume, name: str) -> Volume:
    """Return a volume under a name of which all can be shown, and be the name of a file."""
    return volume.named(name.replace("/", " ").replace(".", " "))
