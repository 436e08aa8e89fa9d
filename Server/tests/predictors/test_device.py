"""Threads of the CPU: as many as there are processors for this process, and never more than a user said."""

import pytest
import torch

from sammed3d.core import control_groups
from sammed3d.predictors import device
from sammed3d.predictors.device import limit_threads
from sammed3d.server.compute.worker_process import ModelSpec
from sammed3d.server.serve import worker_settings
from sammed3d.server.settings import read_settings
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
