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
from dataclasses import replace
from typing import Any

from sammed3d.errors import ModelError
from sammed3d.server import logs, memory
from sammed3d.server.compute.worker_process import WorkerSettings
from sammed3d.server.http.guard import Guard
from sammed3d.server.serve import build, check_exposure, find_models, worker_settings
from sammed3d.server.settings import ServerSettings

log = logging.getLogger("sammed3d.server")
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
NAME = "sammed3d"


def start(settings: ServerSettings, workers: list[WorkerSettings] | None = None) -> None:
    """Start Ray, or join a cluster, and serve; returns when all replicas are ready.

    Args:
        settings: the server's settings. `device` says how many replicas there are, and whether they are on GPUs.
        workers: what the replicas run, where it is not the installed models that the settings name.

    Raises:
        ModelError: a setting does not go together with Ray, or Ray is not installed.
    """
    check(settings)
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
        ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", logging_level=logging.WARNING)
    serve.start(http_options={"host": settings.host, "port": settings.port})
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


def run(settings: ServerSettings) -> None:
    """Serve until told to stop.

    Raises:
        ModelError: a reason of `start`.
    """
    start(settings)
    print(f"Serving {', '.join(settings.model)} on http://{settings.host}:{settings.port} with Ray", flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    shut_down()


def shut_down() -> None:
    """End what `start` started."""
    import ray  # noqa: PLC0415 - the extra [ray]
    from ray import serve  # noqa: PLC0415

    serve.shutdown()
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
    if settings.admin_port:
        raise ModelError("With Ray, the metrics of each replica are its own. Leave --admin-port out.")


def _of_replica(worker: WorkerSettings, on_gpu: bool) -> WorkerSettings:
    """Return a worker's settings as a replica sees them: Ray shows it one GPU, or none."""
    return replace(worker, device="cuda" if on_gpu else "cpu") if worker.device.startswith(("cuda", "auto")) else worker


def _application_of(settings: ServerSettings, worker: WorkerSettings) -> Any:
    """Return a function that builds the application in a replica."""
    inside = settings.model_copy(update={"nninteractive": False, "monailabel": False}).model_dump()

    def application() -> Guard:
        logs.set_up(inside["log"])
        return build(ServerSettings.model_construct(**inside), [worker])

    return application
