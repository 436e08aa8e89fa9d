"""Cases worked on apart from one another: in this process, in several of this machine, or as tasks of a Ray cluster.

A process that dies costs what it worked on at most, and that is tried again. Where one case ends every process that
works on it, that case alone is lost, and told.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sammed3d.core.control_groups import THREADS, threads_said, usable_processors
from sammed3d.core.process_pools import MOST_PROCESSES, end_processes, process_pool
from sammed3d.errors import SAMMed3DError
from sammed3d.ray_cluster import joined

DIED = "the process that worked on it died; is memory short?"
RETRIES = 3
"""Further processes of a cluster that try a case whose process died."""
Case = TypeVar("Case")
Result = TypeVar("Result")
Part = TypeVar("Part", bound="Scored")
"""What was measured of a case."""
Model = TypeVar("Model")
"""What works on cases: a predictor, or a model."""


class Scored(Protocol):
    """Something with scores."""

    @property
    def scores(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Workers:
    """Where cases are worked on.

    Attributes:
        count: processes of this machine; 1 for this one.
        ray: address of a Ray cluster in their place, "auto" for the one of this machine; "" for none. Its hosts need
            this package, the model, and all files under the same paths.
        on_gpu: whether each task of the cluster takes a GPU, where there are some.
    """

    count: int = 1
    ray: str = ""
    on_gpu: bool = False


def each(
    cases: Sequence[Case],
    work: Callable[[Case, Model], Result],
    load: Callable[[], Model],
    workers: Workers,
    lost: Callable[[Case], Result],
) -> Iterator[tuple[int, Result]]:
    """Yield the index of each case, and what came of it, in the order in which they are done.

    Args:
        cases: the cases.
        work: function of a case and a model. It is sent to other processes, and so are cases and results.
        load: makes the model; called once in each process.
        workers: where.
        lost: makes the result of a case that ends every process that works on it.

    Raises:
        ModelError: the model cannot be made, Ray is not installed, or its cluster cannot be reached.
    """
    if workers.ray:
        found: Iterator[tuple[int, Result | None]] = _on_ray(cases, work, load, workers)
        yield from ((index, lost(cases[index]) if result is None else result) for index, result in found)
    elif workers.count <= 1:
        model = load() if cases else None
        yield from ((n, work(case, model)) for n, case in enumerate(cases) if model is not None)
    else:
        yield from _in_processes(cases, work, load, workers.count, lost)


def parts(
    cases: Sequence[Case],
    measure: Callable[..., Part],
    load: Callable[[], Model],
    workers: Workers,
    lost: Callable[[Case], Part],
    on_score: Callable[[Any], None],
    stopped: Callable[[], Part] | None = None,
) -> list[Part]:
    """Measure each case by itself; returns what was measured, in the order of the cases.

    Args:
        cases: the cases.
        measure: function of a model and a list of cases; it is sent to other processes.
        load: makes the model.
        workers: where.
        lost: makes the part of a case that ends every process that works on it.
        on_score: called with each score of a case that is done.
        stopped: makes the last part where it is interrupted (KeyboardInterrupt), behind those of the cases that are
            done; None to lose them.
    """
    found = {}
    end = []
    try:
        for index, part in each(cases, functools.partial(_measured, measure=measure), load, workers, lost):
            found[index] = part
            for score in part.scores:
                on_score(score)
    except KeyboardInterrupt:
        if stopped is None:
            raise
        end = [stopped()]
    return [*(found[index] for index in sorted(found)), *end]


def _measured(case: Any, model: Any, measure: Callable[..., Any]) -> Any:
    return measure(model, [case])


def _in_processes(
    cases: Sequence[Case],
    work: Callable[[Case, Model], Result],
    load: Callable[[], Model],
    count: int,
    lost: Callable[[Case], Result],
) -> Iterator[tuple[int, Result]]:
    waiting = list(range(len(cases)))
    while waiting:
        done = set()
        for index, result in _in_pool({n: cases[n] for n in waiting}, work, load, count):
            done.add(index)
            yield index, result
        left = [index for index in waiting if index not in done]
        for index in left[:count]:  # one of them was under way where a process died: which one shows alone
            alone = list(_in_pool({index: cases[index]}, work, load, 1))
            yield from alone or [(index, lost(cases[index]))]
        waiting = left[count:]


def _in_pool(
    cases: dict[int, Case], work: Callable[[Case, Model], Result], load: Callable[[], Model], count: int
) -> Iterator[tuple[int, Result]]:
    """Yield each case and what became of it, but for those that are left over where a process dies."""
    with process_pool(count) as pool:
        try:
            with _processors_shared(min(count, MOST_PROCESSES)):
                running = {pool.submit(_in_worker, case, work, load): index for index, case in cases.items()}
            for future in as_completed(running):
                with contextlib.suppress(BrokenProcessPool):
                    yield running[future], future.result()
        except BaseException:  # where it was stopped: a case may take minutes, and whoever ends a job waits for seconds
            end_processes(pool)
            raise
        finally:  # else the pool would go on to the last case
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _processors_shared(count: int) -> Iterator[None]:
    """Give processes that start meanwhile their share of the processors, unless the user has decided.

    Threads of several processes that each take all processors wait for one another: those of torch, and those of
    numpy's and scipy's matrix products, which are told by the environment alone before they are imported.
    """
    if threads_said():
        yield
        return
    os.environ[THREADS] = str(max(1, usable_processors() // count))
    try:
        yield
    finally:
        del os.environ[THREADS]


def _on_ray(
    cases: Sequence[Case], work: Callable[[Case, Model], Result], load: Callable[[], Model], workers: Workers
) -> Iterator[tuple[int, Result | None]]:
    """Yield each case and what became of it; None where it ended every process that worked on it."""
    with joined(workers.ray) as ray:
        gpus = 1 if workers.on_gpu and ray.cluster_resources().get("GPU", 0) > 0 else 0
        task = ray.remote(_in_worker).options(max_retries=RETRIES, num_cpus=1, num_gpus=gpus)
        running = {task.remote(case, work, load): index for index, case in enumerate(cases)}
        while running:
            [ready], _ = ray.wait(list(running), num_returns=1)
            index = running.pop(ready)
            try:
                yield index, ray.get(ready)
            except ray.exceptions.RayTaskError as error:  # ours, raised there
                raise error.cause from error
            except ray.exceptions.RayError:
                yield index, None


_loaded: dict[bytes, Any] = {}
"""The model of a process of its own by how it is made, or why there is none."""


def _in_worker(case: Case, work: Callable[[Case, Model], Result], load: Callable[[], Model]) -> Result:
    key = pickle.dumps(load)
    if key not in _loaded:
        _loaded.clear()
        try:
            _loaded[key] = load()
        except SAMMed3DError as error:
            _loaded[key] = error
    model = _loaded[key]
    if isinstance(model, SAMMed3DError):
        raise model
    return work(case, model)
