"""Worker processes: what dies is replaced, what was asked is answered, and a bad job harms no other."""

import multiprocessing
import threading
import time

import numpy as np
import psutil
import pytest

from helpers import small_volume
from networks import TINY_PRESET
from sammed3d.core import freed_memory
from sammed3d.errors import ModelError, PredictionCancelled
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server.compute import worker as worker_module
from sammed3d.server.compute import worker_process
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker import UnavailableError, Worker, WorkerError, start_workers
from sammed3d.server.compute.worker_process import PATCHES, Asked, ModelSpec, WorkerSettings, patch_of
from workers import job, load_computing, load_greedy, load_idle, troubled

pytestmark = pytest.mark.slow  # each starts processes


@pytest.fixture
def restarts():
    return []


@pytest.fixture
def worker(tmp_path, restarts):
    worker = Worker(troubled(tmp_path), lambda: restarts.append(1))
    yield worker
    (tmp_path / "slow").unlink(missing_ok=True)
    worker.close()


def expected(asked):
    from helpers import ThresholdPredictor
    from workers import SMALL

    return ThresholdPredictor(preset=SMALL).predict(asked.patch, asked.prompts).low_res


def calls(folder):
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_worker_that_is_closed_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())
    worker = Worker(troubled(tmp_path))
    worker.submit(job()).result(30)
    worker.close()
    wait_for(lambda: set(threading.enumerate()) <= before)
    worker.close()  # once more, and it is nothing


def test_threads_that_helped_to_load_are_gone_when_it_works():
    workers = [Worker(WorkerSettings((), "cpu", load=load)) for load in (load_idle, load_computing)]
    try:
        for worker in workers:
            worker.submit(job()).result(30)  # which takes the scheduler's thread
        idle, computing = (psutil.Process(worker.pid) for worker in workers)
        wait_for(lambda: computing.num_threads() == idle.num_threads())  # they end a moment after who called them
    finally:
        for worker in workers:
            worker.close()


@pytest.mark.skipif(freed_memory.c_function("mallopt") is None, reason="no glibc")
def test_memory_is_kept_from_one_new_patch_to_the_next_and_given_back_when_nobody_asks():
    mib = 2**20
    worker = Worker(WorkerSettings((), "cpu", load=load_greedy))
    try:
        least = psutil.Process(worker.pid).memory_info().rss
        held = []
        for seed in range(2 * PATCHES - 1):
            worker.submit(job(seed)).result(30)
            held.append(worker.held.resident > least + 80 * mib)
        assert held.count(False) <= 1, "given back after so many new patches, or when nobody asked for a second"
        wait_for(lambda: psutil.Process(worker.pid).memory_info().rss < least + 40 * mib)
    finally:
        worker.close()


def test_it_loads_a_checkpoint_and_answers_as_this_process_does(tiny_checkpoint, tiny_network):
    volume = small_volume((70, 80, 60))
    lattice = Lattice(volume.grid, TINY_PRESET.spacing)
    patch = cut_patch(volume, lattice, lattice.window_at((60, 75, 45), TINY_PRESET.patch_shape), TINY_PRESET)
    clicks = (PatchClick((30.0, 31.0, 32.0), True), PatchClick((40.0, 31.0, 32.0), False))
    worker = Worker(WorkerSettings((ModelSpec("tiny", "Tiny", "", "", tiny_checkpoint),), "cpu"))
    try:
        assert worker.started.device == "cpu"
        assert worker.started.presets == {"tiny": TINY_PRESET}
        mine = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
        for count in (1, 2):
            theirs = worker.submit(Job("tiny", patch, PatchPrompts(clicks[:count]))).result(30)
            assert np.array_equal(theirs.low_res, mine.predict(patch, PatchPrompts(clicks[:count])).low_res)
            assert ("encode" in theirs.seconds) == (count == 1)
    finally:
        worker.close()


def test_a_killed_process_is_replaced_and_the_click_answered(worker, tmp_path, restarts):
    (tmp_path / "slow").touch()
    asked = job()
    future = worker.submit(asked)
    wait_for(lambda: calls(tmp_path))
    psutil.Process(worker.pid).kill()
    (tmp_path / "slow").unlink()
    assert np.array_equal(future.result(30).low_res, expected(asked))
    assert len(restarts) == 1
    assert len({line.split()[0] for line in calls(tmp_path)}) == 2, "two processes worked on it"


def test_an_error_of_the_device_is_tried_once_more_in_a_new_process(worker, tmp_path, restarts):
    (tmp_path / "fail").touch()
    (tmp_path / "once").touch()
    asked = job()
    assert np.array_equal(worker.submit(asked).result(30).low_res, expected(asked))
    assert len(restarts) == 1


def test_a_job_that_always_fails_is_given_up_and_harms_no_other(worker, tmp_path, restarts):
    (tmp_path / "fail").touch()
    (tmp_path / "hurt").write_text("10")
    bad, good = job(1, first=12.0), job(2)
    futures = [worker.submit(bad), worker.submit(good)]
    with pytest.raises(WorkerError, match="failed twice"):
        futures[0].result(30)
    assert np.array_equal(futures[1].result(30).low_res, expected(good))
    assert len(restarts) == 2


