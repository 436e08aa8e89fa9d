"""torch's shared libraries, loaded while the interface goes on.

Python holds its lock (GIL) while it loads an extension module. Those of torch take half a second, and several with
CUDA: as long the interface would stand still. So the system is asked to load them first, through ctypes, which gives
the lock up; `import torch` then finds them in memory. torch itself does it this way on Windows.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

LIBRARIES = (("libtorch_global_deps", True), ("libtorch_python", False))
"""In torch's folder of libraries, in this order; whether all others may use their symbols, as torch wants it."""


def loadTorchLibraries() -> bool:
    """Load torch's libraries, and tell whether they were loaded; `import torch` says what is wrong if they were not."""
    specification = importlib.util.find_spec("torch")
    if "torch" in sys.modules or specification is None or not specification.origin or os.name == "nt":
        return False
    ending = ".dylib" if sys.platform == "darwin" else ".so"
    folder = Path(specification.origin).parent / "lib"
    system = ctypes.CDLL(None)
    system.dlopen.restype, system.dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    loaded = [
        system.dlopen(os.fsencode(folder / f"{name}{ending}"), os.RTLD_LAZY | (os.RTLD_GLOBAL if shared else 0))
        for name, shared in LIBRARIES
    ]
    return all(loaded)
