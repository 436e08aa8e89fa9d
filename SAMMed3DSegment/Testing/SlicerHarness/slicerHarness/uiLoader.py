"""Loads .ui files as the application does; refuses what the stand-ins lack, which Qt would drop silently."""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from PySide6 import QtCore, QtUiTools

customWidgets: dict[str, type] = {}
"""Promoted class name to stand-in."""
_properties: dict[str, set[str]] = {}


def register(*widgetClasses):
    """Let .ui files use stand-ins; for the classes that they have the names of."""
    for widgetClass in widgetClasses:
        customWidgets[widgetClass.__name__] = widgetClass
        meta = widgetClass.staticMetaObject  # here, since PySide drops it with the first instance
        _properties[widgetClass.__name__] = {meta.property(n).name() for n in range(meta.propertyCount())}


class QUiLoader(QtUiTools.QUiLoader):
    """Builds widgets from a .ui file, with stand-ins for Slicer's and CTK's classes."""

    def __init__(self):
        super().__init__()
        for widgetClass in customWidgets.values():
            self.registerCustomWidget(widgetClass)

    def load(self, file, parent=None):
        path = file.fileName() if callable(getattr(file, "fileName", None)) else str(file)
        root = ET.parse(path).getroot()  # noqa: S314 - our own file
        self._check(root)
        wires = []
        for connections in root.iter("connections"):
            for connection in list(connections):
                if connection.findtext("signal").startswith("mrmlSceneChanged("):
                    wires.append((connection.findtext("sender"), connection.findtext("receiver")))
                    connections.remove(connection)
        with tempfile.TemporaryDirectory() as folder:
            cleaned = Path(folder) / "cleaned.ui"
            ET.ElementTree(root).write(cleaned)
            widget = super().load(str(cleaned), parent)
        named = {item.objectName: item for item in [widget, *widget.findChildren(QtCore.QObject)]}
        for sender, receiver in wires:
            named[sender].connect("mrmlSceneChanged(vtkMRMLScene*)", named[receiver].setMRMLScene)
        return widget

    @staticmethod
    def _check(root):
        for element in root.iter("class"):
            name = element.text or ""
            if re.match(r"(ctk|qMRML|qSlicer)", name) and name not in customWidgets:
                raise RuntimeError(f"no stand-in for promoted class {name}")
        for element in root.iter("widget"):
            known = _properties.get(element.get("class"))
            for item in element.findall("property"):
                if known is not None and item.get("stdset") != "0" and item.get("name") not in known:
                    raise RuntimeError(f"{element.get('class')} has no property {item.get('name')} in this harness")
