"""The packing of arrays, without loss, for the way between client and server.

A packed array is a 20-byte head (magic, format, type, how, shape) and its bytes, split into planes: first all lowest
bytes, then the next. Where it makes them smaller, the numbers are first replaced by their differences from what their
neighbours along the three axes let one expect (the Lorenzo predictor), on their bits read as whole numbers in the order
of the values: that is exact, as integers wrap round. The planes of sign, exponent and leading digits compress well, the
others hardly, so each plane is stored or deflated on its own. Everything is lossless, little-endian, and checked
against limits before memory is taken.

Logits made of a mask that somebody drew have few different values: a palette. They are written as that, and for each
place which of them it is. Older readers do not know it, so writers have to be told that they may.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.errors import SAMMed3DError

FORMAT = 1
"""Version of the packing, in the head of each array."""
_HEAD = struct.Struct("<4sBBBxIII")
_PLANE = struct.Struct("<BxxxI")
_MAGIC = b"SM3D"
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
_COUNT = struct.Struct("<I")
_PLAIN, _DIFFERENCES, _PALETTE = 0, 1, 2
_STORED, _DEFLATED = 0, 1
_SAMPLE = 1 << 15
_SAMPLE_EDGE = 24
_WORTH = 0.98
"""A plane is deflated if a sample of it shrinks to less than this."""
FAST, CLOSE = 1, 6
"""Levels of deflate: of what follows from images, where searching longer gains little; of palettes."""
MOST_COLOURS = 1 << 13
LARGEST = 1e30
"""No number of an array is larger, in either direction: differences of such are still numbers."""


class WireError(SAMMed3DError):
    """Bytes that are not what they claim to be."""


def pack(array: npt.NDArray[np.float32] | npt.NDArray[np.float16], palettes: bool = False) -> bytes:
    """Pack a 3-D array of float32 or float16.

    Args:
        array: the array.
        palettes: whether an array of few different values is written as those and the number of each, which not all
            readers know.
    """
    code = next(code for code, dtype in _TYPES.items() if dtype == array.dtype)
    bits = np.ascontiguousarray(array).view(f"<u{array.dtype.itemsize}")
    if palettes and (coloured := _palette(bits)) is not None:
        return _HEAD.pack(_MAGIC, FORMAT, code, _PALETTE, *array.shape) + coloured
    middle = tuple(slice(max(0, (n - _SAMPLE_EDGE) // 2), (n + _SAMPLE_EDGE) // 2) for n in bits.shape)
    sample = bits[middle]
    differs = _crowding(_differences(sample)) < _crowding(sample)
    head = _HEAD.pack(_MAGIC, FORMAT, code, _DIFFERENCES if differs else _PLAIN, *array.shape)
    return head + pack_planes(_differences(bits) if differs else bits)


def shape_of(data: bytes | memoryview) -> tuple[int, int, int]:
    """Return the shape that a packed array says it has.

    Raises:
        WireError: there is not even its head.
    """
    if len(data) < _HEAD.size:
        raise WireError("The array is cut off in its head.")
    *_, a, b, c = _HEAD.unpack_from(data)
    return a, b, c


def unpack(data: bytes | memoryview, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Unpack an array of a known shape, as float32; read-only.

    Raises:
        WireError: anything else than such an array, or one that holds NaN, infinity, or numbers beyond `LARGEST`.
    """
    view, found = memoryview(data), shape_of(data)
    magic, version, code, how, *_ = _HEAD.unpack_from(view)
    if magic != _MAGIC or version != FORMAT or code not in _TYPES or how not in (_PLAIN, _DIFFERENCES, _PALETTE):
        raise WireError("This is no packed array of this format.")
    if found != tuple(shape):
        raise WireError(f"The array is {found}, not {tuple(shape)}.")
    dtype = _TYPES[code]
    read = _unpack_palette if how == _PALETTE else unpack_planes
    numbers, offset = read(view, _HEAD.size, int(np.prod(shape)), dtype.itemsize)
    if offset != len(view):
        raise WireError("Bytes follow the array.")
    bits = numbers.reshape(shape)
    array = (_values(bits) if how == _DIFFERENCES else bits).view(dtype).astype(np.float32, copy=False)
    if not np.abs(array).max(initial=0) <= LARGEST:  # NaN is not, either
        raise WireError(f"The array holds NaN, infinity, or numbers beyond {LARGEST:g}.")
    array.flags.writeable = False
    return array


