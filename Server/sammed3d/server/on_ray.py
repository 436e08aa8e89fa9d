"""The same application on Ray Serve: replicas on several GPUs and hosts, each with a worker of its own.

Requests about a patch go to the replica that had it before, for as long as that one lives (consistent hashing over the
header `messages.ROUTING_HEADER`). Nothing depends on it: a client uploads to another replica what that one lacks.

Ray opens ports of its own on all addresses; the token that is set here keeps strangers from using them, a firewall or a
private network has to keep them from trying. Ray's proxy in front of the replicas takes in a request before the replica
sees its key and size, and knows no TLS: a reverse proxy belongs before it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry

from sammed3d import __version__
from sammed3d.errors import ModelError
from sammed3d.server import logs, memory
from sammed3d.server.addresses import check_admin, check_free, some_port
from sammed3d.server.compute.admission import Buckets
from sammed3d.server.compute.worker_process import WorkerSettings
from sammed3d.server.http.guard import Guard
from sammed3d.server.http.keys import Quota
from sammed3d.server.ledger import Collector, Family, Ledger, counts_of, families_of
from sammed3d.server.metrics import Metrics
from sammed3d.server.metrics_page import check_metrics, serve_metrics
from sammed3d.server.serve import build, check_exposure, find_models, in_url, worker_settings
from sammed3d.server.settings import ServerSettings

log = logging.getLogger("sammed3d.server")
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
NAME = "sammed3d"
LEDGER, LAUNCHES = f"ledger {__version__}", "launches"
ANSWER = 5.0
"""Seconds to wait for the ledger."""
STARTING = 60.0
"""Seconds to wait for an actor to start."""
PROXIES = 180.0
"""Seconds to wait for Ray's HTTP proxies to start, replacements included."""
REPORT = 2.0
"""Seconds between two reports of a replica."""


def start(settings: ServerSettings, workers: list[WorkerSettings] | None = None) -> str:
    """Start Ray, or join a cluster, and serve; returns when all replicas are ready.

    Args:
        settings: the server's settings. `device` says how many replicas there are, and whether they are on GPUs.
        workers: what the replicas run, where it is not the installed models that the settings name.

    Returns:
        A name of this launch, for `shut_down`.

    Raises:
        ModelError: a setting does not go together with Ray, a port cannot be had, or Ray is not installed.
    """
    check(settings)
    check_metrics(settings)
    if not settings.ray_address:  # the proxies of a cluster that there is have it already
        check_free(settings.host, settings.port)
    check_admin(settings.host, settings.port, settings.admin_host, settings.admin_port)
    workers = workers or worker_settings(settings, find_models(settings))
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not settings.ray_address:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_urlsafe(32))
    try:
        import ray  # noqa: PLC0415 - the extra [ray]
        from ray import serve  # noqa: PLC0415
        from ray.serve.config import RequestRouterConfig  # noqa: PLC0415
    except ImportError as error:
        raise ModelError('Ray is not installed: pip install "sammed3d[ray]"') from error
    if settings.ray_address:
        ray.init(settings.ray_address, logging_level=logging.WARNING)
    else:
        ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1", logging_level=logging.WARNING)
    kept = {"namespace": NAME, "lifetime": "detached", "get_if_exists": True, "num_cpus": 0, "max_restarts": -1}
    ray.remote(Ledger).options(name=LEDGER, **kept).remote()
    launch = secrets.token_hex(8)
    ray.get(ray.remote(Launches).options(name=LAUNCHES, **kept).remote().begin.remote(launch), timeout=STARTING)
    start_serve(serve, {"host": settings.host, "port": settings.port})
    on_gpu = workers[0].device.startswith(("cuda", "auto")) and ray.cluster_resources().get("GPU", 0) > 0
    replica = serve.deployment(
        serve.ingress(_application_of(settings, _of_replica(workers[0], on_gpu)))(),
        name=NAME,
        num_replicas=len(workers),
        max_ongoing_requests=4 * (settings.queue or memory.MOST),
        ray_actor_options={"num_cpus": 1, "num_gpus": 1 if on_gpu else 0},
        health_check_period_s=2,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
    )
    serve.run(replica.bind(), name=NAME, route_prefix="/")
    wait_for_proxies(serve)
    return launch


def start_serve(serve: Any, http_options: dict[str, Any]) -> None:
    """Start Ray Serve, or join it.

    On a busy machine Ray may find that a proxy takes too long to start, and put another one in its place. The call that
    waited for the first one fails then; Ray Serve itself goes on, and `wait_for_proxies` waits for what it does.
    """
    import ray  # noqa: PLC0415 - the extra [ray]

    try:
        serve.start(http_options=http_options)
    except (ray.exceptions.RayActorError, TimeoutError):
        log.warning("Ray's HTTP proxy is slow to start; waiting for it")
        serve.start(http_options=http_options)


