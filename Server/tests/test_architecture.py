"""The map in docs/architecture.md names every file that there is, in its room; classes can be taken in at a glance."""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
OF_NO_INTEREST = {"__init__.py", "__main__.py"}


def mapped(first_line):
    """Files by the indented list of the map that begins with a line, as paths below that line's folder."""
    lines = MAP.splitlines()
    found, rooms = set(), []
    for line in lines[lines.index(first_line) + 1 :]:
        if not line.startswith(" "):
            break
        indent = len(line) - len(line.lstrip())
        names = re.split(r" {2,}", line.strip())[0]
        while rooms and rooms[-1][0] >= indent:
            rooms.pop()
        if names.endswith("/"):
            rooms.append((indent, names))
        found |= {"".join(room for _, room in rooms) + name for name in re.findall(r"[\w]+\.py", names)}
    return found


def in_tree(folder):
    paths = {p.relative_to(folder) for p in folder.rglob("*.py")}
    return {p.as_posix() for p in paths if p.name not in OF_NO_INTEREST}


@pytest.mark.parametrize(
    ("first_line", "folder"),
    [
        ("    sammed3d/", ROOT / "Server" / "sammed3d"),
        ("    server/", ROOT / "Server" / "sammed3d" / "server"),
        ("    SAMMed3DSegmentLib/", ROOT / "SAMMed3DSegment" / "SAMMed3DSegmentLib"),
    ],
    ids=["package", "server", "module"],
)
def test_the_map_is_the_tree(first_line, folder):
    there = in_tree(folder)
    if folder.name == "sammed3d":
        there = {name for name in there if not name.startswith("server/")}
    assert mapped(first_line) == there


MOST_METHODS = 25


@pytest.mark.parametrize("folder", ["Server/sammed3d", "SAMMed3DSegment/SAMMed3DSegmentLib"])
def test_no_class_has_more_methods_than_one_can_keep_in_mind(folder):
    classes = [
        (f"{node.name} in {path.name}", sum(isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef) for m in node.body))
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 20
    assert [(name, count) for name, count in classes if count > MOST_METHODS] == []


@pytest.mark.xdist_group("group")
def test_tests_of_a_group_stay_together(request):
    """Groups share what is expensive, and keep tests apart that see each other's processes."""
    in_pool = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@group") == in_pool, "this pytest and this pytest-xdist do not go together"
