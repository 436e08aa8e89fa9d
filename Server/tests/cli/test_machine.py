"""What the command line says of a machine."""

import json

import pytest
import torch
from typer.testing import CliRunner

from helpers import ThresholdPredictor
from sammed3d.cli.app import app
from sammed3d.predictors import machine, processor


def test_instructions_are_those_of_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True}, raising=False)
    assert machine.describe_machine()["instructions"] == "AVX2, bfloat16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert machine.describe_machine()["instructions"] == "AVX512", "older versions of torch know less"


def test_instructions_of_arm_are_told_and_bfloat16_is_not_counted_on(monkeypatch):
    found = {"architecture": "aarch64", "neon": True, "sve": True, "bf16": True, "i8mm": True, "sve_max_length": 32}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert machine.describe_machine()["instructions"] == "NEON, SVE, I8MM, BF16"
    assert not processor.has_bfloat16()


@pytest.mark.parametrize(
    ("name", "avx512", "slow"), [("AMD EPYC", True, True), ("AMD EPYC", False, False), ("Intel Xeon", True, False)]
)
def test_mkl_leaves_avx512_of_amd_unused(monkeypatch, name, avx512, slow):
    found = {"cpu_name": name, "avx2": True, "avx512_f": avx512}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert processor.is_slow_with_mkl() == slow


def test_processors_that_may_not_be_used_are_told(monkeypatch):
    monkeypatch.setattr(machine, "usable_processors", lambda: 2)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
    assert machine.describe_machine()["processors"] == "2 of 64 may be used here"


def test_clicks_are_timed_one_after_the_other():
    predictor = ThresholdPredictor()
    first, further = machine.click_seconds(predictor)
    assert [len(call.clicks) for call in predictor.calls] == [1, 2]
    assert first > 0 < further


@pytest.mark.slow
def test_the_command_times_each_installed_model(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    done = CliRunner().invoke(app, ["info", "--machine", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    [model] = report["models"]
    assert (model["model"], model["device"], model["precision"]) == ("default", "cpu", "float32")
    assert model["first_click_s"] > 0 < model["further_click_s"]
    assert int(report["machine"]["threads"]) >= 1
    shown = CliRunner().invoke(app, ["info", "--machine", "--device", "cpu"])
    assert "Further click" in shown.stdout


def test_a_volume_or_the_machine_has_to_be_named(tmp_path):
    for arguments in (["info"], ["info", str(tmp_path), "--machine"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert "Name a volume, or give --machine" in " ".join(done.output.split())
