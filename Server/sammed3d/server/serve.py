"""Start the server: models, devices, addresses and what must not be opened by accident."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import uvicorn

from sammed3d.core.control_groups import usable_processors
from sammed3d.errors import ModelError
from sammed3d.files.dicomweb import DicomWeb
from sammed3d.server import logs, memory
from sammed3d.server.addresses import (
    check_admin,
    check_free,
    check_tls,
    compared,
    is_for_all,
    listening_socket,
    some_port,
)
from sammed3d.server.app import LOOPBACK, Facades, create_app
from sammed3d.server.compat.nninteractive.axes import directions_of
from sammed3d.server.compute.admission import Shared
from sammed3d.server.compute.engine import Engine
from sammed3d.server.compute.training import Trainings
from sammed3d.server.compute.worker import start_workers
from sammed3d.server.compute.worker_process import ModelSpec, WorkerSettings
from sammed3d.server.http.connections import Connections
from sammed3d.server.http.guard import Guard
from sammed3d.server.http.keys import NO_QUOTA, Keys
from sammed3d.server.http.protocol import ConfigOfServer, protocol_with
from sammed3d.server.metrics import Metrics
from sammed3d.server.metrics_page import check_metrics, serve_metrics
from sammed3d.server.settings import ServerSettings
from sammed3d.wire.loopback import is_loopback
from sammed3d.wire.messages import ModelInfo
from sammed3d.zoo.download import file_digest
from sammed3d.zoo.store import ModelStore

log = logging.getLogger("sammed3d.server")

NOT_STARTED = 3
"""Exit status where the server could not listen, which was said."""
FILES = 8192
"""Open files that the server asks the system for: each connection is one."""
LARGEST_VOLUME_MIB = 1024


class Sharing(Shared, Protocol):
    """What a server has in common with others; see `on_ray`."""

    def begin(self, running: Callable[[], Counter[str]]) -> None:
        """Tell the others from now on what runs here."""


def check_exposure(host: str, keys: Path | None, tls: bool, insecure_http: bool) -> None:
    """Refuse to open the server to a network without keys and encryption.

    Raises:
        ModelError: says what is missing.
    """
    if is_loopback(host):
        return
    if keys is None:
        raise ModelError(
            f"Listening on {host} lets others in: a file of keys is needed (--keys FILE; make keys with "
            "sammed3d serve-key NAME --keys FILE). Or listen on 127.0.0.1."
        )
    if not tls and not insecure_http:
        raise ModelError(
            f"Listening on {host} without encryption would send keys and images in the clear. Give --tls-cert and "
            "--tls-key, or --insecure-http where a reverse proxy encrypts."
        )


def in_url(host: str) -> str:
    """Return a host as addresses and the header Host have it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def find_models(settings: ServerSettings, store: ModelStore | None = None) -> tuple[ModelSpec, ...]:
    """Find the installed models that are to be served, each with its digest, by which clients tell it from a later one.

    Raises:
        ModelError: one is not installed.
    """
    for name in settings.model:
        if Path(name).is_file():
            raise ModelError(
                f"{name} is a file, and a server serves installed models: "
                f"sammed3d models import {name} --name NAME, then serve --model NAME."
            )
    store = store or ModelStore()
    found = [store.model(name) for name in settings.model]
    return tuple(
        ModelSpec(m.name, m.title, m.sha256 or file_digest(m.path), m.licence, m.path, m.family) for m in found
    )


