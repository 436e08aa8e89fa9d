"""Pools of processes: as many as the system allows, and none that outlives who started them."""

import subprocess
import sys

import pytest

from sammed3d.core import process_pools

KILLED = """
import multiprocessing, time
from sammed3d.core.process_pools import process_pool
pool = process_pool(2, interrupted={interrupted})
for each in [pool.submit(abs, -1) for _ in range(2)]:
    each.result()
working, waiting = pool.submit(time.sleep, 3600), len(multiprocessing.active_children()) - 1
print("ready", waiting, flush=True)
time.sleep(3600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [True, False])
def test_they_end_with_a_process_that_is_killed(interrupted):
    """Its output ends once nobody holds it any more: those that work, and those that wait for work."""
    command = [sys.executable, "-c", KILLED.format(interrupted=interrupted)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("ready")
        process.kill()
        assert process.communicate(timeout=120) == ("", None)


def test_more_processes_than_windows_waits_for_are_not_started(monkeypatch):
    def pool(count, *_):
        if count > 61:
            raise ValueError("max_workers must be <= 61")  # as Python says there
        return count

    monkeypatch.setattr(process_pools, "ProcessPoolExecutor", pool)
    assert [process_pools.process_pool(count) for count in (2, 61, 64)] == [2, 61, 61]