def wait_for_proxies(serve: Any, patience: float = PROXIES) -> None:
    """Wait until all HTTP proxies of the cluster take in requests.

    Raises:
        ModelError: one still does not, after so many seconds.
    """
    end = time.monotonic() + patience
    while not (states := serve.status().proxies) or set(states.values()) & {"STARTING", "UNHEALTHY"}:
        if time.monotonic() > end:
            raise ModelError(
                f"Ray's HTTP proxies are not ready after {patience:g} s. Look at the computer's load and Ray's logs, "
                "or set RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=60 where the cluster is started."
            )
        time.sleep(0.2)


def run(settings: ServerSettings) -> None:
    """Serve until told to stop.

    Raises:
        ModelError: a reason of `start`.
    """
    settings = settings.model_copy(update={"port": some_port(settings.host, settings.port)})
    launch = start(settings)
    if settings.admin_port:
        registry = CollectorRegistry()
        registry.register(Collector(families))
        serve_metrics(registry, settings)
    print(f"Serving {', '.join(settings.model)} on http://{in_url(settings.host)}:{settings.port} with Ray", flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    shut_down(launch)


def families() -> list[Family]:
    """Return the metrics of all replicas."""
    import ray  # noqa: PLC0415 - the extra [ray]

    found: list[Family] = ray.get(ray.get_actor(LEDGER, NAME).families.remote(), timeout=ANSWER)
    return found


class Replica:
    """What a replica has in common with the others: quotas and metrics, in the ledger.

    Args:
        metrics: what this replica counts.

    Where the ledger does not answer, which Ray mends, the replica counts alone and says so in its log.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._name = secrets.token_hex(8)
        self._alone = Buckets()

    def charge(self, user: str, running: int, quota: Quota) -> tuple[int, float]:
        """Ask the ledger; see `Ledger.charge`."""
        import ray  # noqa: PLC0415 - the extra [ray]

        try:
            asked = self._ledger().charge.remote(self._name, user, running, quota)
            elsewhere, wait = ray.get(asked, timeout=ANSWER)
            return int(elsewhere), float(wait)
        except (ray.exceptions.RayError, ValueError):
            log.exception("the ledger of quotas does not answer; this replica counts alone")
            return 0, self._alone.take(user, quota.per_minute)

    def begin(self, running: Callable[[], Counter[str]]) -> None:
        """Report from now on what runs here and what was counted, every now and then."""

        def report() -> None:
            while True:
                try:
                    counts, counted = counts_of(running()), families_of(self._metrics.registry)
                    self._ledger().report.remote(self._name, counts, counted)
                except Exception:
                    log.exception("the metrics of this replica could not be reported")
                time.sleep(REPORT)

        threading.Thread(target=report, name="ledger", daemon=True).start()

    @staticmethod
    def _ledger() -> Any:
        import ray  # noqa: PLC0415 - the extra [ray]

        return ray.get_actor(LEDGER, NAME)


class Launches:
    """Which command has launched the application last; an actor, since commands know nothing of each other."""

    def __init__(self) -> None:
        self._newest = ""

    def begin(self, name: str) -> None:
        """Take note of a command that launches the application, or puts a new one in its place."""
        self._newest = name

    def newest(self) -> str:
        """Return the last one; "" where that was forgotten."""
        return self._newest


def shut_down(launch: str) -> None:
    """End what `start` started; but not what a newer command has put in its place meanwhile.

    Args:
        launch: what `start` returned.
    """
    import ray  # noqa: PLC0415 - the extra [ray]
    from ray import serve  # noqa: PLC0415

    if ray.get(ray.get_actor(LAUNCHES, NAME).newest.remote(), timeout=ANSWER) in ("", launch):
        serve.shutdown()
        for actor in (LEDGER, LAUNCHES):
            ray.kill(ray.get_actor(actor, NAME))
    ray.shutdown()


def check(settings: ServerSettings) -> None:
    """Refuse settings that do not go together with Ray.

    Raises:
        ModelError: names the setting.
    """
    check_exposure(settings.host, settings.keys, tls=False, insecure_http=settings.insecure_http)
    if settings.tls_cert is not None or settings.tls_key is not None:
        raise ModelError("Ray Serve knows no TLS. Leave --tls-cert and --tls-key to a reverse proxy in front of it.")
    if settings.nninteractive or settings.monailabel:
        raise ModelError(
            "Clients of nnInteractive and MONAI Label need a server that remembers them, which replicas do not. "
            "Run a second server without --ray for them."
        )


def _of_replica(worker: WorkerSettings, on_gpu: bool) -> WorkerSettings:
    """Return a worker's settings as a replica sees them: Ray shows it one GPU, or none."""
    return replace(worker, device="cuda" if on_gpu else "cpu") if worker.device.startswith(("cuda", "auto")) else worker


def _application_of(settings: ServerSettings, worker: WorkerSettings) -> Any:
    """Return a function that builds the application in a replica."""
    inside = settings.model_copy(update={"nninteractive": False, "monailabel": False}).model_dump()

    def application() -> Guard:
        logs.set_up(inside["log"])
        return build(ServerSettings.model_construct(**inside), [worker], Replica)

    return application
