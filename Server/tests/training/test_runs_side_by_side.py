"""Commands that go on from a folder do not share it."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.files.alone import alone_in
from training_runs import TINY


@pytest.fixture
def commands(data, tmp_path, monkeypatch):
    """What writes into a folder, by the command's name."""
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    raw = tmp_path / "raw"
    shutil.copytree(data / "raw", raw)
    (raw / "case0" / "prompts.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text(json.dumps(TINY))
    return {
        "train": ["train", data / "ready", "--recipe", tmp_path / "recipe.yaml", "--run"],
        "prepare": ["data", "prepare", raw],
        "evaluate": ["evaluate", "default", raw, "--output"],
        "learn": ["learn", raw, "--name", "ours", "--run"],
        "replay": ["replay", raw, "--model", "default", "--output"],
    }


@pytest.mark.parametrize("name", ["train", "prepare", "evaluate", "learn", "replay"])
def test_a_folder_that_another_run_writes_into_is_refused(name, commands, tmp_path):
    folder = tmp_path / "result"
    with alone_in(folder):
        before = sorted(folder.iterdir())
        done = CliRunner().invoke(app, [*map(str, commands[name]), str(folder)])
        assert done.exit_code == 1
        assert "another run writes into it" in done.output.replace("\n", " ")
        assert sorted(folder.iterdir()) == before
