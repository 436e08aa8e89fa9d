"""Numbers for those who watch over the server, in the format of Prometheus. They tell nothing about patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "sammed3d_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._stages = Histogram(
            "sammed3d_prediction_seconds", "Time of predictions.", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self._caches = Counter(
            "sammed3d_cache_lookups", "Looked up in caches.", ["cache", "result"], registry=self.registry
        )
        self._restarts = Counter(
            "sammed3d_worker_restarts", "Worker processes that had to be replaced.", registry=self.registry
        )
        self._queue = Gauge("sammed3d_predictions", "Predictions that wait or run.", registry=self.registry)
        self._memory = Gauge("sammed3d_device_bytes", "Memory taken on the devices.", registry=self.registry)
        self._resident = Gauge(
            "sammed3d_resident_bytes", "Memory of the processes.", ["process"], registry=self.registry
        )
        self._held = Gauge("sammed3d_cache_bytes", "Memory that caches hold.", ["cache"], registry=self.registry)
        self._bounds = Gauge(
            "sammed3d_cache_limit_bytes", "Most that they may hold.", ["cache"], registry=self.registry
        )

    def watch(self, depth: Callable[[], int], device_bytes: Callable[[], int]) -> None:
        """Say where to read the queue's length and the devices' memory."""
        self._queue.set_function(depth)
        self._memory.set_function(device_bytes)

    def watch_cache(self, name: str, held: Callable[[], float], limit: Callable[[], float]) -> None:
        """Say where to read what a cache holds, and what it may hold, in bytes."""
        self._held.labels(name).set_function(held)
        self._bounds.labels(name).set_function(limit)

    def watch_process(self, name: str, resident: Callable[[], float]) -> None:
        """Say where to read the memory of a process, in bytes."""
        self._resident.labels(name).set_function(resident)

    def requested(self, method: str, route: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(method, route, status).inc()

    def predicted(self, seconds: Mapping[str, float]) -> None:
        """Count a prediction: its stages, and which caches spared work."""
        for stage in ("queue", "encode", "decode"):
            if stage in seconds:
                self._stages.labels(stage).observe(seconds[stage])
        self.looked_up("logits", "decode" not in seconds)
        if "decode" in seconds:
            self.looked_up("embedding", "encode" not in seconds)

    def looked_up(self, cache: str, found: bool) -> None:
        """Count a look into a cache."""
        self._caches.labels(cache, "hit" if found else "miss").inc()

    def restarted(self) -> None:
        """Count a worker that had to be replaced."""
        self._restarts.inc()
