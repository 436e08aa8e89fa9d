"""The wheel, in an environment that holds it and what it says that it needs, and nothing else."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

SOURCE = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command, **options):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    kept_out = shutil.ignore_patterns("tests", "__pycache__", "*.egg-info", "build", ".*")
    shutil.copytree(SOURCE, folder / "Server", ignore=kept_out)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", *options, folder / "Server", cwd=folder)
    [path] = folder.glob("*.whl")
    return path


def needed(requirements, extras=frozenset({""})):
    """The distributions, installed here, that requirements lead to: by name, with their files."""
    found = {}
    waiting = [(Requirement(text), extras) for text in requirements]
    asked = set()
    while waiting:
        requirement, extras = waiting.pop()
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": e}) for e in extras):
            continue
        key = requirement.name.lower().replace("_", "-"), frozenset(requirement.extras)
        if key in asked:
            continue
        asked.add(key)
        distribution = found[key[0]] = importlib.metadata.distribution(requirement.name)
        waiting += [(Requirement(text), {"", *requirement.extras}) for text in distribution.requires or ()]
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment: the wheel installed by pip, its requirements for torch and cli as links to those here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    [metadata] = site.glob("sammed3d-*.dist-info")
    requires = importlib.metadata.Distribution.at(metadata).requires
    for name, distribution in needed(requires, {"", "torch", "cli"}).items():
        if name == "sammed3d":  # its own extras name it
            continue
        for top in {Path(file).parts[0] for file in distribution.files if Path(file).parts[0] != ".."}:
            target = Path(distribution.locate_file(top)).resolve()
            if not (site / top).exists():
                (site / top).symlink_to(target)
    return folder


def test_it_holds_what_is_used_and_no_more(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(SOURCE).as_posix() for p in (SOURCE / "sammed3d").rglob("*.py")}
    data = {
        "sammed3d/py.typed",
        "sammed3d/training/recipe.yaml",
        "sammed3d/web/static/connection.js",
        "sammed3d/web/static/drawing.js",
        "sammed3d/web/static/sammed3d.css",
        "sammed3d/web/static/sammed3d.js",
        "sammed3d/web/static/views_by_keys.js",
        "sammed3d/zoo/models.json",
        "sammed3d/zoo/models/default.safetensors",
        "sammed3d/samples/ct_abdomen.nii.gz",
        "sammed3d/samples/ct_abdomen_labels.nii.gz",
        "sammed3d/samples/ct_abdomen_labels.json",
        "sammed3d/samples/mr_spine.nii.gz",
        "sammed3d/samples/sam_med2d_small.safetensors",
    }
    data |= {p.relative_to(SOURCE).as_posix() for p in (SOURCE / "sammed3d" / "training" / "recipes").glob("*.yaml")}
    assert {name for name in names if ".dist-info/" not in name} == sources | data


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.timeout(900)
def test_the_demonstration_runs_from_it(environment, tmp_path):
    program = environment / "bin" / "sammed3d"
    where = run(environment / "bin" / "python", "-c", "import sammed3d; print(sammed3d.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    assert run(program, "--version", cwd=tmp_path).split()[-1] == importlib.metadata.version("sammed3d")
    for undeclared in ("scipy", "fastapi", "pytest"):
        run(environment / "bin" / "python", "-c", f"import importlib.util as i; assert not i.find_spec('{undeclared}')")
    output = run(program, "demo", "--device", "cpu", cwd=tmp_path)
    assert "liver" in output
    assert sorted(p.name for p in (tmp_path / "demo-output").iterdir()) == ["demo.html", "demo.png", "demo.seg.nrrd"]
