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
import qt  # noqa: F401 - before the parts of slicer that import it
from slicerHarness import scene

scene.boot()
slicer.__path__.append(str(Path(__file__).parents[1] / "slicerModules"))
from slicerHarness import dialogs, segmentEditor, widgets  # noqa: E402 - fills slicer.qMRML*

dialogs.install(slicer.util)
slotErrors = []
"""Errors in slots and observers, which the application only prints: tests look here."""


segmentEditor.onError = lambda error: _onError(type(error), error, error.__traceback__)


def _onError(kind, value, traceback):
    slotErrors.append(value)
    sys.__excepthook__(kind, value, traceback)


sys.excepthook = _onError


def loadModule(path: Path):
    """Import a scripted module and show it as the application does; returns the Python module and its widget."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    pythonModule = importlib.import_module(name)
    parent = types.SimpleNamespace(path=str(path))
    getattr(pythonModule, name)(parent)
    container = widgets.qSlicerScriptedLoadableModuleWidget(name)
    module = types.SimpleNamespace(path=str(path), name=name, parent=parent, widgetRepresentation=lambda: container)
    setattr(slicer.modules, name.lower(), module)
    container.reload()
    container.enter()
    return pythonModule, container.self()


def unloadModule(name: str):
    """Take a module off the screen, as the application does when it closes."""
    container = getattr(slicer.modules, name.lower()).widgetRepresentation()
    if container.isEntered:
        container.exit()
    for function in list(scene.unloadFunctions):
        function(name)
    vars(slicer.modules).pop(f"{name}Widget", None)
    container.deleteLater()
