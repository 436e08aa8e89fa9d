"""Every name of Qt, CTK and Slicer that the module uses exists: in Qt 5.15, Qt 6, CTK, Slicer 5.10 and slicer-core."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import slicer

from slicerHarness import manifest

MODULE = Path(__file__).parents[2]
EFFECT = MODULE.parent / "SegmentEditorSAMMed3D"
SOURCES = [MODULE / "SAMMed3DSegment.py", *(MODULE / "SAMMed3DSegmentLib").glob("*.py"), *EFFECT.rglob("*.py")]


def chains(root):
    """Dotted names that begin with a root, as written in the module: (file and line, parts)."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts, inner = [], node
            while isinstance(inner, ast.Attribute):
                parts.insert(0, inner.attr)
                inner = inner.value
            if parts and isinstance(inner, ast.Name) and inner.id == root:
                yield f"{file.name}, line {node.lineno}", parts


def test_qt_names_exist():
    seen = 0
    for where, (name, *rest) in chains("qt"):
        if name == "SIGNAL":
            continue
        seen += 1
        assert not rest or rest[0] in manifest.known(name).names, f"{where}: qt.{name} has no {rest[0]}"
    assert seen > 15


def test_widgets_and_properties_of_the_ui_file_exist():
    seen = 0
    for element in ET.parse(MODULE / "Resources" / "UI" / "SAMMed3DSegment.ui").getroot().iter():  # noqa: S314 - our own
        name = element.get("class") or ""
        if not re.match(r"Q[A-Z]", name):
            continue  # Slicer's and CTK's own: below
        for item in element.findall("property"):
            margin = name.endswith("Layout") and item.get("name").endswith(("Margin", "Spacing"))
            seen += 1
            buddy = (name, item.get("name")) == ("QLabel", "buddy")  # for the loader, which calls setBuddy
            assert margin or buddy or item.get("name") in manifest.known(name).properties, (
                f"{name} has no {item.get('name')}"
            )
    assert seen > 100


def test_names_of_nodes_and_logics_exist():
    seen = 0
    for where, (name, *rest) in chains("slicer"):
        if name.startswith("vtk"):
            seen += 1
            assert hasattr(slicer, name), f"{where}: there is no slicer.{name}"
            assert not rest or hasattr(getattr(slicer, name), rest[0]), f"{where}: slicer.{name} has no {rest[0]}"
    assert seen > 40


# Widgets by the names that the .ui file gives them


WIDGETS = {
    element.get("name"): element.get("class")
    for element in ET.parse(MODULE / "Resources" / "UI" / "SAMMed3DSegment.ui").getroot().iter("widget")  # noqa: S314
}


def uses():
    """Widgets and what is asked of them, wherever `ui.name.something` is written: (where, widget, name)."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts, inner = [], node
            while isinstance(inner, ast.Attribute):
                parts.insert(0, inner.attr)
                inner = inner.value
            parts = [*([inner.id] if isinstance(inner, ast.Name) else []), *parts]
            if "ui" in parts and len(parts) > parts.index("ui") + 2:
                yield f"{file.name}, line {node.lineno}", *parts[parts.index("ui") + 1 : parts.index("ui") + 3]


def connections():
    """Signals that are connected, alone or in lists of connections: (where, widget, signature)."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            sender, signature = None, None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                sender, signature = (node.func.value, node.args[0]) if node.func.attr == "connect" else (None, None)
            elif isinstance(node, ast.Tuple) and len(node.elts) == 3:
                sender, signature = node.elts[:2]
            known = isinstance(sender, ast.Attribute) and sender.attr in WIDGETS
            if known and isinstance(signature, ast.Constant) and "(" in str(signature.value):
                yield f"{file.name}, line {node.lineno}", sender.attr, signature.value


def test_what_is_asked_of_widgets_exists():
    seen = 0
    for where, widget, name in uses():
        assert widget in WIDGETS, f"{where}: the .ui file has no {widget}"
        assert name in manifest.known(WIDGETS[widget]).names, (
            f"{where}: {widget} is a {WIDGETS[widget]}, which has no {name}"
        )
        seen += 1
    assert seen > 100


def test_signals_that_are_connected_exist():
    seen = set()
    for where, widget, signature in connections():
        assert signature in manifest.known(WIDGETS[widget]).signals, (
            f"{where}: {widget} is a {WIDGETS[widget]}, which has no signal {signature}"
        )
        seen.add(WIDGETS[widget])
    assert {"qMRMLNodeComboBox", "qMRMLSegmentsTableView", "ctkCollapsibleButton", "ctkDirectoryButton"} <= seen


def test_properties_of_slicers_widgets_in_the_ui_file_exist():
    seen = 0
    for element in ET.parse(MODULE / "Resources" / "UI" / "SAMMed3DSegment.ui").getroot().iter("widget"):  # noqa: S314
        if element.get("class") in manifest.classes("slicer"):
            known = manifest.known(element.get("class"))
            for item in element.findall("property"):
                if item.get("stdset") != "0":
                    seen += 1
                    assert item.get("name") in known.properties, f"{element.get('class')} has no {item.get('name')}"
    assert seen > 20


def test_names_of_the_application_and_of_ctk_exist():
    seen = 0
    application = manifest.known("qSlicerApplication").names
    for where, (name, *rest) in chains("slicer"):
        if name == "app" and rest:
            assert rest[0] in application, f"{where}: slicer.app has no {rest[0]}"
            seen += 1
        elif name == "util" and rest:
            assert hasattr(slicer.util, rest[0]), f"{where}: slicer.util has no {rest[0]}"
            seen += 1
    for where, (name, *_rest) in chains("ctk"):
        assert name in manifest.classes("slicer"), f"{where}: ctk.{name} is not in the manifest"
        seen += 1
    assert seen > 15


def test_the_check_finds_what_is_not_there():
    table, button = manifest.known("qMRMLSegmentsTableView"), manifest.known("ctkDirectoryButton")
    assert "setSegmentationNode" in table.names
    assert "rowCount" not in table.names, "it is no QTableWidget"
    assert "itemSelectionChanged()" not in table.signals
    assert "click" not in button.names, "it is no QPushButton"
    assert "setDirectory" not in button.names, "PythonQt makes no setters: the property is set"
    with pytest.raises(LookupError, match="QUnknown"):
        manifest.known("QUnknown")
