"""`import qt` on PySide6, with the manners of Slicer's PythonQt.

Properties are attributes (`button.checked = True`, `label.text`), setters still work, signals are connected by
signature (`button.connect("clicked(bool)", f)`), and unknown attributes of C++ objects are refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import os
import re

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

for _module in (QtCore, QtGui, QtWidgets):  # dir(): PySide6 loads its classes when they are first asked for
    globals().update({name: getattr(_module, name) for name in dir(_module) if not name.startswith("_")})

app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerHarness"])

VIRTUAL_GETTERS = ("sizeHint", "minimumSizeHint")
"""Patching these would recurse in Python subclasses."""
SIGNAL_TYPES = {"bool": bool, "int": int, "double": float, "QString": str}


class _Property:
    """Attribute access to a Qt property; on the class it stays the original (`qt.QTimer.singleShot`)."""

    def __init__(self, name, original, setter, isText):
        self.name, self.original, self.setter, self.isText = name, original, setter, isText

    def __get__(self, instance, owner):
        if instance is None:
            return self if self.original is None else self.original
        return instance.property(self.name)

    def __set__(self, instance, value):
        _checkText(value, f"{type(instance).__name__}.{self.name}", self.isText)
        if self.setter is not None:
            self.setter(instance, value)
        else:
            instance.setProperty(self.name, value)


def _checkText(value, what, isText=True):
    if isText and value is None:
        raise TypeError(f"{what}: PythonQt makes the word 'None' of None; give it a text")


def _patchProperties(cls):
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name, isText = meta.property(index).name(), meta.property(index).typeName() == "QString"
        if name in VIRTUAL_GETTERS or isinstance(cls.__dict__.get(name), _Property):
            continue
        setterName = "set" + name[0].upper() + name[1:]
        setter = getattr(cls, setterName, None)
        setattr(cls, name, _Property(name, getattr(cls, name, None), setter, isText))
        if isText and setter is not None:
            setattr(cls, setterName, _textSetter(setter, f"{cls.__name__}.{setterName}"))


def _textSetter(setter, what):
    def call(self, text, *more):
        _checkText(text, what)
        return setter(self, text, *more)

    return call


def _trimmed(function, available):
    """Pass only as many arguments as the function accepts, as PythonQt does for functions and methods in Python.

    All else that can be called, a `functools.partial` for example, gets all arguments.
    """
    count, plain = available, getattr(function, "__func__", function)
    if inspect.isfunction(plain) and not plain.__code__.co_flags & inspect.CO_VARARGS:
        count = min(count, plain.__code__.co_argcount - inspect.ismethod(function))

    def call(*arguments):
        return function(*arguments[:count])

    return call


def SIGNAL(signature):
    """Return the code of a signal, as the macro of that name does."""
    return f"2{signature}"


def _signal(sender, signature):
    """Look a signal up by its signature; returns it with its number of arguments."""
    match = re.match(r"\s*(\w+)\s*\((.*)\)\s*$", signature)
    if not match:
        raise ValueError(f"bad signal signature: {signature}")
    name, arguments = match[1], [a.strip() for a in match[2].split(",") if a.strip()]
    normalised = signature.replace(" ", "").replace("const", "").replace("&", "")
    real = manifest.realOf(type(sender))
    if real is not None and normalised not in manifest.known(real).signals:
        raise ValueError(f"{real} has no signal {signature}: manifest/slicer.json")
    isQts = sender.metaObject().indexOfSignal(normalised) >= 0
    if real is not None and not isQts:
        return getattr(sender, name), len(arguments)  # a signal of the stand-in, whose arguments are Python objects
    if not isQts:
        raise ValueError(f"{type(sender).__name__} has no signal {signature}")
    signal = getattr(sender, name)
    if arguments:
        with contextlib.suppress(KeyError, TypeError, IndexError):  # where there are overloads to choose from
            signal = signal[tuple(SIGNAL_TYPES.get(a, a) for a in arguments)]
    return signal, len(arguments)


def _connect(self, signature, receiver, slot=None):
    function = getattr(receiver, re.match(r"\w+", slot)[0]) if slot else receiver
    signal, count = _signal(self, signature)
    wrapped = _trimmed(function, count)
    signal.connect(wrapped)
    self.__dict__.setdefault("_connections", []).append((signature, function, signal, wrapped))
    return True


def _disconnect(self, signature, function=None):
    """Disconnect what was connected; PythonQt says nothing but False where nothing was, so that it goes on calling."""
    known = self.__dict__.get("_connections", [])
    fitting = [each for each in known if each[0] == signature and (function is None or each[1] == function)]
    if not fitting:
        raise ValueError(f"{type(self).__name__}: {signature} is not connected with that, and would stay connected")
    for connection in fitting if function is None else fitting[:1]:
        connection[2].disconnect(connection[3])
        known.remove(connection)
    return True


_originalGet = QtCore.QObject.__getattribute__


def _getattribute(self, name):  # PySide6 resolves QObject.connect in C before it looks at the class
    if name == "connect":
        return _connect.__get__(self)
    if name == "disconnect":
        return _disconnect.__get__(self)
    return _originalGet(self, name)


SETATTRO = 19 * ctypes.sizeof(ctypes.c_void_p)
"""Where a class has the address of the C function that sets attributes of its objects (`tp_setattro`)."""
_setInC = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.py_object)(
    ctypes.c_void_p.from_address(id(QtCore.QObject) + SETATTRO).value
)
"""PySide's own, which knows the properties of classes in Python; these cannot reach it by `super` any more."""


def _refuseNewAttributes(cls):
    """Let a class of Qt's take no new attributes; one in Python that is made from it may have them."""

    def write(self, name, value):
        if type(self).__module__.startswith("PySide6.") and not hasattr(type(self), name):
            if name.encode() in [bytes(known) for known in self.dynamicPropertyNames()]:
                self.setProperty(name, value)
                return
            raise AttributeError(
                f"{name!r} does not exist on {type(self).__name__}; new attributes of C++ objects are not allowed"
            )
        _setInC(self, name, value)

    cls.__setattr__ = write


QtCore.QObject.__getattribute__ = _getattribute
QtCore.QObject.className = lambda self: type(self).__name__
QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
QtCore.QObject.delete = lambda self: self.deleteLater()
for _class in list(globals().values()):
    if isinstance(_class, type) and issubclass(_class, QtCore.QObject) and hasattr(_class, "staticMetaObject"):
        _patchProperties(_class)
        _refuseNewAttributes(_class)

from slicerHarness import manifest  # noqa: E402
from slicerHarness.uiLoader import QUiLoader  # noqa: E402, F401 - slicer.util.loadUI takes it from here
