"""The arrays of the nnInteractive 2 protocol ("NNIA"): a small head, then chunks that blosc2 compressed.

The head is read here. blosc2 is written in C and reads what strangers sent, so it runs in a process of its own, with
little memory and nothing else to do: what goes wrong there is a bad request, not the end of the server.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import struct
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

MAGIC, VERSION = b"NNIA", 1
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
}
ALONE_MIB = 256
"""Memory of the process besides the array that it unpacks."""
PATIENCE = 120.0
Array = npt.NDArray[np.generic]


class ArrayError(ValueError):
    """Bytes that are not what they claim to be."""


def pack(array: npt.NDArray[np.uint8]) -> bytes:
    """Pack an array of ours."""
    import blosc2  # noqa: PLC0415 - slow to load, and needed by this protocol alone

    name = array.dtype.name.encode()
    head = struct.pack("<4sBBBB", MAGIC, VERSION, 1, array.ndim, len(name)) + name
    head += struct.pack(f"<{array.ndim}qI", *array.shape, 1)
    raw = np.ascontiguousarray(array).tobytes()
    chunk: bytes = blosc2.compress2(raw, typesize=array.itemsize, clevel=3, filters=[blosc2.Filter.NOFILTER])
    return head + struct.pack("<QQ", len(raw), len(chunk)) + chunk


def read_head(data: bytes, dimensions: int, most_bytes: int) -> tuple[np.dtype[np.generic], tuple[int, ...], int]:
    """Return type, shape and length of the head of a packed array, all of it checked.

    Args:
        data: the packed array.
        dimensions: that it must have.
        most_bytes: that it may take when unpacked.

    Raises:
        ArrayError: something else.
    """
    if len(data) < 8:
        raise ArrayError("The array is cut off in its head.")
    magic, version, codec, count, length = struct.unpack_from("<4sBBBB", data)
    if magic != MAGIC or version != VERSION or codec not in (1, 2):
        raise ArrayError("This is no packed array of nnInteractive 2.")
    end = 8 + length + 8 * count + 4
    if len(data) < end:
        raise ArrayError("The array is cut off in its head.")
    dtype = DTYPES.get(data[8 : 8 + length].decode("ascii", "replace"))
    if dtype is None:
        raise ArrayError(f"Arrays of this type are not accepted. Accepted are {', '.join(DTYPES)}.")
    if count != dimensions:
        raise ArrayError(f"The array has {count} axes; {dimensions} are expected.")
    shape = struct.unpack_from(f"<{count}q", data, 8 + length)
    if not all(1 <= n <= 1 << 14 for n in shape) or math.prod(shape) * dtype.itemsize > most_bytes:
        raise ArrayError(f"The array is empty or larger than {most_bytes >> 20} MiB.")
    return dtype, shape, end


class Unpacker:
    """Unpack arrays in a process of its own, which is started when it is first needed and replaced when it dies.

    Args:
        most_bytes: that an array may take when unpacked.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def size(self, data: bytes, dimensions: int) -> int:
        """Return how many bytes an array will take, before it is unpacked; errors as `unpack`."""
        dtype, shape, _ = read_head(data, dimensions, self.most_bytes)
        return math.prod(shape) * dtype.itemsize

    def unpack(self, data: bytes, dimensions: int) -> Array:
        """Unpack an array.

        Raises:
            ArrayError: the bytes are not what they claim to be.
        """
        dtype, shape, offset = read_head(data, dimensions, self.most_bytes)
        with self._lock:
            connection = self._connection or self._start()
            try:
                connection.send_bytes(struct.pack("<QQ", offset, math.prod(shape) * dtype.itemsize))
                connection.send_bytes(data)
                if not connection.poll(PATIENCE):
                    raise EOFError
                if connection.recv_bytes(1) != b"1":
                    raise ArrayError("The array cannot be unpacked.")
                raw = connection.recv_bytes()
            except (EOFError, OSError) as error:
                self._stop()
                raise ArrayError("The array cannot be unpacked.") from error
        return np.frombuffer(raw, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)

    @property
    def pid(self) -> int | None:
        """Process id; None while there is no process."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with theirs:
            process = context.Process(target=_unpack_forever, args=(theirs, self.most_bytes), daemon=True)
            process.start()
        self._connection, self._process = ours, process
        return ours

    def _stop(self) -> None:
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._process = self._connection = None


def _unpack_forever(connection: Connection, most_bytes: int) -> None:
    """Run in the process: answer each packed array with its bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for the parent, who says when to end
    import blosc2  # noqa: PLC0415 - in this process only

    blosc2.set_nthreads(1)
    _limit_memory(2 * most_bytes + (ALONE_MIB << 20))
    while True:
        try:
            offset, total = struct.unpack("<QQ", connection.recv_bytes(16))
            data = connection.recv_bytes()
        except EOFError:
            return
        try:
            raw = _unpack_chunks(memoryview(data), offset, total)
        except Exception:  # whatever it is, it is the data's fault
            connection.send_bytes(b"0")
            continue
        connection.send_bytes(b"1")
        connection.send_bytes(raw)


def _unpack_chunks(data: memoryview, offset: int, total: int) -> bytearray:
    import blosc2  # noqa: PLC0415 - in this process only

    raw = bytearray(total)
    (chunks,) = struct.unpack_from("<I", data, offset - 4)
    done = 0
    for _ in range(chunks):
        length, packed = struct.unpack_from("<QQ", data, offset)
        offset += 16
        if packed > len(data) - offset or length > total - done or packed < 32:
            raise ArrayError("A chunk is cut off.")
        chunk = bytes(data[offset : offset + packed])
        if blosc2.get_cbuffer_sizes(chunk)[:2] != (length, packed):
            raise ArrayError("A chunk has not got the size that it claims.")
        if length:
            blosc2.decompress2(chunk, dst=memoryview(raw)[done : done + length])
        done, offset = done + length, offset + packed
    if done != total or offset != len(data):
        raise ArrayError("The chunks do not make up the array.")
    return raw


def _limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has. Only Linux can do that."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource  # noqa: PLC0415 - there is none on Windows

        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, taken + more))
