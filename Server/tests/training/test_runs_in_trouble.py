"""Runs that meet a full disk, a damaged state, a loss that is no number, or Ctrl-C: told, and nothing is lost."""

import csv
import math

import pytest
import torch
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.errors import ModelError, VolumeError
from sammed3d.training import click_loop, launch, state
from sammed3d.training.state import CURVES, LOG, STATE, log_rows, read_state, write_curves, write_state
from training_runs import recipe, run_of, weights_of

NEEDED = ("epoch",)


def test_a_full_disk_leaves_the_state_before_and_is_told(tmp_path, monkeypatch):
    write_state(tmp_path / "run", {"epoch": 1})

    def full(_state, file):
        file.write_bytes(b"a part")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2843072 vs 2842960")

    monkeypatch.setattr(state.torch, "save", full)
    with pytest.raises(VolumeError, match=r"last\.ckpt: cannot be written\. Check the folder, permissions and free"):
        write_state(tmp_path / "run", {"epoch": 2})
    assert [file.name for file in (tmp_path / "run").iterdir()] == [STATE]
    assert read_state(tmp_path / "run", torch.device("cpu"), NEEDED) == {"epoch": 1}


def test_a_damaged_state_and_one_of_another_kind_are_told(tmp_path):
    assert read_state(tmp_path, torch.device("cpu"), NEEDED) is None
    write_state(tmp_path, {"epoch": 1})
    whole = (tmp_path / STATE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no state"):
        (tmp_path / STATE).write_bytes(damaged)
        with pytest.raises(ModelError, match=r"last\.ckpt: is damaged, so the run cannot go on from it\. Delete it"):
            read_state(tmp_path, torch.device("cpu"), NEEDED)
    (tmp_path / STATE).write_bytes(whole)
    with pytest.raises(ModelError, match="holds a run of another kind"):
        read_state(tmp_path, torch.device("cpu"), (*NEEDED, "preset"))


def test_the_log_forgets_what_an_interrupted_run_wrote_later_and_a_full_disk_leaves_it(tmp_path, monkeypatch):
    columns = ("epoch", "loss", "dice")
    for epoch in range(4):
        rows = log_rows(tmp_path, columns, (epoch, 0.5, "" if epoch == 1 else 0.25))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    rows = log_rows(tmp_path, columns, (2, 0.125, 0.5))
    assert rows == list(csv.DictReader((tmp_path / LOG).open()))
    assert [(row["epoch"], row["loss"]) for row in rows] == [("0", "0.5"), ("1", "0.5"), ("2", "0.125")]
    write_curves(tmp_path, rows, {"training": "dice"})
    assert (tmp_path / CURVES).read_text().startswith("<svg")
    before = (tmp_path / LOG).read_bytes()

    def full(self, *_args, **_options):
        self.write_bytes(b"ep")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(VolumeError, match=r"log\.csv: cannot be written"):
        log_rows(tmp_path, columns, (3, 0.1, 0.1))
    assert (tmp_path / LOG).read_bytes() == before


def test_a_loss_that_is_no_number_ends_the_run_before_it_spoils_the_weights(data, tmp_path, monkeypatch):
    run = run_of(data, tmp_path / "run", recipe())
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    monkeypatch.setattr(click_loop, "mask_loss", lambda logits, _targets, _kind: logits.mean() * math.nan)
    with pytest.raises(ModelError, match=r"the loss of batch 1 in epoch 1 is nan\. Choose a smaller lr"):
        run.train()
    assert all(torch.equal(value, before[key]) for key, value in run.network.state_dict().items())
    assert not (tmp_path / "run" / STATE).exists()


@pytest.mark.slow
def test_every_epoch_is_told(data, tmp_path):
    lines = []
    run_of(data, tmp_path / "run", recipe(validate_every=2), say=lines.append).train()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert ["validation" in line for line in lines] == [False, True]
    assert weights_of(tmp_path / "run")


def test_ctrl_c_says_how_a_run_goes_on(data, tmp_path, monkeypatch):
    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "launch", stopped)
    done = CliRunner().invoke(app, ["train", str(data / "ready"), "--run", str(tmp_path / "run")])
    assert done.exit_code == 130
    assert "Stopped. The same command goes on from" in done.output


def test_a_place_that_cannot_hold_a_run_is_told_before_anything_is_done(data, tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["train", str(data / "ready"), "--run", str(tmp_path / "file" / "run")])
    assert done.exit_code == 1
    assert "cannot be written in" in " ".join(done.output.split())
