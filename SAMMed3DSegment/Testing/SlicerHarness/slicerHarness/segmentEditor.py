"""Stand-ins for the Segment Editor: scripted effects, their factory and the editor's widget, on the real editor logic.

They call an effect when Slicer 5.10 and 5.12 do, and refuse what these refuse. What a scripted effect raises, Slicer
prints; here it goes to `onError`.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtGui, QtWidgets


def onError(error):
    raise error


METHODS = frozenset(
    [
        *("icon", "helpText", "clone", "activate", "deactivate", "setupOptionsFrame", "createCursor", "cleanup"),
        *("processInteractionEvents", "processViewNodeEvents", "interactionNodeModified", "layoutChanged"),
        *("setMRMLDefaults", "updateGUIFromMRML", "updateMRMLFromGUI", "referenceGeometryChanged"),
        *("sourceVolumeNodeChanged", "masterVolumeNodeChanged"),
    ]
)
"""What Slicer calls of a scripted effect, if it has it."""


class qSlicerSegmentEditorScriptedEffect:
    """The application's side of a scripted effect."""

    def __init__(self, parent):
        properties = {"name": "UnnamedScriptedEffect", "title": "", "perSegment": True, "requireSegments": True}
        properties |= {"showEffectCursorInSliceView": True, "showEffectCursorInThreeDView": False}
        self.__dict__["properties_"] = properties
        self._parent = parent
        self._self, self._active, self._node, self._editor = None, False, None, None
        self._frame = QtWidgets.QFrame()
        self._frame.setLayout(QtWidgets.QFormLayout())
        self._frame.setVisible(False)

    def __setattr__(self, name, value):
        if name in self.properties_:
            self.properties_[name] = value
        elif name.startswith("_"):
            self.__dict__[name] = value
        else:
            raise AttributeError(f"{name!r} is no property of an effect; C++ objects take no new attributes")

    def __getattr__(self, name):
        if name in self.properties_:
            return self.properties_[name]
        raise AttributeError(f"an effect has no {name!r}")

    # For the effect in Python

    def setPythonSource(self, path):
        """Make the Python object: the class is named after the file, its module after the folder."""
        if not path.endswith((".py", ".pyc")) or "\\" in path:
            return False
        moduleName, className = Path(path).parent.name, Path(path).stem
        className += "" if className.endswith("Effect") else "Effect"
        module = sys.modules.setdefault(moduleName, types.ModuleType(moduleName))
        if not hasattr(module, className):
            vars(module)["__file__"] = path
            exec(compile(Path(path).read_text(), path, "exec"), vars(module))  # noqa: S102 - as Slicer does
        self._self = getattr(module, className)(self)
        setattr(slicer, moduleName, self._self)
        return True

    def self(self):
        return self._self

    def parameterSetNode(self):
        return self._node

    def scene(self):
        return None if self._node is None else self._node.GetScene()

    def active(self):
        return self._active

    def optionsFrame(self):
        return self._frame

    def addOptionsWidget(self, widget):
        if not isinstance(widget, QtWidgets.QWidget | QtWidgets.QLayout):
            raise TypeError("an option is a QWidget or a QLayout")
        self._frame.layout().addRow(widget)

    def saveStateForUndo(self):
        if self._editor is not None:
            self._editor.saveStateForUndo()

    # For the editor

    def call(self, method, *arguments):
        """Call a method of the Python object, if it has it; what it raises is printed, as PythonQt does."""
        assert method in METHODS
        function = getattr(self._self, method, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except Exception as error:
            onError(error)
            return None

    def clone(self):
        clone = self.call("clone")
        if not isinstance(clone, qSlicerSegmentEditorScriptedEffect):
            onError(TypeError(f"{self.name}: clone() is mandatory, and returns an effect"))
            return None
        return clone

    def attach(self, editor):
        self._editor = editor

    def setParameterSetNode(self, node):
        self._node = node

    def activate(self):
        self._active = True
        self._frame.setVisible(True)
        self.updateGUIFromMRML()
        self.call("activate")

    def deactivate(self):
        self._active = False
        self._frame.setVisible(False)
        self.call("deactivate")

    def updateGUIFromMRML(self):
        if self._active:
            self.call("updateGUIFromMRML")

    def interactionNodeModified(self, node):
        """An effect without this method is switched off where the mouse places something."""
        if hasattr(self._self, "interactionNodeModified"):
            self.call("interactionNodeModified", node)
        elif node.GetCurrentInteractionMode() != node.ViewTransform:
            self._editor.setActiveEffect(None)


class qSlicerSegmentEditorEffectFactory:
    """Knows the effects, of which each editor has copies."""

    _instance = None

    def __init__(self):
        self.registered = []

    @classmethod
    def instance(cls):
        cls._instance = cls._instance or cls()
        return cls._instance

    def registerEffect(self, effect):
        if not effect.name:
            onError(ValueError("an effect without a name cannot be registered"))
            return False
        if effect.name in [known.name for known in self.registered]:
            return False
        self.registered.append(effect)
        return True


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):
    """The editor as far as effects see it."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setLayout(QtWidgets.QVBoxLayout())
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node, self._effects, self._active, self._observations = None, [], None, []
        for registered in qSlicerSegmentEditorEffectFactory.instance().registered:
            effect = registered.clone()
            effect.attach(self)
            self._effects.append(effect)
            effect.call("setupOptionsFrame")
            self._check(effect)
            self.layout().addWidget(effect.optionsFrame())

    @staticmethod
    def _check(effect):
        for method, kind in (("helpText", str), ("icon", QtGui.QIcon)):
            answer = effect.call(method)
            if answer is not None and not isinstance(answer, kind):
                onError(TypeError(f"{effect.name}: {method} returns a {kind.__name__}"))

    def setMRMLScene(self, scene):
        self._logic.SetMRMLScene(scene)
        interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        self._observe(interaction, lambda: self._active and self._active.interactionNodeModified(interaction))

    def setMRMLSegmentEditorNode(self, node):
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        for effect in self._effects:
            effect.setParameterSetNode(node)
            effect.call("setMRMLDefaults")
        self._observe(node, self._updateFromMRML)
        self._source = node.GetSourceVolumeNode()

    def mrmlSegmentEditorNode(self):
        return self._node

    def setSegmentationNode(self, node):
        if self._node.GetSegmentationNode() is not node:
            self.setActiveEffect(None)
            self._logic.SetSegmentationNode(node)

    def setSourceVolumeNode(self, node):
        self._logic.SetSourceVolumeNode(node)

    def setCurrentSegmentID(self, segmentId):
        self._node.SetSelectedSegmentID(segmentId)

    def effectByName(self, name):
        return next((effect for effect in self._effects if effect.name == name), None)

    def activeEffect(self):
        return self._active

    def setActiveEffect(self, effect):
        self._node.SetActiveEffectName("" if effect is None else effect.name)

    def setActiveEffectByName(self, name):
        self.setActiveEffect(self.effectByName(name))

    def saveStateForUndo(self):
        self._logic.SaveStateForUndo()

    def undo(self):
        self._logic.Undo()

    def redo(self):
        self._logic.Redo()

    def close(self):
        """End it, as the application does."""
        self.setActiveEffect(None)
        for effect in self._effects:
            effect.call("cleanup")
        for caller, tag in self._observations:
            caller.RemoveObserver(tag)
        self._observations = []

    def _observe(self, caller, function):
        tag = caller.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: function())
        self._observations.append((caller, tag))

    def _updateFromMRML(self):
        if self._node.GetSourceVolumeNode() is not self._source:
            self._source = self._node.GetSourceVolumeNode()
            for effect in self._effects:
                effect.call("sourceVolumeNodeChanged")
        wanted = self.effectByName(self._node.GetActiveEffectName())
        if wanted is self._active:
            return
        wasModifying = self._node.StartModify()  # what an effect changes meanwhile is noticed afterwards
        if self._active is not None:
            self._active.deactivate()
        if wanted is not None:
            interaction = slicer.app.applicationLogic().GetInteractionNode()
            if interaction.GetCurrentInteractionMode() != interaction.ViewTransform:
                interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            wanted.activate()
        self._active = wanted
        self._node.EndModify(wasModifying)


vars(slicer).update(
    {c.__name__: c for c in (qSlicerSegmentEditorScriptedEffect, qSlicerSegmentEditorEffectFactory)}
    | {"qMRMLSegmentEditorWidget": qMRMLSegmentEditorWidget}
)
