"""What other clients upload: packed arrays and image files, whole or damaged."""

import io
import struct

import blosc2
import nibabel
import nrrd
import numpy as np

from helpers import make_affine, phantom

MIB = 1 << 20
IMAGE = phantom((20, 22, 18))


def packed(array, name=None, shape=None, chunks=None, codec=1, magic=b"NNIA"):
    """Pack an array as clients do, or almost so."""
    name = (name or array.dtype.name).encode()
    shape = shape or array.shape
    head = (
        struct.pack("<4sBBBB", magic, 1, codec, len(shape), len(name)) + name + struct.pack(f"<{len(shape)}q", *shape)
    )
    if chunks is None:
        chunk = blosc2.compress2(array.tobytes(), typesize=array.itemsize)
        chunks = [(array.nbytes, len(chunk), chunk)]
    body = b"".join(struct.pack("<QQ", length, size) + chunk for length, size, chunk in chunks)
    return head + struct.pack("<I", len(chunks)) + body


def nifti(array=IMAGE, affine=None, kind=nibabel.Nifti1Image):
    """The bytes of a NIfTI file."""
    return kind(
        array, make_affine((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (5, 6, 7)) if affine is None else affine
    ).to_bytes()


def nrrd_file(array=IMAGE, **header):
    """The bytes of an NRRD file, whose header may lie."""
    file = io.BytesIO()
    about = {"space": "left-posterior-superior", "space directions": np.diag([1.0, 2, 3]), "space origin": [4, 5, 6]}
    nrrd.write(file, array, about | {"encoding": "raw"} | header, index_order="F")
    return file.getvalue()
