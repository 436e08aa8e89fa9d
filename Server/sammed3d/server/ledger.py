"""What the replicas of a server share: how much each user has asked for, and what was counted.

`Ledger` knows nothing of Ray, which runs one of it as an actor; see `on_ray`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from sammed3d.server.compute.admission import Buckets
from sammed3d.server.http.keys import Quota

ALIVE = 15.0
"""Seconds after its last report in which a replica counts as one that runs."""
REMEMBERED = 256
"""Replicas whose counts are kept after their end, so that totals never fall."""


@dataclass(frozen=True)
class Family:
    """A metric as a replica has it.

    Attributes:
        name, documentation, kind: the metric's name, help text and type, as Prometheus has them.
        samples: (name, labels, value) of each series of it.
    """

    name: str
    documentation: str
    kind: str
    samples: tuple[tuple[str, tuple[tuple[str, str], ...], float], ...]


def families_of(registry: CollectorRegistry) -> list[Family]:
    """Return all metrics of a registry; when counters were made is left out, for it cannot be added up."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            tuple(
                (s.name, tuple(sorted(s.labels.items())), s.value)
                for s in metric.samples
                if not s.name.endswith("_created")
            ),
        )
        for metric in registry.collect()
    ]


class Ledger:
    """Counts for all replicas.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._buckets = clock, Buckets(clock)
        self._running: dict[str, tuple[float, dict[str, int]]] = {}
        self._reports: OrderedDict[str, tuple[float, list[Family]]] = OrderedDict()

    def charge(self, replica: str, user: str, running: int, quota: Quota) -> tuple[int, float]:
        """Count a prediction, if the user may have one more.

        Args:
            replica: name of the replica that asks.
            user: name of the user who asked it.
            running: predictions of the user that this replica has already.
            quota: what the user may ask for.

        Returns:
            How many run on other replicas, and the seconds after which the minute has room; 0 where it was counted.
        """
        now = self._clock()
        counts = [c for name, (at, c) in self._running.items() if name != replica and now - at < ALIVE]
        elsewhere = sum(each.get(user, 0) for each in counts)
        if running + elsewhere >= quota.waiting:
            return elsewhere, 0.0
        wait = self._buckets.take(user, quota.per_minute)
        if not wait:
            own = dict(self._running.get(replica, (0.0, {}))[1])
            self._running[replica] = now, own | {user: running + 1}
        return elsewhere, wait

    def report(self, replica: str, running: dict[str, int], families: list[Family] | None = None) -> None:
        """Take note of what a replica has running, and of what it has counted."""
        now = self._clock()
        self._running[replica] = now, running
        if families is not None:
            self._reports[replica] = now, families
            self._reports.move_to_end(replica)
            while len(self._reports) > REMEMBERED:
                self._reports.popitem(last=False)
        self._running = {name: entry for name, entry in self._running.items() if now - entry[0] < ALIVE}

    def families(self) -> list[Family]:
        """Return the metrics of all replicas: what only grows of all there ever were, the rest of those that run."""
        now = self._clock()
        reports = [
            [family for family in families if family.kind != "gauge" or now - at < ALIVE]
            for at, families in self._reports.values()
        ]
        alive = sum(now - at < ALIVE for at, _ in self._reports.values())
        replicas = Family("sammed3d_replicas", "Replicas that run.", "gauge", (("sammed3d_replicas", (), alive),))
        return [*added_up(reports), replicas]


def added_up(reports: Sequence[Sequence[Family]]) -> list[Family]:
    """Add up the metrics of several registries, series by series."""
    first: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for report in reports for family in report):
        first.setdefault(family.name, family)
        own = sums.setdefault(family.name, {})
        for name, labels, value in family.samples:
            own[name, labels] = own.get((name, labels), 0.0) + value
    return [
        Family(name, f.documentation, f.kind, tuple((n, labels, v) for (n, labels), v in sums[name].items()))
        for name, f in first.items()
    ]


class Collector:
    """Shows families to Prometheus.

    Args:
        ask: returns them.
    """

    def __init__(self, ask: Callable[[], Sequence[Family]]) -> None:
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for family in self._ask():
            metric = Metric(family.name, family.documentation, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict[str, str](labels), value)
            yield metric


def counts_of(running: Mapping[str, int]) -> dict[str, int]:
    """Return a plain copy, for the way to another process."""
    return {user: count for user, count in running.items() if count}
