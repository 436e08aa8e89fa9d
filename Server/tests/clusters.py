"""Ray clusters of this machine, on loopback, as administrators start them."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@contextlib.contextmanager
def ray_cluster(*hosts):
    """Start a cluster with a host for each argument, which are options of `ray start`; yield its address.

    Processes of the cluster import what tests import.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folders = [str(each) for each in Path(__file__).parent.iterdir() if each.is_dir()]
    ours = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a-token-of-this-test-alone-0123456789",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([*folders, *sys.path]),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    program = Path(sys.executable).with_name("ray")
    processes = []
    try:
        for host in hosts:
            join = [f"--address={address}"] if processes else ["--head", f"--port={address.rpartition(':')[2]}"]
            join += [] if processes else ["--include-dashboard=false"]
            command = [program, "start", *join, "--block", "--node-ip-address=127.0.0.1", host]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert "runtime started" in next(line for line in processes[-1].stdout if "started" in line)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(60)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
