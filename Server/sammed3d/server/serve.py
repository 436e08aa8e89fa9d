"""Start the server: models, addresses and what must not be opened by accident."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from sammed3d.errors import ModelError
from sammed3d.server.app import LOOPBACK, create_app
from sammed3d.server.engine import Engine, ServedModel
from sammed3d.server.guard import Guard
from sammed3d.server.keys import Keys
from sammed3d.zoo import load_predictor
from sammed3d.zoo.store import ModelStore


def load_models(names: Sequence[str], device: str, store: ModelStore | None = None) -> list[ServedModel]:
    """Load installed models by name.

    Raises:
        ModelError: one is not installed, or the device cannot be used.
    """
    store = store or ModelStore()
    served = []
    for name in names:
        model = store.model(name)
        predictor = load_predictor(model.path, device=device, family=model.family)
        served.append(ServedModel(name, model.title, model.sha256, model.licence, predictor))
    return served


def check_exposure(host: str, keys: Path | None, tls: bool, insecure_http: bool) -> None:
    """Refuse to open the server to a network without keys and encryption.

    Raises:
        ModelError: says what is missing.
    """
    if _is_loopback(host):
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


def build(
    models: Sequence[ServedModel],
    host: str,
    keys: Path | None,
    host_names: Sequence[str],
    max_body: int,
    cache_mib: int,
) -> Guard:
    """Build the application for an address."""
    hosts = LOOPBACK | {host.lower()} | {name.lower() for name in host_names}
    engine = Engine(models, cache_mib)
    return create_app(engine, None if keys is None else Keys.read(keys), frozenset(hosts), max_body)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
