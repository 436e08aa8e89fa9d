"""The extension configures and installs, against a stub of Slicer's CMake configuration."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
CMAKE = Path(sys.executable).with_name("cmake")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    stub = ROOT / "SAMMed3DSegment" / "Testing" / "SlicerStub"
    subprocess.run([CMAKE, "-S", ROOT, "-B", build, f"-DSlicer_DIR={stub}"], check=True)
    subprocess.run([CMAKE, "--install", build, "--prefix", prefix], check=True)
    return build, prefix / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def files(folder):
    paths = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def test_every_file_is_listed_built_and_installed(installed):
    build, modules = installed
    module = ROOT / "SAMMed3DSegment"
    expected = {f"sammed3d/{name}": content for name, content in files(ROOT / "Server" / "sammed3d").items()}
    for folder in ("SAMMed3DSegmentLib", "Resources"):
        expected |= {f"{folder}/{name}": content for name, content in files(module / folder).items()}
    for name in ("SAMMed3DSegment.py", "Testing/Python/test_Workflow.py"):
        expected[name] = (module / name).read_bytes()
    assert files(modules) == expected
    assert files(build / "lib" / "Slicer-5.12" / "qt-scripted-modules") == expected


def test_the_installed_packages_import_from_there(installed):
    _, modules = installed
    code = "import sammed3d, SAMMed3DSegmentLib as lib; print(sammed3d.__file__, lib.__file__, sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(modules)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert all(Path(line).is_relative_to(modules) for line in done.stdout.split())


def test_the_catalogue_entry_agrees_with_cmake():
    entry = json.loads((ROOT / "SAMMed3DSegment.json").read_text())
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert 'EXTENSION_DEPENDS "NA"' in cmake
    assert entry["build_dependencies"] == []
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"].removesuffix(".git") == re.search(r'EXTENSION_HOMEPAGE "([^"]+)"', cmake)[1]
    assert b"\r" not in (ROOT / "SAMMed3DSegment.json").read_bytes()


def test_pictures_of_the_catalogue_exist():
    text = (ROOT / "CMakeLists.txt").read_text()
    urls = [u for name in ("ICONURL", "SCREENSHOTURLS") for u in re.search(rf'{name} "([^"]+)"', text)[1].split()]
    for url in urls:
        path = ROOT / url.split("/main/")[1]
        assert Image.open(path).format == "PNG"