def worker_settings(settings: ServerSettings, models: tuple[ModelSpec, ...]) -> list[WorkerSettings]:
    """Return what the worker on each device has to do."""
    on_cpu = settings.device.count("cpu")
    threads = max(1, usable_processors() // on_cpu) if on_cpu > 1 else 0  # workers that share the processors
    return [WorkerSettings(models, device, settings.batch, threads=threads) for device in settings.device]


def budget_of(settings: ServerSettings, models: tuple[ModelSpec, ...], limit: memory.Limit) -> memory.Budget:
    """Divide the memory there is by what the settings say.

    Raises:
        ModelError: the models do not fit into it.
    """
    wishes = memory.Wishes(
        settings.memory_mib, settings.cache_mib, settings.volumes_mib, settings.gpu_cache_mib, settings.host_cache_mib
    )
    weights = [model.path.stat().st_size for model in models if model.path.is_file()]
    volumes = any(_facades_on(settings))
    return memory.divide(wishes, weights, len(settings.device), limit, volumes)


def build(
    settings: ServerSettings, workers: list[WorkerSettings], share: Callable[[Metrics], Sharing] | None = None
) -> Guard:
    """Start the workers and build the application in front of them.

    Args:
        settings: how the server runs.
        workers: what runs on each device.
        share: makes what this server has in common with others; None where it is alone.

    Raises:
        ModelError: the settings would open the server, or a file, a model or a device cannot be used.
    """
    tls = settings.tls_cert is not None and settings.tls_key is not None
    check_exposure(settings.host, settings.keys, tls, settings.insecure_http)
    directions_of(settings.nninteractive_axes)
    keys = None if settings.keys is None else Keys.read(settings.keys)
    budget = budget_of(settings, workers[0].models, memory.memory_limit())
    log.info("%s", budget)
    metrics = Metrics()
    with_caches = [replace(w, cache_mib=budget.gpu_cache, host_cache_mib=budget.host_cache) for w in workers]
    devices = start_workers(with_caches, metrics.restarted)
    started = devices[0].started
    names = ", ".join(sorted({device.started.device for device in devices}))
    presets, capabilities = started.presets, started.capabilities
    models = [
        ModelInfo(m.name, m.title, m.sha256, m.licence, presets[m.name], capabilities[m.name], names)
        for m in workers[0].models
    ]
    sharing = None if share is None else share(metrics)
    engine = Engine(
        models,
        devices,
        budget.patches,
        settings.queue or budget.queue,
        None if keys is None else keys.quotas,
        metrics,
        sharing,
    )
    if sharing is not None:
        sharing.begin(engine.running)
    return application(settings, engine, keys, budget)


def application(settings: ServerSettings, engine: Engine, keys: Keys | None, budget: memory.Budget) -> Guard:
    """Build the application for an engine."""
    largest = settings.volume_mib or max(1, min(LARGEST_VOLUME_MIB, budget.volumes // 2))
    facades = Facades(
        *_facades_on(settings),
        settings.nninteractive_axes,
        settings.sessions,
        largest,
        budget.volumes,
        _dicomweb_of(settings, largest),
        _trainings_of(settings, keys),
    )
    hosts = LOOPBACK | {compared(name) for name in (settings.host, *settings.host_name)}
    return create_app(
        engine, keys, frozenset(hosts), settings.max_body, facades, frozenset(settings.origin), budget.uploads
    )


def _dicomweb_of(settings: ServerSettings, largest_mib: int) -> DicomWeb | None:
    """Return the one DICOMweb server that is asked for series, if one is.

    Raises:
        ModelError, VolumeError: its address is none, packages are missing, or nobody could use it.
    """
    if not settings.dicomweb:
        return None
    if not _facades_on(settings)[1]:
        raise ModelError("--dicomweb is for clients of MONAI Label: switch them on (--monailabel), or leave it out.")
    secret = settings.dicomweb_authorization.get_secret_value()
    verify = True if settings.dicomweb_ca is None else str(settings.dicomweb_ca)
    return DicomWeb(settings.dicomweb, secret, verify, most_bytes=largest_mib << 20)


def _trainings_of(settings: ServerSettings, keys: Keys | None) -> Trainings | None:
    """Return what clients may train with, if they may.

    Raises:
        ModelError: there are no cases, or nobody could start a training, or several servers would.
    """
    if not settings.allow_training:
        return None
    if settings.training_data is None or not settings.training_data.is_dir():
        raise ModelError(
            f"--allow-training needs a folder of cases (--training-data FOLDER), not {settings.training_data}. "
            "`sammed3d collect` makes one."
        )
    if not _facades_on(settings)[1]:
        raise ModelError("--allow-training is for clients of MONAI Label: switch them on (--monailabel).")
    if settings.ray:
        raise ModelError("--allow-training is for a server without Ray, where there is one training at a time.")
    if importlib.util.find_spec("lightning") is None or importlib.util.find_spec("surface_distance") is None:
        raise ModelError('Training needs more packages: pip install "sammed3d[train,evaluate]"')
    quotas = {} if keys is None else keys.quotas
    return Trainings(
        settings.training_data,
        ModelStore().folder / ".trainings",
        {name: name for name in settings.model},
        settings.training_minutes,
        lambda user: quotas.get(user, NO_QUOTA),
        settings.device[0],
    )


def _facades_on(settings: ServerSettings) -> tuple[bool, bool]:
    """Tell which protocols of other products are spoken: nnInteractive, MONAI Label."""
    alone = is_loopback(settings.host)
    return (
        alone if settings.nninteractive is None else settings.nninteractive,
        alone if settings.monailabel is None else settings.monailabel,
    )


def run(settings: ServerSettings) -> None:
    """Serve until told to stop; what runs then is finished.

    Raises:
        ModelError: a reason of `build`.
    """
    logs.set_up(settings.log)
    allow_files()
    check_addresses(settings)
    settings = settings.model_copy(update={"port": some_port(settings.host, settings.port)})
    app = build(settings, worker_settings(settings, find_models(settings)))
    if settings.admin_port:
        serve_metrics(app.metrics.registry, settings)
    scheme = "https" if settings.tls_cert else "http"
    print(f"Serving {', '.join(settings.model)} on {scheme}://{in_url(settings.host)}:{settings.port}", flush=True)
    config = ConfigOfServer(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        http=protocol_with(Connections()),
        ws="none",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=30,
        h11_max_incomplete_event_size=16 << 10,
    )
    server = uvicorn.Server(config)
    listening = listening_socket(settings.host, settings.port)
    with contextlib.suppress(KeyboardInterrupt):  # which has ended it in order
        server.run(None if listening is None else [listening])
    if not server.started:
        sys.exit(NOT_STARTED)


def check_addresses(settings: ServerSettings) -> None:
    """Find out at once, and not after models were loaded, that the server could not listen.

    Raises:
        ModelError: says why.
    """
    check_tls(settings.tls_cert, settings.tls_key)
    if settings.tls_key is not None and is_for_all(settings.tls_key):
        log.warning("every user of this computer may read the private key %s: chmod o= it", settings.tls_key)
    check_exposure(settings.host, settings.keys, settings.tls_cert is not None, settings.insecure_http)
    check_metrics(settings)
    check_free(settings.host, settings.port)
    check_admin(settings.host, settings.port, settings.admin_host, settings.admin_port)


def allow_files() -> None:
    """Raise the limit of open files as far as the system lets an ordinary user; Windows has none."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
