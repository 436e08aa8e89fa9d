"""Ray clusters of this machine, on loopback, as administrators start them."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ports import unused_port

FOLDERS = [str(each) for each in Path(__file__).parent.iterdir() if each.is_dir()]
os.environ |= {  # Ray reads them once in a process, whichever test is the first to use it
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-these-tests-alone-0123456789",
    "RAY_USAGE_STATS_ENABLED": "0",
}
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@contextlib.contextmanager
def ray_cluster(*hosts):
    """Start a cluster with a host for each argument, which are options of `ray start`; yield its address.

    Processes of the cluster import what tests import.
    """
    address = f"127.0.0.1:{unused_port()}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*FOLDERS, *sys.path])}
    program = Path(sys.executable).with_name("ray")
    processes = []
    try:
        for host in hosts:
            join = [f"--address={address}"] if processes else ["--head", f"--port={address.rpartition(':')[2]}"]
            join += [] if processes else ["--include-dashboard=false"]
            command = [program, "start", *join, "--block", "--node-ip-address=127.0.0.1", host]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
            wait_for(address)  # the next host may come before this one is ready
        for process in processes:
            assert "runtime started" in next(line for line in process.stdout if "started" in line)
        yield address
    finally:
        for process in processes:  # at once: a host that ends by itself waits for its work
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):  # it went meanwhile
                    each.kill()
        for process in processes:
            process.wait(60)


def wait_for(address, seconds=60.0):
    """Wait until somebody listens there."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, f"nobody listens at {address}"
            time.sleep(0.05)


def command_of(process):
    """Command of a process in one line; "" where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
