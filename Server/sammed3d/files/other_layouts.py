"""What people have that is no dataset yet: TotalSegmentator's folders, and DICOM; and how it becomes one.

Sources: TotalSegmentator's README (subjects with `ct.nii.gz` or `mri.nii.gz` and `segmentations/STRUCTURE.nii.gz`);
DICOM PS3.4, B.5 (SOP classes) and PS3.10, 7.1 (file meta information).
"""

from __future__ import annotations

import itertools
from pathlib import Path

MASKS = "segmentations"
"""TotalSegmentator's folder of masks, one file for each structure."""
IMAGES = ("ct.nii.gz", "mri.nii.gz")
ENDING = ".nii.gz"
LOOKED_AT = 200
"""Files of a folder that are looked at for what they are."""
CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a DICOM SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "a DICOM SEG",
    "1.2.840.10008.5.1.4.1.1.66.5": "a surface segmentation of DICOM",
    "1.2.840.10008.5.1.4.1.1.481.3": "a DICOM RTSTRUCT",
}
BY_SLICER = (
    "Load {} in 3D Slicer (module DICOM; SEG needs the extension QuantitativeReporting, RTSTRUCT SlicerRT), and choose "
    "Keep for training there, or save the scene for `sammed3d collect`."
)
HEAD_BYTES = 512


def subjects_in(folder: Path) -> list[tuple[Path, list[Path]]]:
    """Return what is in a folder of TotalSegmentator's, of a subject or of many: images, and their masks.

    Args:
        folder: the folder; a subject without an image is passed over.
    """
    places = [folder] if (folder / MASKS).is_dir() else sorted(each.parent for each in folder.glob(f"*/{MASKS}/"))
    found = []
    for place in places:
        masks = sorted(file for file in (place / MASKS).glob(f"*{ENDING}") if not file.name.startswith("."))
        images = [place / name for name in IMAGES if (place / name).is_file()]
        found += [(image, masks) for image in images[:1] if masks]
    return found


def structure_of(mask: Path) -> str:
    """Return the structure that a mask of TotalSegmentator's is of, by its file's name."""
    return mask.name[: -len(ENDING)]


def segmentation_of_dicom(file: Path) -> str:
    """Say in a sentence that a file is a segmentation of DICOM, and how to use it; "" for any other file."""
    kind = CLASSES.get(_sop_class(file))
    return f"{kind}, which is not read here. {BY_SLICER.format('it with its series')}" if kind else ""


def how_to_use(folder: Path) -> str:
    """Say in a sentence what a folder is that is no dataset, and how it becomes one; "" where that is unknown."""
    if subjects_in(folder):
        return (
            "It is laid out as TotalSegmentator's data are. Make a dataset of it: sammed3d collect FOLDER --to DATASET"
        )
    files = (file for file in folder.rglob("*") if file.is_file())
    if any(_sop_class(file) for file in itertools.islice(files, LOOKED_AT)):
        return f"It holds DICOM files, which are no dataset. {BY_SLICER.format('series and segmentations')}"
    return ""


def _sop_class(file: Path) -> str:
    """Return the SOP class of a DICOM file, out of its file meta information; "" for any other file."""
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
    except OSError:
        return ""
    place = head.find(b"\x02\x00\x02\x00UI", 132)
    if head[128:132] != b"DICM" or place < 0:
        return ""
    start = place + 8
    length = int.from_bytes(head[place + 6 : start], "little")
    return head[start : start + length].decode("ascii", "replace").rstrip("\0 ")
