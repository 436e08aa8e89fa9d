"""DICOM images of JPEG whose header and pixels disagree on what the three values of a pixel are.

GDCM believes the header, so that colours are wrong where a JPEG stream holds RGB and the header says YCbCr, or the
other way round.

Source: ITU-T T.81 (JPEG), annex B; T.871 (JFIF), whose images are YCbCr; T.872, 6.5.3, the marker of Adobe.
"""

from __future__ import annotations

from sammed3d.errors import VolumeError

PHOTOMETRIC = "0028|0004"
"""Photometric interpretation, as ITK names it."""
PIXEL_DATA = bytes.fromhex("e07f1000") + b"OB\0\0\xff\xff\xff\xff"
"""Tag (7FE0,0010) of compressed pixels, with type and length; a table of offsets and the fragments follow."""
LOSSY = (0xC0, 0xC1, 0xC2)
"""Markers of frames that are baseline, extended or progressive; what is lossless is stored as the header says."""
_JFIF, _ADOBE, _SCAN = 0xE0, 0xEE, 0xDA
_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without anything behind them."""


def check_colours(data: bytes, said: str, name: str) -> None:
    """Refuse an image whose colours would be others than those that were stored.

    Args:
        data: the DICOM file.
        said: photometric interpretation in its header: "RGB", "YBR_FULL_422", ...
        name: in messages.

    Raises:
        VolumeError: they would.
    """
    stream = _stream(data)
    found = _kind_of(stream)
    if found and found != said.strip()[:3]:
        raise VolumeError(
            f"{name}: its header says that its colours are {said.strip()}, its JPEG data that they are "
            f"{'YCbCr' if found == 'YBR' else found}, so they would be shown wrong. Export it again, or save it as PNG "
            "in a program that shows it right."
        )


def _stream(data: bytes) -> bytes:
    """Return the compressed pixels from the first fragment on; nothing where they are not compressed."""
    at = data.find(PIXEL_DATA)
    if at < 0:
        return b""
    table = at + len(PIXEL_DATA)
    return data[table + 16 + int.from_bytes(data[table + 4 : table + 8], "little") :]


def _kind_of(stream: bytes) -> str:
    """Return "RGB" or "YBR" where a JPEG stream says for certain which it is; "" elsewhere."""
    at, said = 2, ""
    while stream[:2] == b"\xff\xd8" and stream[at : at + 1] == b"\xff" and at + 4 <= len(stream):
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at + 4 : at + 2 + length]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _JFIF and segment.startswith(b"JFIF\0"):
            said = said or "YBR"
        if marker == _ADOBE and segment.startswith(b"Adobe") and len(segment) >= 12:
            said = "YBR" if segment[11] else "RGB"
        if marker in LOSSY:
            return (_by_parts(segment) or said) if segment[5:6] == b"\3" else ""
        if marker == _SCAN:
            return ""
        at += 2 + length
    return ""


def _by_parts(frame: bytes) -> str:
    """Return what names and sizes of the three parts of a frame say: R, G and B, or colours at half the resolution."""
    parts = [frame[at : at + 3] for at in (6, 9, 12)]
    if len(frame) < 15:
        return ""
    if bytes(part[0] for part in parts) == b"RGB":
        return "RGB"
    return "YBR" if len({part[1] for part in parts}) > 1 else ""
