"""How much memory the server takes: what it finds out, how it divides it, and that it keeps to it."""

import socket
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from helpers import ThresholdPredictor
from sammed3d.errors import ModelError
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker import Worker
from sammed3d.server.compute.worker_process import ModelSpec, WorkerSettings, patch_of
from sammed3d.server.http.guard import ANYBODY, Bodies
from sammed3d.server.memory import WORKER_MIB, Budget, Limit, Wishes, divide, memory_limit
from sammed3d.server.serve import budget_of
from sammed3d.server.settings import read_settings
from sammed3d.zoo.store import BUNDLED
from servers import serving
from workers import SMALL

GIB = 1 << 30
MIB = 1 << 20
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {f"{V2}/memory.max": "1073741824\n"}, GIB),
        ("0::/a/b\n", {f"{V2}/a/b/memory.max": "max", f"{V2}/a/memory.max": "536870912"}, GIB // 2),
        ("0::/a\n", {f"{V2}/a/memory.max": "max"}, None),
        ("9:cpu,memory:/x/y\n0::/\n", {f"{V1}/x/memory.limit_in_bytes": "1073741824"}, GIB),
        ("9:memory:/host/path\n", {f"{V1}/memory.limit_in_bytes": "1073741824"}, GIB),  # a container's view
        ("9:memory:/\n", {f"{V1}/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("9:cpu:/\n", {f"{V1}/memory.limit_in_bytes": "1073741824"}, None),
        ("", {}, None),
    ],
)
def test_the_narrowest_limit_counts(tmp_path, groups, files, expected):
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = psutil.virtual_memory().total
    limit = memory_limit(tmp_path)
    assert limit.bytes == (machine if expected is None else expected)
    assert limit.source == ("the machine" if expected is None else "the control group")


def test_where_nobody_tells_of_control_groups_the_machine_counts(tmp_path):
    assert memory_limit(tmp_path).bytes == psutil.virtual_memory().total


def all_of(budget: Budget, workers: int) -> int:
    return budget.patches + budget.volumes + budget.uploads + 2 * workers * budget.host_cache


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("volumes", [False, True])
def test_all_shares_together_stay_below_half_of_the_machine(workers, volumes):
    budget = divide(Wishes(), [20 * MIB], workers, Limit(8 * GIB, "the machine"), volumes)
    assert budget.total == 4096
    assert all_of(budget, workers) <= 4096 - 256 - workers * (WORKER_MIB + 50)
    assert all_of(budget, workers) >= 4096 - 256 - workers * (WORKER_MIB + 50) - 8, "nothing is left unused"
    assert (budget.volumes > 0) == volumes
    assert "half of 8192 MiB, the machine's" in str(budget)


def test_what_was_said_counts_and_the_rest_follows():
    wishes = Wishes(total=3000, patches=100, volumes=0, host_cache=200)
    budget = divide(wishes, [], 1, Limit(64 * GIB, "the machine"))
    assert (budget.total, budget.patches, budget.volumes, budget.host_cache) == (3000, 100, 0, 200)
    assert budget.uploads == 3000 - 256 - WORKER_MIB - 100 - 400


def test_a_large_machine_is_not_taken_whole():
    assert divide(Wishes(), [], 1, Limit(1024 * GIB, "the machine")).total == 32 * 1024


def test_models_that_do_not_fit_are_refused_with_what_they_need():
    with pytest.raises(ModelError, match=r"1024 MiB of memory .* too few: .* need 2472.*--memory-mib"):
        divide(Wishes(), [400 * MIB], 1, Limit(2 * GIB, "the control group"))


def test_uploads_beyond_their_share_have_to_wait_and_one_alone_never_does():
    bodies = Bodies(100)
    assert bodies.take("one", 80, 0)
    assert bodies.take("one", 80, 80), "whoever is alone may have all it likes"
    assert not bodies.take("two", 1, 0)
    assert bodies.held == 160


def test_several_uploads_of_one_user_leave_half_of_the_room_to_others():
    bodies = Bodies(100)
    assert bodies.take("one", 30, 0)
    assert bodies.take("one", 20, 0)
    assert not bodies.take("one", 1, 0)
    assert bodies.take("two", 50, 0)
    bodies.give_back("one", 30)
    assert bodies.take("one", 30, 0)
    alone = Bodies(100)
    assert alone.take(ANYBODY, 30, 0)
    assert alone.take(ANYBODY, 70, 0), "without keys nobody is told apart"


@pytest.mark.timeout(60)
def test_an_upload_that_finds_no_memory_is_told_to_come_back_and_its_memory_is_given_back():
    with serving(ThresholdPredictor(preset=SMALL), uploads_mib=1) as server:
        held = partial(server.engine.metrics.registry.get_sample_value, "sammed3d_cache_bytes", {"cache": "uploads"})
        path, port = f"/v1/patches/{'0' * 64}", int(server.url.rsplit(":", 1)[1])
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3000000\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(head + bytes(2 << 20))
            wait_until(lambda: held() == 2 << 20)
            response = requests.put(server.url + path, data=bytes(1000), timeout=10)
            assert response.status_code == 429, "503 means to clients of nnInteractive that all sessions are taken"
            assert "uploads" in response.json()["detail"]
            assert int(response.headers["Retry-After"]) >= 1
        wait_until(lambda: held() == 0)
        assert requests.put(server.url + path, data=bytes(1000), timeout=10).status_code == 422


def wait_until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.timeout(300)
def test_the_default_model_stays_below_two_of_four_gigabytes():
    spec = ModelSpec("default", "Default", "", "", BUNDLED)
    budget = budget_of(read_settings(None), (spec,), Limit(4 * GIB, "the control group"))
    worker = Worker(WorkerSettings((spec,), "cpu", host_cache_mib=budget.host_cache))
    try:
        rest = 256 + budget.patches + budget.volumes + budget.uploads
        voxels = np.random.default_rng(0).standard_normal((128, 128, 128)).astype(np.float32)
        many = [PatchClick((10.0 + n % 100, 20.0 + n // 10, 60.0), n % 3 > 0) for n in range(200)]
        for n in range(budget.host_cache // 24 + 1):  # more than its cache has room for
            prompts = PatchPrompts([PatchClick((64.0, 64.0, 60.0 + n), True)], earlier=many if n == 5 else ())
            worker.submit(Job("default", patch_of(voxels + n, f"{n:064x}"), prompts)).result(120)
        held, most = worker.held.caches["embeddings"]
        assert most - 24 * MIB < held <= most == budget.host_cache * MIB
        status = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024
        assert peak + rest < 2048
        process = psutil.Process(worker.pid)
        wait_until(lambda: process.memory_info().rss < (peak - 100) * MIB)  # when nobody has asked for a second
    finally:
        worker.close()
