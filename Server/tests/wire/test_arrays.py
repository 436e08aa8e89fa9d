"""The packing of arrays, and what becomes of bytes that lie."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import by_name, small_volume
from sammed3d import Preset
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.wire import arrays, messages

SHAPE = (4, 5, 6)


def array(dtype=np.float32):
    return np.random.default_rng(0).standard_normal(SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_arrays_survive_bit_for_bit(dtype):
    assert np.array_equal(arrays.unpack(arrays.pack(array(dtype)), SHAPE), array(dtype).astype(np.float32))


def test_a_patch_of_an_image_gets_smaller():
    volume = small_volume()
    lattice = Lattice(volume.grid, Preset().spacing)
    patch = cut_patch(volume, lattice, lattice.window_at((60, 75, 45), (128, 128, 128)), Preset())
    packed = arrays.pack(patch.voxels)
    assert len(packed) < 0.8 * patch.voxels.nbytes
    assert np.array_equal(arrays.unpack(packed, patch.voxels.shape), patch.voxels)


@pytest.mark.parametrize("colours", [1, 2, 256, 257, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_arrays_of_few_values_get_smaller_and_survive(colours, dtype):
    rng = np.random.default_rng(colours)
    drawn = rng.standard_normal(colours).astype(dtype)[rng.integers(0, colours, (20, 30, 40)) // 2]
    packed = arrays.pack(drawn, palettes=True)
    assert len(packed) < len(arrays.pack(drawn))
    assert np.array_equal(arrays.unpack(packed, drawn.shape), drawn.astype(np.float32))


def test_arrays_of_many_values_are_packed_as_ever():
    logits = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    assert arrays.pack(logits, palettes=True) == arrays.pack(logits)


def malformed_palettes():
    good = arrays.pack((array() > 0).astype(np.float32), palettes=True)
    head, count, rest = good[:20], good[20:24], good[24:]
    assert count == struct.pack("<I", 2)
    yield "cut before its size", head + count[:2]
    yield "cut in its values", head + count + rest[:12]
    yield "no values", head + struct.pack("<I", 0) + rest
    yield "more values than places", head + struct.pack("<I", 121) + rest
    yield "fewer values than it names", head + struct.pack("<I", 1) + rest
    yield "4 GiB of values", head + struct.pack("<I", 2**32 - 1) + rest
    stored = struct.pack("<BxxxI", 0, 120)
    planes = b"".join(struct.pack("<BxxxI", 0, 2) + bytes(2) for _ in range(4))
    yield "a value that is not there", head + count + planes + stored + b"\2" * 120
    infinity = struct.pack("<BxxxI", 0, 2)
    infinite = infinity + b"\0\0" + infinity + b"\0\0" + infinity + b"\x80\x80" + infinity + b"\x7f\x7f"
    yield "infinity", head + count + infinite + stored + bytes(120)


@pytest.mark.parametrize(("name", "data"), by_name(malformed_palettes()))
def test_palettes_that_lie_are_refused(name, data):
    with pytest.raises(arrays.WireError):
        arrays.unpack(data, SHAPE)


def malformed():
    good = arrays.pack(array())
    head, rest = good[:20], good[20:]
    yield "empty", b""
    yield "cut in the head", good[:10]
    yield "cut in a plane", good[:-1]
    yield "more than the array", good + b"x"
    yield "other magic", b"NOPE" + good[4:]
    yield "other version", good[:4] + b"\x09" + good[5:]
    yield "object dtype", good[:5] + b"\x07" + good[6:]
    yield "other shape", arrays.pack(np.zeros((4, 5, 7), np.float32))
    yield "32 TiB", head[:8] + struct.pack("<III", 2**15, 2**15, 2**15) + rest
    yield "a plane longer than the message", head + struct.pack("<BxxxI", 0, 2**32 - 1) + rest[8:]
    yield "an unknown codec", head + struct.pack("<BxxxI", 9, 120) + rest[8:]
    bomb = zlib.compress(bytes(64 << 20), 9)
    yield "a bomb", head + struct.pack("<BxxxI", 1, len(bomb)) + bomb
    yield "broken deflate", head + struct.pack("<BxxxI", 1, 8) + b"\x78\x9c\xff\xff\xff\xff\xff\xff" + rest[128:]
    yield "NaN", arrays.pack(np.full(SHAPE, np.nan, np.float32))
    yield "infinity", arrays.pack(np.full(SHAPE, np.inf, np.float32))


@pytest.mark.parametrize(("name", "data"), by_name(malformed()))
def test_malformed_arrays_are_refused(name, data):
    with pytest.raises(arrays.WireError):
        arrays.unpack(data, SHAPE)


@given(st.binary(max_size=400))
def test_random_bytes_end_in_an_error_of_ours(data):
    for read in (lambda: arrays.unpack(data, SHAPE), lambda: messages.split(data)):
        with contextlib.suppress(arrays.WireError):
            read()


@given(st.data())
def test_mutated_arrays_end_in_an_error_or_an_array(data):
    packed = bytearray(arrays.pack(array()))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(arrays.WireError):
        assert arrays.unpack(bytes(packed), SHAPE).shape == SHAPE


@pytest.mark.parametrize(
    "message", [b"", b"\xff\xff\xff\xff{}", b"\x02\x00\x00\x00[]", b"\x02\x00\x00\x00\xff\xff", struct.pack("<I", 9)]
)
def test_malformed_messages_are_refused(message):
    with pytest.raises(arrays.WireError):
        messages.split(message)


def test_messages_survive():
    head, body = messages.split(messages.join({"a": [1, True]}, b"xyz"))
    assert head == {"a": [1, True]}
    assert bytes(body) == b"xyz"
