"""The pipe to a worker's process: neither end waits for the other to read, whatever goes through it at once."""

import threading

import numpy as np
import psutil
import pytest

from sammed3d.errors import PredictionCancelled
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker import Worker, WorkerError
from sammed3d.server.compute.worker_process import WorkerSettings, patch_of
from workers import job, load_verbose, troubled

pytestmark = pytest.mark.slow  # each starts a process


@pytest.fixture
def worker():
    worker = Worker(WorkerSettings((), "cpu", load=load_verbose))
    yield worker
    worker.close()


def large(name: str) -> Job:
    """Make a job whose patch no pipe takes while nobody reads."""
    return Job("default", patch_of(np.zeros((64, 64, 64), np.float32), name), job().prompts)


def in_time(worker: Worker, work) -> list:
    """Run `work` in a thread and return its value in a list, or end the process and return none."""
    done: list = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    thread.join(20)
    if not done:
        psutil.Process(worker.pid).kill()
    return done


def test_asking_never_waits_though_no_answer_is_read_and_waiting_jobs_are_cancelled(worker):
    """The answers of 1 MiB wait to be read, the process cancels what waits, and further patches of 1 MiB come."""
    read = threading.Event()

    def ask() -> list:
        first = worker.submit(large("first"))
        first.add_done_callback(lambda _: read.wait(30))  # in the thread that reads
        futures = [first]
        for n in range(12):
            waiting = large(f"cancelled {n}")
            futures += [worker.submit(large(f"answered {n}")), worker.submit(waiting)]
            worker.cancel(waiting)
        return futures

    asked = in_time(worker, ask)
    read.set()
    assert asked, "asking waited for somebody to read"
    for future in asked[0]:
        assert isinstance(future.exception(20), PredictionCancelled | None)
    assert worker.submit(large("last")).result(20).low_res.shape == (64, 64, 64)


def test_many_who_ask_and_cancel_at_once_are_all_answered(worker):
    def one_user(user: int) -> int:
        futures = []
        for n in range(15):
            asked = large(f"{user} {n % 4}")
            futures.append(worker.submit(asked))
            if n % 2:
                worker.cancel(asked)
        return sum(isinstance(future.exception(20), PredictionCancelled | None) for future in futures)

    answered: list = []
    users = [threading.Thread(target=lambda u=user: answered.append(one_user(u)), daemon=True) for user in range(6)]
    for user in users:
        user.start()
    in_time(worker, lambda: [user.join() for user in users])
    assert answered == 6 * [15]


def test_who_hears_that_a_job_failed_may_ask_for_another(tmp_path):
    (tmp_path / "hurt").write_text("10")
    (tmp_path / "die").touch()
    worker = Worker(troubled(tmp_path))
    try:
        heard = threading.Event()
        further = []

        def ask_again(_) -> None:
            further.extend(in_time(worker, lambda: worker.submit(job(2))))
            heard.set()

        bad = worker.submit(job(1, first=12.0))
        bad.add_done_callback(ask_again)
        with pytest.raises(WorkerError, match="failed twice"):
            bad.result(30)
        assert heard.wait(30)
        assert further, "asking waited for who told of the failure"
        assert further[0].result(20) is not None
    finally:
        worker.close()
