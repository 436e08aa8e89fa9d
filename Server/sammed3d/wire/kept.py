"""What a question says of answers that the server keeps: what the mask prompt is made of, and which logits are wanted.

A layer is named by the digest of its logits and placed in the patch of the question, so that neither the logits nor
what they show there have to cross the wire.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32, Marked
from sammed3d.inference.answers import Fading, KeptLayer
from sammed3d.wire.arrays import WireError, pack_planes, unpack_planes

MAX_LAYERS = 32
_FARTHEST = 4096


def is_digest(found: Any) -> bool:
    """Whether something is a SHA-256, 64 hexadecimal digits."""
    return isinstance(found, str) and re.fullmatch(r"[0-9a-f]{64}", found) is not None


def fading_from_json(found: Any) -> Fading:
    """Read how an answer fades, as `dataclasses.asdict` writes it.

    Raises:
        WireError: it is something else.
    """
    faces, margin = (found.get("faces"), found.get("margin")) if isinstance(found, dict) else (None, None)
    pairs = faces if isinstance(faces, list) and len(faces) == 3 else []
    if not pairs or not all(isinstance(p, list) and [type(side) for side in p] == [bool, bool] for p in pairs):
        raise WireError("An outline fades towards faces: three pairs of true or false.")
    if type(margin) is not int or not 0 < margin <= _FARTHEST:
        raise WireError("An outline fades over a number of voxels.")
    return Fading(tuple((lower, upper) for lower, upper in pairs), margin)


def layers_to_json(layers: Sequence[KeptLayer]) -> list[dict[str, Any]]:
    """Write layers, in order."""
    return [
        {
            "logits": layer.logits,
            "begin": list(layer.window.begin),
            "end": list(layer.window.end),
            **({} if layer.fading is None else {"fading": asdict(layer.fading)}),
        }
        for layer in layers
    ]


def layers_from_json(found: Any) -> tuple[KeptLayer, ...]:
    """Read what `layers_to_json` wrote.

    Raises:
        WireError: it is something else, or more than `MAX_LAYERS`.
    """
    if not isinstance(found, list) or len(found) > MAX_LAYERS:
        raise WireError(f"A mask prompt is made of a list of layers, at most {MAX_LAYERS}.")
    return tuple(_layer(each) for each in found)


def _layer(found: Any) -> KeptLayer:
    if not isinstance(found, dict) or not is_digest(found.get("logits")):
        raise WireError("A layer names its logits by their SHA-256, 64 hexadecimal digits.")
    begin, end = _corner(found.get("begin")), _corner(found.get("end"))
    if not all(0 < b - a <= _FARTHEST for a, b in zip(begin, end, strict=True)):
        raise WireError("A layer's window ends after it begins.")
    fading = None if found.get("fading") is None else fading_from_json(found["fading"])
    return KeptLayer(found["logits"], Box(begin, end), fading)


def _corner(found: Any) -> Index3:
    if not isinstance(found, list) or [type(v) for v in found] != [int] * 3 or max(map(abs, found)) > _FARTHEST:
        raise WireError("A corner of a layer's window is three whole numbers.")
    a, b, c = found
    return a, b, c


def marks_to_bytes(marked: Marked) -> bytes:
    """Write which logits are wanted."""
    return pack_planes(np.packbits(marked))


def marks_from_bytes(data: bytes, shape: Index3) -> Marked:
    """Read what `marks_to_bytes` wrote.

    Raises:
        WireError: it is something else, or of another shape.
    """
    count = math.prod(shape)
    bits = _numbers(data, -(-count // 8), 1)
    return np.unpackbits(bits, count=count).astype(np.bool_).reshape(shape)


def logits_to_bytes(logits: Float32) -> bytes:
    """Write a line of logits."""
    return pack_planes(np.ascontiguousarray(logits, "<f4").view("<u4"))


def logits_from_bytes(data: bytes, count: int) -> Float32:
    """Read what `logits_to_bytes` wrote.

    Raises:
        WireError: it is something else, or another number of logits, or one is NaN or infinity.
    """
    logits: Float32 = _numbers(data, count, 4).view("<f4").astype(np.float32)
    if not np.isfinite(logits).all():
        raise WireError("The logits hold NaN or infinity.")
    return logits


def _numbers(data: bytes, count: int, size: int) -> Any:
    numbers, end = unpack_planes(memoryview(data), 0, count, size)
    if end != len(data):
        raise WireError("Bytes follow the numbers.")
    return numbers
