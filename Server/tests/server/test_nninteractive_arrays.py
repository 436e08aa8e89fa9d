"""Arrays of nnInteractive's clients, whole and damaged, unpacked in a process of their own."""

import multiprocessing
import os
import signal
import struct

import blosc2
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import by_name
from sammed3d.server.compat.nninteractive.arrays import ArrayError, Unpacker, pack
from uploads import IMAGE, MIB, packed


@pytest.fixture(scope="module")
def unpacker():
    unpacker = Unpacker(64 * MIB)
    yield unpacker
    unpacker.close()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float32", "float64", "uint32"])
@pytest.mark.slow
def test_arrays_of_nninteractive_clients_are_understood(unpacker, dtype):
    array = (IMAGE % 2 if dtype == "bool" else IMAGE).astype(dtype)
    assert np.array_equal(unpacker.unpack(packed(array), 3), array)


def test_arrays_of_several_chunks_are_understood_and_ours_by_blosc2(unpacker):
    raw = IMAGE.tobytes()
    halves = [raw[: len(raw) // 2], raw[len(raw) // 2 :]]
    chunks = [(len(half), len(c := blosc2.compress2(half, typesize=2)), c) for half in halves]
    assert np.array_equal(unpacker.unpack(packed(IMAGE, chunks=chunks), 3), IMAGE)
    mask = (IMAGE > 300).astype(np.uint8)
    assert np.array_equal(unpacker.unpack(pack(mask), 3), mask)


def malformed_arrays():
    good = packed(IMAGE)
    chunk = blosc2.compress2(IMAGE.tobytes(), typesize=2)
    yield "nothing", b""
    yield "cut in the head", good[:10]
    yield "cut in a chunk", good[:-7]
    yield "more than the array", good + b"x"
    yield "other magic", packed(IMAGE, magic=b"NOPE")
    yield "other codec", packed(IMAGE, codec=9)
    yield "objects", packed(IMAGE, name="object")
    yield "dates", packed(IMAGE, name="datetime64[ns]")
    yield "no type", packed(IMAGE, name="\xff")
    yield "two axes", packed(IMAGE, shape=(20, 22 * 18))
    yield "negative", packed(IMAGE, shape=(-20, -22, 18))
    yield "zero", packed(IMAGE, shape=(0, 22, 18))
    yield "32 TiB", packed(IMAGE, shape=(1 << 14, 1 << 14, 1 << 14))
    yield "another size", packed(IMAGE, shape=(20, 22, 19))
    yield "a chunk longer than the message", packed(IMAGE, chunks=[(IMAGE.nbytes, 2**60, chunk)])
    yield "a chunk that claims a terabyte", packed(IMAGE, chunks=[(2**40, len(chunk), chunk)])
    yield "a million chunks", packed(IMAGE, chunks=[])[:-4] + struct.pack("<I", 10**6)
    yield "no blosc", packed(IMAGE, chunks=[(IMAGE.nbytes, 100, b"\x00" * 100)])
    yield (
        "a chunk whose head lies",
        packed(IMAGE, chunks=[(IMAGE.nbytes, len(chunk), chunk[:4] + b"\xff" * 8 + chunk[12:])]),
    )
    bomb = blosc2.compress2(bytes(60 * MIB), typesize=1)
    yield "a bomb", packed(IMAGE, chunks=[(60 * MIB, len(bomb), bomb)])


@pytest.mark.parametrize(("name", "data"), by_name(malformed_arrays()))
def test_malformed_arrays_are_refused_and_the_next_is_read(unpacker, name, data):
    with pytest.raises(ArrayError):
        unpacker.unpack(data, 3)
    assert np.array_equal(unpacker.unpack(packed(IMAGE), 3), IMAGE)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_arrays_never_end_the_server(unpacker, data):
    good = bytearray(packed(IMAGE[:6, :6, :6]))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = unpacker.unpack(bytes(good), 3)
    except ArrayError:
        return
    assert array.ndim == 3


@pytest.mark.slow
def test_a_process_that_dies_while_it_unpacks_is_a_bad_array_and_no_more(unpacker):
    unpacker.unpack(packed(IMAGE), 3)
    psutil.Process(unpacker.pid).kill()
    with pytest.raises(ArrayError):
        unpacker.unpack(packed(IMAGE), 3)
    assert np.array_equal(unpacker.unpack(packed(IMAGE), 3), IMAGE)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="its signals are others")
def test_ctrl_c_at_the_terminal_does_not_end_the_process(unpacker):
    unpacker.unpack(packed(IMAGE), 3)
    psutil.Process(unpacker.pid).send_signal(signal.SIGINT)
    assert np.array_equal(unpacker.unpack(packed(IMAGE), 3), IMAGE)


@pytest.mark.slow
def test_a_process_that_the_system_could_not_start_is_started_the_next_time(unpacker, monkeypatch):
    def refuse(self):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    unpacker.close()
    with monkeypatch.context() as full:
        full.setattr(multiprocessing.process.BaseProcess, "start", refuse)
        with pytest.raises(BlockingIOError):
            unpacker.unpack(packed(IMAGE), 3)
        unpacker.close()  # as at the server's end, which closes what comes after it, too
    assert np.array_equal(unpacker.unpack(packed(IMAGE), 3), IMAGE)
