"""Stands for slicer.parameterNodeWrapper: typed fields on a vtkMRMLScriptedModuleNode."""

import json
import typing

import slicer


class _Field:
    def __init__(self, name, valueType, default):
        options = [a for a in typing.get_args(valueType) if a is not type(None)]
        self.name, self.type = name, options[0] if options else valueType
        self.isNode = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.default = None if self.isNode else self.type() if default is None else default

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        if self.isNode:
            return instance.parameterNode.GetNodeReference(self.name)
        text = instance.parameterNode.GetParameter(self.name)
        return self.default if text == "" else json.loads(text)

    def __set__(self, instance, value):
        if value is not None and not isinstance(value, self.type):
            raise TypeError(f"{self.name} takes {self.type.__name__}, got {type(value).__name__}")
        if self.isNode:
            instance.parameterNode.SetNodeReferenceID(self.name, value.GetID() if value else None)
        else:
            instance.parameterNode.SetParameter(self.name, json.dumps(value))


FORWARDED = ("AddObserver", "RemoveObserver", "StartModify", "EndModify", "Modified")
"""What the real one passes on to its node; all else of the node is `wrapper.parameterNode`'s."""


def _forwarded(name):
    return lambda self, *arguments: getattr(self.parameterNode, name)(*arguments)


def parameterNodeWrapper(cls):
    """Turn annotations into fields that are stored in the parameter node."""
    fields = {name: _Field(name, t, cls.__dict__.get(name)) for name, t in typing.get_type_hints(cls).items()}

    def initialize(self, parameterNode):
        self.parameterNode = parameterNode

    namespace = {**fields, "__init__": initialize, "__doc__": cls.__doc__, "__module__": cls.__module__}
    namespace["__slots__"] = ("parameterNode",)  # what is misspelt is nothing that a scene would keep
    return type(cls.__name__, (), namespace | {name: _forwarded(name) for name in FORWARDED})
