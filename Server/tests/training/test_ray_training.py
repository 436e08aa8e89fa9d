"""Training on a Ray cluster of two hosts: the steps of one process, and a process that dies loses nothing."""

import contextlib
import json
import threading

import psutil
import pytest
from typer.testing import CliRunner

from clusters import command_of, needs_ray
from sammed3d.cli.app import app
from sammed3d.training.state import STATE
from training_runs import TINY, log_of, weights_of

pytestmark = [pytest.mark.slow, needs_ray, pytest.mark.xdist_group("ray"), pytest.mark.timeout(600)]


def train(data, folder, batch_size, *options, **changes):
    file = folder.with_suffix(".json")  # YAML holds JSON
    file.write_text(json.dumps(TINY | {"batch_size": batch_size, "epochs": 2, "mask_only": False} | changes))
    command = ["train", data / "ready", "--run", folder, "--recipe", file, "--accelerator", "cpu", *options]
    return CliRunner().invoke(app, [str(each) for each in command])


def losses_of(folder):
    return [float(row["loss"]) for row in log_of(folder)]


@contextlib.contextmanager
def process_killed_after_a_step(folder):
    """Meanwhile kill one of the cluster's processes as soon as a step was saved; yields the list of those killed."""
    killed, done = [], threading.Event()

    def watch():
        while not done.wait(0.01):
            if (folder / STATE).exists():
                killed.extend(each for each in psutil.process_iter() if "RayTrainWorker" in command_of(each))
                if killed:
                    killed[0].kill()
                    break

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()


def test_two_hosts_make_the_steps_of_one_process(data, tmp_path, cluster):
    one = train(data, tmp_path / "one", 2)
    assert one.exit_code == 0, one.output
    with process_killed_after_a_step(tmp_path / "two") as killed:
        two = train(data, tmp_path / "two", 1, "--nodes", 2, "--ray", cluster)
    assert killed
    assert two.exit_code == 0, two.output
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(tmp_path / "one"), rel=1e-3)
    assert weights_of(tmp_path / "two").keys() == weights_of(tmp_path / "one").keys()
    more = train(data, tmp_path / "three", 1, "--nodes", 3, "--ray", cluster)
    assert more.exit_code == 1
    assert "3 processes need as many CPUs, and the cluster" in " ".join(more.output.split())
    wrong = train(data, tmp_path / "four", 1, "--ray", cluster, "--accelerator", "mps")
    assert wrong.exit_code == 1
    assert "A cluster does not train on 'mps'. Choose --accelerator auto" in " ".join(wrong.output.split())
