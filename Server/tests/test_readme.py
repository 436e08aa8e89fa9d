"""What documents say: the README's Python example, run as it stands, with generated weights at full size; counts.

Commands have the options that are named, and messages that are explained are those of the program.
"""

import ast
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from networks import filled
from sammed3d import nets, samples
from sammed3d.cli.app import app
from sammed3d.files.segmentation import read_mask
from sammed3d.files.volume import Volume

README = Path(__file__).parents[2] / "README.md"
ROOT = README.parent
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:^    |`|bin/|-- )sammed3d ([a-z][^`\n#]*)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def examples():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(samples.CT_ABDOMEN, folder / "ct.nii.gz")
    torch.save({"model_state_dict": filled(nets.build("sam_med3d")).state_dict()}, folder / "sam_med3d_turbo.pth")
    return folder


@pytest.mark.slow
def test_ten_lines_from_a_file_to_a_segmentation(folder, monkeypatch):
    monkeypatch.chdir(folder)
    code = examples()[0]
    assert len(code.strip().splitlines()) <= 10
    variables = {}
    exec(code, variables)  # noqa: S102 - our own README
    volume = Volume.read("ct.nii.gz")
    assert variables["mask"].shape == volume.grid.shape
    assert variables["mask"].any()
    assert (read_mask("liver.seg.nrrd", volume.grid) == variables["mask"]).all()


@pytest.mark.slow
def test_the_network_example_runs(tmp_path):
    import sammed3d

    variables = {
        "sammed3d": sammed3d,
        "patch": torch.zeros(1, 1, 128, 128, 128),
        "coords": torch.tensor([[[64, 64, 64]]]),
        "labels": torch.tensor([[1]]),
        "low_res": torch.zeros(1, 1, 32, 32, 32),
    }
    with torch.inference_mode():
        exec(examples()[1], variables)  # noqa: S102 - our own README
    assert variables["embedding"].shape == (1, 384, 8, 8, 8)
    assert variables["logits"].shape == (1, 1, 32, 32, 32)


def anchors(document):
    titles = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_tutorial_counts_the_clicks_of_its_picture():
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven"]
    source = ast.parse((README.parent / "docs" / "make_slicer_pictures.py").read_text(encoding="utf-8"))
    [given] = [each.value for each in source.body if isinstance(each, ast.Assign) and each.targets[0].id == "CLICKS"]
    kinds = [positive for _, positive in ast.literal_eval(given)["left kidney"]]
    tutorial = " ".join((README.parent / "docs" / "tutorial.md").read_text(encoding="utf-8").split())
    assert f"A kidney after {numbers[len(kinds)]} clicks" in tutorial
    assert f"after {numbers[sum(kinds)]} positive and {numbers[len(kinds) - sum(kinds)]} negative clicks" in tutorial


@pytest.fixture(scope="module")
def options():
    """Options of each command, "models export" for example."""
    found, waiting = {}, list(get_command(app).commands.items())
    for name, command in waiting:
        waiting += [(f"{name} {each}", further) for each, further in getattr(command, "commands", {}).items()]
        found[name] = {"--help"}.union(*(each.opts + each.secondary_opts for each in command.params))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_know_their_options(document, options):
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in COMMAND.findall(text):
        words = line.split()
        name = " ".join(words[: 2 if words[0] in ("models", "data") else 1])
        assert set(OPTION.findall(line)) <= options[name], f"sammed3d {line}"


def test_messages_that_are_explained_are_those_of_the_program():
    files = [
        *(ROOT / "Server" / "sammed3d").rglob("*.py"),
        *(ROOT / "SAMMed3DSegment").rglob("SAMMed3DSegmentLib/*.py"),
    ]
    said = "\n".join(re.sub(r'"\n\s*f?"', "", file.read_text(encoding="utf-8")).lower() for file in files)
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^\*\*(\".*?)\*\*", text, re.MULTILINE | re.DOTALL)
    pieces = [piece for each in headings for quoted in re.findall(r'"([^"]+)"', each) for piece in quoted.split("...")]
    wanted = [words for piece in pieces if (words := " ".join(piece.split()).strip(" .,").lower())]
    assert len(headings) > 15
    assert [words for words in wanted if words not in said] == []


def test_the_list_of_benchmarks_holds_all_and_tells_which_are_run_together():
    listed = re.findall(
        r"^\| `(\w+)\.py`( \*)?", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    scripts = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    assert sorted(name for name, _ in listed) == sorted(path.stem for path in scripts)
    [together] = re.findall(r"for script in (.*?);", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert {name for name, star in listed if star} == set(together.split())
