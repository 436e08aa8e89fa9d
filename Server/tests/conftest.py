"""Small networks and checkpoints that the tests share."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from ports import unused_port

if TYPE_CHECKING:  # torch is imported where it is needed: not in the process that hands tests out
    from sammed3d.nets import SamMed3d


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among pytest-xdist's workers, before they start: plugins import numpy before any conftest.

    Threads of numpy's and torch's that outnumber the cores wait for one another, which takes most of the time.
    """
    if workers := getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # a busy machine takes long, and is no fault of what is tested


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """Take away what a server that was started in this process writes its log to: the stream of one test."""
    loggers = [logging.getLogger(), logging.getLogger("sammed3d")]
    levels = [each.level for each in loggers]
    yield
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)
        for handler in [handler for handler in each.handlers if type(handler) is logging.StreamHandler]:
            each.removeHandler(handler)


class Stopping(NamedTuple):
    """What stops a command, and the exit code that it ends with then."""

    now: Callable[[], None]
    exit_code: int


@pytest.fixture
def terminated() -> Iterator[Stopping]:
    """A scheduler that ends the job: SIGTERM. Where nobody minds it, the test fails, and the others go on."""

    def unminded(*_: object) -> None:
        raise AssertionError("nobody minds SIGTERM: it would end the process at once")

    usual = signal.signal(signal.SIGTERM, unminded)
    yield Stopping(lambda: signal.raise_signal(signal.SIGTERM), 143)
    signal.signal(signal.SIGTERM, usual)


@pytest.fixture(params=["Ctrl-C", "SIGTERM"])
def stopping(request: pytest.FixtureRequest, terminated: Stopping) -> Stopping:
    """A user who presses Ctrl-C, and a scheduler."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    return terminated if request.param == "SIGTERM" else Stopping(interrupt, 130)


@pytest.fixture(scope="session")
def tiny_network() -> SamMed3d:
    """The same class as SAM-Med3D, in a size that takes milliseconds."""
    from networks import TINY_SIZES, filled
    from sammed3d.nets import build

    return filled(build("sam_med3d", TINY_SIZES))


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_network: SamMed3d, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That network as a safetensors file that carries sizes and preset."""
    from networks import TINY_PRESET, TINY_SIZES
    from sammed3d.zoo.checkpoint import write_checkpoint

    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    metadata = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json(), "name": "Tiny"}
    write_checkpoint(path, tiny_network.state_dict(), **metadata)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint_2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same class as SAM-Med2D, small, as a safetensors file that carries sizes and preset."""
    from networks import TINY_2D, TINY_PRESET_2D, filled
    from sammed3d.nets import build
    from sammed3d.zoo.checkpoint import write_checkpoint

    path = tmp_path_factory.mktemp("models") / "tiny2d.safetensors"
    metadata = {"network": "sam_med2d", "sizes": TINY_2D, "preset": TINY_PRESET_2D.to_json(), "name": "Tiny 2-D"}
    write_checkpoint(path, filled(build("sam_med2d", TINY_2D)).state_dict(), **metadata)
    return path


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return unused_port()


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a Ray cluster of two hosts with a processor each, shared by the tests of the xdist group "ray"."""
    from clusters import ray_cluster

    with ray_cluster("--num-cpus=1", "--num-cpus=1") as address:
        yield address
