"""A Slicer scene in this process, by trame-slicer, where the module's code looks for it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sammed3d.errors import ModelError

LIBRARY = "SAMMed3DSegmentLib"
MISSING = (
    "The page needs trame-slicer, which is not installed here: make view sets up an environment of its own for it, or "
    "see docs/browser.md."
)


def check() -> None:
    """Tell whether there can be a scene.

    Raises:
        ModelError: trame-slicer is not installed.
    """
    if importlib.util.find_spec("trame_slicer") is None:
        raise ModelError(MISSING)


def find_library() -> None:
    """Make the module's code importable, which lies beside this package in a source tree.

    Raises:
        ModelError: it is not there.
    """
    if importlib.util.find_spec(LIBRARY) is not None:
        return
    folder = Path(__file__).parents[3] / "SAMMed3DSegment"
    if not (folder / LIBRARY).is_dir():
        raise ModelError(
            f"The page stands on the code of the Slicer module ({LIBRARY}), which is not beside this package. Run it "
            "from a clone of the repository, or put the module's folder on PYTHONPATH."
        )
    sys.path.append(str(folder))


def start(warnings: bool = False) -> Any:
    """Make the scene of this process and return trame-slicer's application.

    Args:
        warnings: whether VTK may write its warnings to the terminal.

    Raises:
        ModelError: trame-slicer or the module's code is not installed.
    """
    check()
    find_library()
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):  # VTK would look for an X server first
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    import slicer  # noqa: PLC0415 - takes a second
    import vtk  # noqa: PLC0415
    from trame_slicer.core import SlicerApp  # noqa: PLC0415

    if not warnings:
        vtk.vtkObject.GlobalWarningDisplayOff()
    app = SlicerApp()
    slicer.mrmlScene = app.scene
    slicer.app = SimpleNamespace(applicationLogic=lambda: app.app_logic, layoutManager=lambda: None)
    return app
