"""What Python can reach of a class in the real application: of Qt 5.15 and Qt 6, of CTK and Slicer."""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "manifest"
PYTHONQT = frozenset({"className", "inherits", "help", "delete", "connect", "disconnect", "name"})
"""What PythonQt gives to every object, beside what Qt gives."""


@dataclass(frozen=True)
class Known:
    """What a class has, with what it inherits.

    Attributes:
        properties: names; they are attributes, without a getter or setter of their own.
        readOnly: those that cannot be set.
        others: names of methods that can be called, enumerations.
        signals: signatures, `toggled(bool)`.
    """

    properties: frozenset
    readOnly: frozenset
    others: frozenset
    signals: frozenset

    @property
    def names(self):
        """All that can be read of an object."""
        return self.properties | self.others | {each.split("(")[0] for each in self.signals}

    def __or__(self, other):
        return Known(*(getattr(self, name) | getattr(other, name) for name in self.__annotations__))

    def __and__(self, other):
        return Known(*(getattr(self, name) & getattr(other, name) for name in self.__annotations__))


@functools.cache
def classes(name):
    """The classes of a manifest: "qt5", "qt6" or "slicer"."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["classes"]


@functools.cache
def known(className):
    """Return what a class has, in Qt 5.15 as in Qt 6.

    Raises:
        LookupError: the manifest lacks the class.
    """
    if className in classes("slicer"):
        own = {"properties": {}, "readOnly": [], "methods": [], "signals": []} | classes("slicer")[className]
        methods = {each.split("(")[0] for each in own["methods"]}
        found = Known(*map(frozenset, (own["properties"], own["readOnly"], methods, own["signals"])))
        return functools.reduce(Known.__or__, map(known, own["inherits"]), found)
    return ofQt("qt5", className) & ofQt("qt6", className)


@functools.cache
def ofQt(version, className):
    """Return what a class of Qt has in one version, "qt5" or "qt6"."""
    if className not in classes(version):
        raise LookupError(f"the manifest lacks {className}: add it to makeManifest.py")
    own = classes(version)[className]
    methods = {*own["others"], *(each.split("(")[0] for each in own["slots"])}
    found = Known(*map(frozenset, (own["properties"], (), methods | PYTHONQT, own["signals"])))
    return functools.reduce(Known.__or__, (ofQt(version, base) for base in own.get("inherits", [])), found)


standIns: dict[type, str] = {}
"""Classes of the harness, and the real class that each stands for."""


def strict(real):
    """Let a stand-in refuse what the real class lacks: what is read, what is set. Private names are its own."""

    def decorate(cls):
        inherited = realOf(cls) is not None
        standIns[cls] = real
        if inherited:
            return cls

        def read(self, name):
            _checkRead(self, name)
            return super(cls, self).__getattribute__(name)

        def write(self, name, value):
            _checkWrite(self, name)
            super(cls, self).__setattr__(name, value)

        cls.__getattribute__, cls.__setattr__ = read, write
        return cls

    return decorate


def realOf(cls):
    """Return the name of the class that a class stands for; None for a class that is no stand-in."""
    return next((standIns[base] for base in cls.__mro__ if base in standIns), None)


def _checkRead(made, name):
    real = realOf(type(made))
    if not (name.startswith("_") or name in known(real).names or name in _ofPython(made)):
        raise AttributeError(f"{real} has no attribute named {name!r}: manifest/slicer.json")


def _checkWrite(made, name):
    real = realOf(type(made))
    writable = known(real).properties - known(real).readOnly | {"name"}
    if not (name.startswith("_") or name in writable or type(made) not in standIns):
        raise AttributeError(f"{real} has no property {name!r} that can be set: manifest/slicer.json")


def _ofPython(made):
    """Names that a class in Python adds to the stand-in that it is made from: PythonQt allows those."""
    if type(made) in standIns:
        return ()
    added = {
        name
        for base in itertools.takewhile(lambda base: base not in standIns, type(made).__mro__)
        for name in vars(base)
    }
    return added | set(object.__getattribute__(made, "__dict__"))
