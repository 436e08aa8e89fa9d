"""Write type stubs of slicer-core and VTK, from the signatures that their classes carry: for `make types`.

python makeStubs.py FOLDER
"""

import importlib
import io
import pkgutil
import re
import sys
from pathlib import Path

import slicer_core
import vtk
from vtkmodules import generate_pyi

SLICER = """from typing import Any
from slicer_core import *
mrmlScene: vtkMRMLScene
app: Any
modules: Any
util: Any
dicomDatabase: Any
"""
I18N = "def tr(text: str) -> str: ...\ndef translate(context: str, text: str) -> str: ...\n"
VTK = """from typing import Any
def calldata_type(kind: Any) -> Any: ...
def mutable(value: Any) -> Any: ...
VTK_OBJECT: int
VTK_STRING: int
VTK_INT: int
"""
UNTOLD = re.compile(r"-> '?(vtkMRMLNode|vtkObject|vtkObjectBase|vtkCollection|vtkVector3d)'?: \.\.\.")
"""A scene's methods return the class that was asked for, which their signatures cannot say."""
BASES = {"vtkmodules.vtkCommonCore", "vtkmodules.vtkCommonDataModel", "vtkmodules.vtkCommonMath"}
LIBRARY = Path(__file__).parents[2] / "SAMMed3DSegmentLib"
NUMPY_SUPPORT = """from typing import Any
import numpy as np
def vtk_to_numpy(vtk_array: Any) -> np.ndarray[Any, Any]: ...
def numpy_to_vtk(num_array: Any, deep: int = 0, array_type: Any = None) -> Any: ...
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def stub(module) -> str:
    """The stub of a wrapped module."""
    text = io.StringIO()
    generate_pyi.module_pyi(module, text)
    known = text.getvalue().replace("getset_descriptor", "Any")
    return "from vtk import *\n" + UNTOLD.sub("-> Any: ...", known)


def plain(signature: str) -> str:
    """A signature without the suffix of C++ floats, which Python cannot read: 0.0f."""
    return re.sub(r"(\d)f\b", r"\1", signature)


def main(folder: Path) -> None:
    push = generate_pyi.push_signature
    generate_pyi.push_signature = lambda owner, signatures, text: push(owner, signatures, plain(text))
    names = [m.name for m in pkgutil.iter_modules(slicer_core.__path__) if not m.name.startswith("lib")]
    for name in names:
        write(folder / "slicer_core" / f"{name}.pyi", stub(importlib.import_module(f"slicer_core.{name}")))
    write(folder / "slicer_core" / "__init__.pyi", "".join(f"from .{name} import *\n" for name in names))
    write(folder / "slicer" / "__init__.pyi", SLICER)
    write(folder / "slicer" / "i18n.pyi", I18N)
    used = {name for file in LIBRARY.glob("*.py") for name in re.findall(r"\bvtk\.(vtk\w+)", file.read_text("utf-8"))}
    homes = sorted({getattr(vtk, name).__module__ for name in used if hasattr(vtk, name)} | BASES)
    write(folder / "vtk" / "__init__.pyi", VTK + "".join(f"from {name} import *\n" for name in homes))
    write(folder / "vtk" / "util" / "__init__.pyi", "")
    write(folder / "vtk" / "util" / "numpy_support.pyi", NUMPY_SUPPORT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