def test_a_job_that_kills_the_process_is_given_up_too(worker, tmp_path):
    (tmp_path / "die").touch()
    with pytest.raises(WorkerError, match="failed twice"):
        worker.submit(job()).result(30)
    (tmp_path / "die").unlink()
    assert worker.submit(job()).result(30) is not None


def test_a_process_that_hangs_is_replaced(worker, tmp_path, restarts, monkeypatch):
    monkeypatch.setattr(worker_module, "DEADLINE", 0.3)
    (tmp_path / "slow").touch()
    future = worker.submit(job())
    wait_for(lambda: restarts)
    (tmp_path / "slow").unlink()
    assert future.result(30) is not None


def test_a_process_that_cannot_be_started_again_says_so_and_comes_back(worker, tmp_path):
    (tmp_path / "broken").touch()
    (tmp_path / "slow").touch()
    future = worker.submit(job())
    wait_for(lambda: calls(tmp_path))
    psutil.Process(worker.pid).kill()
    with pytest.raises(UnavailableError, match="cannot be used at the moment"):
        future.result(30)
    assert not worker.is_ready
    (tmp_path / "slow").unlink()
    (tmp_path / "broken").unlink()
    wait_for(lambda: worker.is_ready)
    assert worker.submit(job()).result(30) is not None


def test_a_process_that_hangs_while_it_loads_is_replaced(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "STARTING", 5.0)
    (tmp_path / "slow").touch()
    waiting = worker.submit(job())
    wait_for(lambda: calls(tmp_path))
    (tmp_path / "stuck").touch()
    psutil.Process(worker.pid).kill()
    with pytest.raises(UnavailableError):
        waiting.result(30)
    for name in ("stuck", "slow"):
        (tmp_path / name).unlink()
    wait_for(lambda: worker.is_ready)
    assert worker.submit(job()).result(30) is not None


def test_a_patch_travels_once_to_the_process_and_again_when_it_was_lost(worker, tmp_path):
    first = job(clicks=1)
    assert worker.submit(first).result(30) is not None
    again = Job("default", first.patch, job(clicks=2).prompts)
    assert np.array_equal(worker.submit(again).result(30).low_res, expected(again))
    assert len(calls(tmp_path)) == 2
    assert len((tmp_path / "asked").read_text()) == 3, "the second time without it, and so once more: it keeps none"


def test_a_job_can_be_cancelled_while_it_runs(worker, tmp_path):
    (tmp_path / "slow").touch()
    asked = job()
    future = worker.submit(asked)
    wait_for(lambda: calls(tmp_path))
    worker.cancel(asked)
    with pytest.raises(PredictionCancelled):
        future.result(10)


def test_closing_finishes_what_runs(tmp_path):
    (tmp_path / "slow").touch()
    worker = Worker(troubled(tmp_path))
    process = psutil.Process(worker.pid)
    future = worker.submit(job())
    wait_for(lambda: calls(tmp_path))
    (tmp_path / "slow").unlink()
    worker.close()
    assert future.result(0) is not None
    assert not process.is_running()


def test_what_cannot_be_loaded_is_said_at_the_start(tmp_path):
    missing = ModelSpec("m", "M", "", "", tmp_path / "absent.safetensors")
    with pytest.raises(ModelError, match=r"absent\.safetensors"):
        start_workers([WorkerSettings((missing,), "cpu")])
    with pytest.raises(ModelError, match="cannot be used here"):
        start_workers([troubled(tmp_path), WorkerSettings((missing,), "cuda:7")])


def test_a_process_whose_parent_was_stopped_while_models_were_loaded_ends_without_a_word(tmp_path):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=worker_process.main, args=(theirs, troubled(tmp_path)))
    process.start()
    theirs.close()
    ours.close()
    process.join(30)
    assert process.exitcode == 0


def test_a_patch_without_a_place_keeps_the_digest_it_is_given():
    voxels = np.ones((2, 3, 4), np.float32)
    assert patch_of(voxels, "abc").digest == "abc"
    assert patch_of(voxels, "abc").grid.shape == (2, 3, 4)


def test_only_a_few_patches_wait_in_the_process_and_it_asks_for_the_others(worker, tmp_path, monkeypatch):
    sent = []

    def message(*fields):
        sent.append(Asked(*fields))
        return sent[-1]

    monkeypatch.setattr(worker_module, "Asked", message)
    (tmp_path / "slow").touch()
    asked = [job(seed, user=str(seed % 3)) for seed in range(30)]
    futures = [worker.submit(each) for each in asked]
    assert sum(message.voxels is not None for message in sent) == worker_module.CARRIED
    (tmp_path / "slow").unlink()
    for each, future in zip(asked, futures, strict=True):
        assert np.array_equal(future.result(30).low_res, expected(each))
