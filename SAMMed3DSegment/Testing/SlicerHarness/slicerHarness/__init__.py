"""A headless Slicer for tests: real MRML from slicer-core, Qt from PySide6, stand-ins only for what both lack.

Put the folder above on the path and import this before anything of the module under test. What it proves and what it
cannot is written in docs/testing-in-slicer.md.
"""

import importlib
import os
import sys
import types
from pathlib import Path

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
import slicer.util

import ctk  # noqa: F401 - its widgets, for .ui files
import qt  # before the parts of slicer that import it
from slicerHarness.scene import boot

boot()
slicer.__path__.append(str(Path(__file__).parents[1] / "slicerModules"))
from slicerHarness import widgets  # noqa: E402, F401 - fills slicer.qMRML*


def loadModule(path: Path):
    """Import a scripted module as the application's factory does; returns the Python module and its widget."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    pythonModule = importlib.import_module(name)
    parent = types.SimpleNamespace(path=str(path))
    getattr(pythonModule, name)(parent)
    setattr(slicer.modules, name.lower(), types.SimpleNamespace(path=str(path), name=name, parent=parent))
    container = slicer.qMRMLWidget()
    container.setLayout(qt.QVBoxLayout())
    container.setMRMLScene(slicer.mrmlScene)
    widget = getattr(pythonModule, name + "Widget")(container)
    widget.setup()
    return pythonModule, widget
