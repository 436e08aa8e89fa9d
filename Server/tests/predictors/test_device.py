"""Threads of the CPU: as many as there are processors for this process; precisions: none that a device emulates."""

import pytest
import torch

from sammed3d.core import control_groups
from sammed3d.predictors import device
from sammed3d.predictors.device import choose_precision, has_bfloat16, limit_threads
from sammed3d.server.compute.worker_process import ModelSpec
from sammed3d.server.serve import worker_settings
from sammed3d.server.settings import read_settings
from sammed3d.training.launch import precision_of
from sammed3d.training.recipe import Recipe
from sammed3d.zoo.store import BUNDLED


@pytest.fixture
def threads(monkeypatch):
    """Eight threads of torch on a machine of six processors for us."""
    for name in control_groups.THREADS_SAID:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "usable_processors", lambda: 6)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def test_there_are_no_more_threads_than_processors(threads):
    assert limit_threads() == torch.get_num_threads() == 6
    assert limit_threads() == 6, "once is enough"


def test_several_workers_share_the_processors(threads):
    assert limit_threads(most=2) == 2
    assert limit_threads() == 2, "fewer are never made more"


def test_what_the_user_said_stays(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert limit_threads(most=1) == 8


@pytest.mark.parametrize(
    ("devices", "expected"), [("cpu", [0]), ("cpu,cpu", [3, 3]), ("cpu,cpu,cpu,cpu,cpu,cpu,cpu", [1] * 7)]
)
def test_workers_on_the_cpu_are_told_their_share(monkeypatch, devices, expected):
    monkeypatch.setattr("sammed3d.server.serve.usable_processors", lambda: 6)
    settings = read_settings(None, device=devices.split(","))
    models = (ModelSpec("default", "Default", "", "", BUNDLED),)
    assert [worker.threads for worker in worker_settings(settings, models)] == expected


@pytest.fixture
def gpus(monkeypatch):
    """A Turing GPU, which torch lets compute in bfloat16 by emulating it, and an Ampere one, which has it."""
    capabilities = {None: (7, 5), 0: (7, 5), 1: (8, 0)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capabilities[device.index])
    monkeypatch.setattr(torch.version, "hip", None)


def test_bfloat16_that_a_gpu_emulates_is_never_taken_by_itself(gpus, monkeypatch):
    assert choose_precision("auto", torch.device("cuda:0")) is torch.float16
    assert choose_precision("auto", torch.device("cuda:1")) is torch.bfloat16, "each GPU is asked for itself"
    assert choose_precision("bfloat16", torch.device("cuda:0")) is torch.bfloat16, "who asks for it gets it"
    assert precision_of(Recipe.read(), "cuda") == "16-mixed", "the published one"
    assert precision_of(Recipe.read(precision="bf16-mixed"), "cuda") == "bf16-mixed"
    assert precision_of(Recipe.read(), "cpu") == "32-true"
    assert not has_bfloat16(torch.device("mps"))
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert has_bfloat16(torch.device("cuda:0")), "AMD's GPUs have it"
    assert precision_of(Recipe.read(), "cuda") == "bf16-mixed"
