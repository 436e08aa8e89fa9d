"""Every name of Qt and of Slicer's nodes that the module uses exists in Qt 5.15, in Qt 6 and in slicer-core."""

import ast
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import slicer

MODULE = Path(__file__).parents[2]
MANIFESTS = MODULE / "Testing" / "SlicerHarness" / "manifest"
EFFECT = MODULE.parent / "SegmentEditorSAMMed3D"
SOURCES = [MODULE / "SAMMed3DSegment.py", *(MODULE / "SAMMed3DSegmentLib").glob("*.py"), *EFFECT.rglob("*.py")]


@pytest.fixture(params=["qt5", "qt6"])
def classes(request):
    classes = json.loads((MANIFESTS / f"{request.param}.json").read_text())["classes"]
    for known in classes.values():
        for base in known.pop("inherits", []):
            for kind, names in classes[base].items():
                known[kind] = known[kind] + names
    return classes


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


def test_qt_names_exist(classes):
    seen = 0
    for where, (name, *rest) in chains("qt"):
        if name == "SIGNAL":
            continue
        seen += 1
        assert name in classes, f"{where}: qt.{name} is not in the manifest"
        known = classes[name]
        names = {*known["properties"], *known["others"], *(s.split("(")[0] for s in known["signals"] + known["slots"])}
        assert not rest or rest[0] in names, f"{where}: qt.{name} has no {rest[0]}"
    assert seen > 15


def test_widgets_and_properties_of_the_ui_file_exist(classes):
    seen = 0
    for element in ET.parse(MODULE / "Resources" / "UI" / "SAMMed3DSegment.ui").getroot().iter():  # noqa: S314 - our own
        name = element.get("class") or ""
        if not re.match(r"Q[A-Z]", name):
            continue  # Slicer's and CTK's own: the harness refuses what its stand-ins lack
        assert name in classes, f"{name} is not in the manifest"
        for item in element.findall("property"):
            margin = name.endswith("Layout") and item.get("name").endswith(("Margin", "Spacing"))
            seen += 1
            buddy = (name, item.get("name")) == ("QLabel", "buddy")  # for the loader, which calls setBuddy
            assert margin or buddy or item.get("name") in classes[name]["properties"], (
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
