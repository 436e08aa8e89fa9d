"""Headers of NRRD and MetaImage files, which are text: what they say that ITK passes over, or has no words for.

Source: the definition of the NRRD format (Teem), sections on basic fields, space and orientation, and detached headers.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.errors import VolumeError, VolumeWarning

HEAD_BYTES = 2**18
"""A header is shorter; that of a segmentation takes a few hundred bytes for each segment."""
LENGTHS = (
    "m",
    "meter",
    "metre",
    "cm",
    "centimeter",
    "centimetre",
    "um",
    "µm",
    "micron",
    "micrometer",
    "micrometre",
    "nm",
)
"""Units that are no mm."""
TO_LPS = {
    "left-posterior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior": (1, -1, 1),
    "las": (1, -1, 1),
}
"""Beginnings of the names of spaces that tell the sides of a patient, and the signs of their axes in LPS."""


def check_nrrd(path: Path, axes: npt.NDArray[np.float64]) -> None:
    """Refuse an NRRD file that ITK takes for another one, and say where its header says too little.

    Args:
        path: of the file; nothing is said of one of another kind.
        axes: (3, n) what ITK made of its axes: steps of a voxel in LPS mm.

    Raises:
        VolumeError: its sizes are in another unit, which ITK does not look at; or its axes are taken for others, as
            left-anterior-superior ones are before SimpleITK 2.5.6, which mirrors them.

    Warns:
        VolumeWarning: voxels of no size, for which ITK takes 1 mm; or axes that are those of no patient.
    """
    fields = _nrrd_fields(path)
    if not fields:
        return
    units = re.findall(r'"([^"]*)"', f"{fields.get('space units', '')} {fields.get('units', '')}")
    if other := [unit for unit in units if unit.strip().lower().removesuffix("s") in LENGTHS]:
        raise VolumeError(
            f"{path.name}: the sizes in its header are in {other[0]}, and would be taken for mm. Save it in mm."
        )
    sizes = fields.get("space directions", fields.get("spacings", "nan")).split()
    if any(math.isnan(_number(size)) for size in sizes if not size.startswith(("(", "none"))):
        warnings.warn(
            f"{path.name}: its header does not say how large its voxels are. They are taken for 1 mm wide; what is "
            "measured follows from that.",
            VolumeWarning,
            stacklevel=4,
        )
    if fields.get("dimension") != "3":  # ITK's own files of four axes name no space
        return
    space = fields.get("space", "").lower()
    signs = next((signs for name, signs in TO_LPS.items() if space.startswith(name)), None)
    if signs is None:
        warnings.warn(
            f"{path.name}: its header does not say which side of the patient is left (space: "
            f"{fields.get('space', 'none')}). Its axes are taken for left, posterior, superior: check the sides.",
            VolumeWarning,
            stacklevel=4,
        )
    elif not _agree(fields.get("space directions", ""), signs, axes):
        raise VolumeError(
            f"{path.name}: its axes ({fields['space']}) are taken for others by this version of SimpleITK, "
            f"{sitk.Version.VersionString()}. Update it (pip install --upgrade SimpleITK), or save the image in "
            "left-posterior-superior, as 3D Slicer does."
        )


def _agree(said: str, signs: tuple[int, int, int], axes: npt.NDArray[np.float64]) -> bool:
    """Tell whether axes in LPS are those of a header, where that says them at all: "(x,y,z) (x,y,z) (x,y,z)"."""
    numbers = [[_number(part) for part in each.split(",")] for each in re.findall(r"\(([^)]*)\)", said)]
    if [len(each) for each in numbers] != [3, 3, 3] or not np.isfinite(numbers).all():
        return True
    found = np.array(numbers).T * np.reshape(signs, (3, 1))
    return bool(np.allclose(found, axes, rtol=1e-3, atol=1e-3 * np.abs(found).max()))


def why_not_read(path: Path) -> str:
    """Say what keeps ITK from reading an NRRD or MetaImage file, where its header tells; else ""."""
    fields = _nrrd_fields(path) or _meta_fields(path)
    if fields.get("encoding", "").lower() in ("bz2", "bzip2"):
        return "its voxels are compressed by bzip2, which cannot be read. Save it compressed by gzip."
    for name in _data_files(fields):
        if not (path.parent / name).is_file():
            return f"its voxels are in another file, {name}, which is missing. Put both into one folder."
    return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _nrrd_fields(path: Path) -> dict[str, str]:
    """Return the fields of an NRRD header by their names in small letters; what a list of files names is in "list"."""
    lines = _lines(path)
    if not lines or not lines[0].startswith("NRRD000"):
        return {}
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        name, found, value = line.partition(": ")
        if not line.strip():
            break
        if found and not line.startswith("#") and ":=" not in line:
            fields[name.strip().lower().replace("datafile", "data file")] = value.strip()
            if fields.get("data file", "").startswith("LIST"):
                fields["list"] = "\n".join(lines[number:])
                break
    return fields


def _meta_fields(path: Path) -> dict[str, str]:
    """Return where a MetaImage header says that its voxels are, in the words of `_nrrd_fields`."""
    lines = _lines(path)
    for number, line in enumerate(lines):
        name, _, value = line.partition("=")
        if name.strip() == "ElementDataFile" and lines[0].startswith(("ObjectType", "NDims")):
            return {"data file": value.strip(), "list": "\n".join(lines[number + 1 :])}
    return {}


def _data_files(fields: dict[str, str]) -> list[str]:
    """Return the names of the files of voxels that a header names one by one."""
    said = fields.get("data file", "")
    if said.startswith("LIST"):
        return [line.strip() for line in fields.get("list", "").splitlines() if line.strip()]
    return [said] if said and "%" not in said and said.upper() != "LOCAL" else []


def _lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES).decode("utf-8", "replace").splitlines()
