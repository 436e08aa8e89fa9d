"""The extension configures and installs, against a stub of Slicer's CMake configuration."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
CMAKE = Path(sys.executable).with_name("cmake")


def configure(source, build, check=True):
    stub = ROOT / "SAMMed3DSegment" / "Testing" / "SlicerStub"
    command = [CMAKE, "-S", source, "-B", build, f"-DSlicer_DIR={stub}"]
    return subprocess.run(command, check=check, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    configure(ROOT, build)
    subprocess.run([CMAKE, "--install", build, "--prefix", prefix], check=True)
    return build, prefix / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def description(build):
    """What the extensions manager is told."""
    return dict(line.split(" ", 1) for line in (build / "SAMMed3DSegment.s4ext").read_text().splitlines())


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
    effect = ROOT / "SegmentEditorSAMMed3D"
    expected |= {name: content for name, content in files(effect).items() if name != "CMakeLists.txt"}
    assert files(modules) == expected
    assert files(build / "lib" / "Slicer-5.12" / "qt-scripted-modules") == expected


def test_the_installed_packages_import_from_there(installed):
    _, modules = installed
    code = "import sammed3d, SAMMed3DSegmentLib as lib; print(sammed3d.__file__, lib.__file__, sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(modules)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert all(Path(line).is_relative_to(modules) for line in done.stdout.split())


def test_slicers_checks_stop_what_slicer_would_stop(tmp_path):
    """A project without a language does not know the width of its pointers: Slicer stops there, so the stub does."""
    text = (ROOT / "CMakeLists.txt").read_text()
    for name in ("SAMMed3DSegment", "SegmentEditorSAMMed3D", "Server", "README.md", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "CMakeLists.txt").write_text(text.replace("project(SAMMed3DSegment)", "project(SAMMed3DSegment NONE)"))
    done = configure(tmp_path, tmp_path / "build", check=False)
    assert done.returncode != 0
    assert "Mismatch between bitness" in done.stderr


def test_the_catalogue_entry_agrees_with_cmake(installed):
    """With the PyTorch extension beside it, also on Windows, where pip alone brings a build without CUDA."""
    entry = json.loads((ROOT / "SAMMed3DSegment.json").read_text())
    described = description(installed[0])
    assert described["depends"].split() == entry["build_dependencies"] == ["PyTorch"]
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"].removesuffix(".git") == described["homepage"]
    assert b"\r" not in (ROOT / "SAMMed3DSegment.json").read_bytes()


def test_pictures_of_the_catalogue_exist(installed):
    described = description(installed[0])
    for url in [*described["iconurl"].split(), *described["screenshoturls"].split()]:
        path = ROOT / url.split("/main/")[1]
        assert Image.open(path).format == "PNG"
