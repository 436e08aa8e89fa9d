"""Why no reader takes a file: what it holds by its first bytes, and what it is called."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from sammed3d.files.other_layouts import segmentation_of_dicom

OTHER = "not an image file that can be read. Use NIfTI, NRRD, MHA or a folder of DICOM slices."
DAMAGED = "the file is damaged or incomplete and cannot be read. Copy or export it again."
KNOWN_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".dcm")
HEAD_BYTES = 512


def no_file(path: Path) -> str:
    """Say in one line why a path that has to be a file is none: reading a pipe would wait, or find a part of the data.

    Args:
        path: what is no regular file.
    """
    if path.exists() and not path.is_dir():
        return f"{path}: is a pipe or a device, whose data come only once. Write them into a file, and give that."
    return f"{path}: there is no such file."


def why_unreadable(path: Path) -> str:
    """Say in one line what a file is that ITK has no reader for, and what to do about it.

    Args:
        path: the file.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "the file is empty. Copy or export it again."
    packed = head.startswith(b"\x1f\x8b")
    if packed:
        head = _unpacked(path)
    if head[344:348] in (b"n+2\0", b"ni2\0") or head[4:7] in (b"n+2", b"ni2"):
        return "a file of NIfTI-2, which cannot be read. Convert it to NIfTI-1."
    if why := segmentation_of_dicom(path):
        return why
    kind, suffixes = _kind_of(head, packed)
    if suffixes and not path.name.lower().endswith(suffixes):
        return f"{kind} by what it holds, but not by its name. Rename it to end in {suffixes[0]}."
    if not packed and head.startswith(b"PK\x03\x04"):
        return "a zip archive. Unpack it, and give what is in it."
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page, perhaps of a download that wanted you to log in. Download the image again."
    if text.startswith(b"version https://git-lfs"):
        return "not the image, but where Git keeps it. Fetch it with: git lfs pull"
    if path.name.lower().endswith((".img", ".img.gz")):
        return "the voxels of an image without its header, a file .hdr. Put both into one folder, or export it again."
    if path.name.lower().endswith(KNOWN_SUFFIXES):
        return DAMAGED
    return OTHER


def _unpacked(path: Path) -> bytes:
    """Return the first bytes of what a file of gzip holds, as far as they can be unpacked."""
    try:
        with gzip.open(path) as file:
            return file.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _kind_of(head: bytes, packed: bool) -> tuple[str, tuple[str, ...]]:
    """Return what a file is, and how its name should end; "" and nothing where that is unknown."""
    if head[344:347] == b"n+1":
        return ("compressed NIfTI", (".nii.gz",)) if packed else ("NIfTI", (".nii", ".nii.gz"))
    if packed:
        return "", ()
    if head.startswith(b"NRRD000"):
        return "NRRD", (".nrrd", ".nhdr")
    if head.startswith((b"ObjectType", b"NDims")):
        return "MetaImage", (".mha", ".mhd")
    if head[128:132] == b"DICM":
        return "DICOM", (".dcm",)
    return "", ()