def _differences(bits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Replace the bits of floats by their differences from what their neighbours predict, smallest numbers small."""
    top, shift = bits.dtype.type(1 << (8 * bits.itemsize - 1)), 8 * bits.itemsize - 1
    signed = f"<i{bits.itemsize}"
    negative = (bits.view(signed) >> shift).view(bits.dtype)
    numbers = bits ^ (negative | top)  # whole numbers in the order of the values
    numbers[1:] -= numbers[:-1].copy()
    numbers[:, 1:] -= numbers[:, :-1].copy()
    numbers[:, :, 1:] -= numbers[:, :, :-1].copy()
    folded: npt.NDArray[Any] = (numbers << bits.dtype.type(1)) ^ (numbers.view(signed) >> shift).view(bits.dtype)
    return folded


def _values(folded: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Undo `_differences`."""
    kind, shift = folded.dtype.type, 8 * folded.itemsize - 1
    numbers = (folded >> kind(1)) ^ (kind(0) - (folded & kind(1)))
    np.cumsum(numbers, axis=2, dtype=folded.dtype, out=numbers)
    for j in range(1, numbers.shape[1]):  # much faster than cumsum, which goes along these axes in large steps
        numbers[:, j] += numbers[:, j - 1]
    for i in range(1, numbers.shape[0]):
        numbers[i] += numbers[i - 1]
    negative = ~(numbers.view(f"<i{folded.itemsize}") >> shift).view(folded.dtype)
    values: npt.NDArray[Any] = numbers ^ (negative | kind(1 << shift))
    return values


def _palette(bits: npt.NDArray[Any]) -> bytes | None:
    """Write the different values, and for each number which of them it is; None where there are too many."""
    if len(np.unique(bits[:: max(1, len(bits) // 4)])) > MOST_COLOURS:  # soon seen in logits of a network
        return None
    colours, numbers = np.unique(bits, return_inverse=True)
    if len(colours) > MOST_COLOURS:
        return None
    kind = np.uint8 if len(colours) <= 256 else np.uint16
    return _COUNT.pack(len(colours)) + pack_planes(colours) + pack_planes(numbers.astype(kind), CLOSE)


def _unpack_palette(view: memoryview, offset: int, count: int, size: int) -> tuple[npt.NDArray[Any], int]:
    """Read what `_palette` wrote; see `unpack_planes`."""
    if len(view) < offset + _COUNT.size:
        raise WireError("The array is cut off.")
    (different,) = _COUNT.unpack_from(view, offset)
    if not 0 < different <= min(MOST_COLOURS, max(1, count)):
        raise WireError("The array has more different values than may be.")
    colours, offset = unpack_planes(view, offset + _COUNT.size, different, size)
    numbers, offset = unpack_planes(view, offset, count, 1 if different <= 256 else 2)
    if count and numbers.max() >= different:
        raise WireError("The array names a value that it does not have.")
    return colours[numbers], offset


def pack_planes(bits: npt.NDArray[Any], level: int = FAST) -> bytes:
    """Pack whole numbers, split into the planes of their bytes, each of which is stored or deflated."""
    planes = np.ascontiguousarray(bits).view(np.uint8).reshape(-1, bits.itemsize)
    parts = []
    for n in range(bits.itemsize):
        plane = np.ascontiguousarray(planes[:, n]).tobytes()
        middle = max(0, len(plane) // 2 - _SAMPLE // 2)
        sample = plane[middle : middle + _SAMPLE]
        # searching for matches pays where bytes repeat; where they merely crowd together, codes of different length do
        tried = {s: _deflated(sample, s, level) for s in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)}
        strategy = min(tried, key=lambda s: len(tried[s]))
        if len(tried[strategy]) < _WORTH * len(sample):
            deflated = tried[strategy] if len(sample) == len(plane) else _deflated(plane, strategy, level)
            parts += [_PLANE.pack(_DEFLATED, len(deflated)), deflated]
        else:
            parts += [_PLANE.pack(_STORED, len(plane)), plane]
    return b"".join(parts)


def unpack_planes(view: memoryview, offset: int, count: int, size: int) -> tuple[npt.NDArray[Any], int]:
    """Read what `pack_planes` wrote.

    Args:
        view: the message.
        offset: where the planes begin in it.
        count: how many numbers there are.
        size: bytes of each.

    Returns:
        The numbers (count,), unsigned, and where the message goes on.

    Raises:
        WireError: there are others, or none.
    """
    planes = np.empty((count, size), np.uint8)
    for n in range(size):
        offset = _unpack_plane(view, offset, planes[:, n])
    return planes.reshape(-1).view(f"<u{size}"), offset


def _crowding(bits: npt.NDArray[Any]) -> int:
    """Estimate how many bytes it takes to store whole numbers."""
    planes = np.ascontiguousarray(bits).view(np.uint8).reshape(-1, bits.itemsize)
    return sum(len(_deflated(planes[:, n].tobytes(), zlib.Z_HUFFMAN_ONLY)) for n in range(bits.itemsize))


def _deflated(data: bytes, strategy: int, level: int = FAST) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return deflate.compress(data) + deflate.flush()


def _unpack_plane(view: memoryview, offset: int, plane: npt.NDArray[np.uint8]) -> int:
    """Fill a plane from a message; returns where the next one begins."""
    how: int
    length: int
    if len(view) < offset + _PLANE.size:
        raise WireError("The array is cut off.")
    how, length = _PLANE.unpack_from(view, offset)
    offset += _PLANE.size
    if how not in (_STORED, _DEFLATED) or length > len(view) - offset:
        raise WireError("The array is cut off.")
    body: bytes | memoryview = view[offset : offset + length]
    if how == _DEFLATED:
        inflate = zlib.decompressobj()
        try:
            body = inflate.decompress(body, plane.size + 1)  # never more than that, whatever it claims
        except zlib.error as error:
            raise WireError("The array cannot be inflated.") from error
        if not inflate.eof or inflate.unused_data:
            raise WireError("The array does not inflate to its size.")
    if len(body) != plane.size:
        raise WireError("The array has not got the size that it claims.")
    plane[:] = np.frombuffer(body, np.uint8)
    return offset + length
