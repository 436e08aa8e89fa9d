"""A models' folder that cannot be written: somebody else's, or on a disk that is full."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.errors import ModelError
from sammed3d.zoo import load_predictor
from sammed3d.zoo.store import ModelStore


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A models' folder that cannot be made."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "file" / "models"))


@pytest.mark.parametrize("words", [("download", "sam_med3d_turbo"), ("import", "FILE", "--name", "mine")])
def test_commands_say_so_in_words(nowhere, tiny_checkpoint, words):
    done = CliRunner().invoke(app, ["models", *(str(tiny_checkpoint) if word == "FILE" else word for word in words)])
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "cannot be written (Not a directory). Check its permissions and free space" in said
    assert "SAMMED3D_MODELS" in said


def test_what_would_be_exported_there_says_so(nowhere, tiny_checkpoint):
    with pytest.raises(ModelError, match=r"exported-onnx: cannot be written \(Not a directory\)"):
        load_predictor(tiny_checkpoint, "cpu", runtime="onnx")


def test_a_disk_that_is_full_in_the_end_is_told(tmp_path, tiny_checkpoint, monkeypatch):
    store = ModelStore(tmp_path / "models")
    store.folder.mkdir()

    def full(path, *_, **_options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ModelError, match=r"mine: cannot be written \(No space left on device\)"):
        store.add(tiny_checkpoint, "mine")
    with pytest.raises(ModelError, match=r"models: cannot be written \(No space left on device\)"):
        store._pin("tiny", "0" * 64)  # noqa: SLF001
    assert [model.name for model in store.models()] == ["default"]


def test_two_imports_of_one_name_do_not_write_into_each_other(tmp_path, tiny_checkpoint, tiny_checkpoint_2d):
    """The second waits for the first, and then finds the name taken."""
    store, begun, go_on = ModelStore(tmp_path / "models"), threading.Event(), threading.Event()
    for name, source in (("one", tiny_checkpoint), ("two", tiny_checkpoint_2d)):
        (tmp_path / name).mkdir()
        shutil.copyfile(source, tmp_path / name / "weights.safetensors")

    def progress(_done, _total):
        begun.set()
        go_on.wait(10)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(store.add, tmp_path / "one" / "weights.safetensors", "mine", progress=progress)
        assert begun.wait(10)
        second = threads.submit(store.add, tmp_path / "two" / "weights.safetensors", "mine")
        with pytest.raises(TimeoutError):
            second.result(0.5)
        go_on.set()
        assert first.result(30).name == "mine"
        with pytest.raises(ModelError, match="There is a model named 'mine' already"):
            second.result(30)
    store.verify("mine")
    assert sorted(file.name for file in store.folder.rglob("*")) == ["mine", "model.json", "weights.safetensors"]
