"""What documents say: the README's Python example, run as it stands, with generated weights at full size; counts."""

import ast
import re
import shutil
from pathlib import Path

import pytest
import torch

from networks import filled
from sammed3d import nets, samples
from sammed3d.files.segmentation import read_mask
from sammed3d.files.volume import Volume

README = Path(__file__).parents[2] / "README.md"


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


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8")))
def test_links_of_the_readme_lead_somewhere(link):
    assert (README.parent / link).exists()


def test_the_tutorial_counts_the_clicks_of_its_picture():
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven"]
    source = ast.parse((README.parent / "docs" / "make_slicer_pictures.py").read_text(encoding="utf-8"))
    [given] = [each.value for each in source.body if isinstance(each, ast.Assign) and each.targets[0].id == "CLICKS"]
    kinds = [positive for _, positive in ast.literal_eval(given)["left kidney"]]
    tutorial = " ".join((README.parent / "docs" / "tutorial.md").read_text(encoding="utf-8").split())
    assert f"A kidney after {numbers[len(kinds)]} clicks" in tutorial
    assert f"after {numbers[sum(kinds)]} positive and {numbers[len(kinds) - sum(kinds)]} negative clicks" in tutorial
