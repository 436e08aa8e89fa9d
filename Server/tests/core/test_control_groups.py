"""What a container may use of the machine."""

import os

import pytest

from sammed3d.core import control_groups
from sammed3d.core.control_groups import usable_processors

V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"


@pytest.fixture(autouse=True)
def affinity(monkeypatch):
    """A process that may run on 64 processors."""
    monkeypatch.setattr(control_groups.os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {f"{V2}/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {f"{V2}/cpu.max": "150000 100000"}, 2),
        ("0::/\n", {f"{V2}/cpu.max": "20000 100000"}, 1),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000"}, 64),
        ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "max 100000", f"{V2}/a/cpu.max": "400000 100000"}, 4),
        ("0::/a\n", {f"{V2}/a/cpu.max": "9900000 100000"}, 64),
        ("4:cpu,cpuacct:/x\n", {f"{V1}/x/cpu.cfs_quota_us": "300000", f"{V1}/x/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/x\n", {f"{V1}/x/cpu.cfs_quota_us": "-1", f"{V1}/x/cpu.cfs_period_us": "100000"}, 64),
        ("4:memory:/x\n", {f"{V1}/x/cpu.cfs_quota_us": "300000", f"{V1}/x/cpu.cfs_period_us": "100000"}, 64),
        ("", {}, 64),
    ],
)
def test_the_narrowest_quota_counts(tmp_path, groups, files, expected):
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_processors(tmp_path) == expected


def test_where_nobody_tells_of_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    assert usable_processors(tmp_path) == 64
    monkeypatch.delattr(control_groups.os, "sched_getaffinity")
    assert usable_processors(tmp_path) == (os.cpu_count() or 1)
