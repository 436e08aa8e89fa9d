"""`sammed3d serve` and `sammed3d serve-key`: run the inference server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sammed3d.cli.terminal import DebugOption, explained
from sammed3d.errors import ModelError

MISSING = 'The server needs more packages: pip install "sammed3d[serve]"'


def _option(name: str) -> Any:
    """Make the option for a setting; its help comes from there."""
    try:
        from sammed3d.server.settings import default_of  # noqa: PLC0415 - the extra [serve]
    except ImportError:
        return typer.Option(help=MISSING)
    return typer.Option(help=default_of(name), show_default=False)


def serve(
    config: Annotated[
        Path | None, typer.Option(envvar="SAMMED3D_CONFIG", help="File of settings (TOML); see docs/server.md.")
    ] = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    model: Annotated[list[str] | None, _option("model")] = None,
    device: Annotated[str | None, typer.Option(help="Devices, a process on each: auto, cpu, cuda:0,cuda:1.")] = None,
    keys: Annotated[Path | None, _option("keys")] = None,
    tls_cert: Annotated[Path | None, _option("tls_cert")] = None,
    tls_key: Annotated[Path | None, _option("tls_key")] = None,
    insecure_http: Annotated[bool | None, _option("insecure_http")] = None,
    host_name: Annotated[list[str] | None, _option("host_name")] = None,
    origin: Annotated[list[str] | None, _option("origin")] = None,
    max_body: Annotated[int | None, _option("max_body")] = None,
    memory_mib: Annotated[int | None, _option("memory_mib")] = None,
    cache_mib: Annotated[int | None, _option("cache_mib")] = None,
    gpu_cache_mib: Annotated[int | None, _option("gpu_cache_mib")] = None,
    host_cache_mib: Annotated[int | None, _option("host_cache_mib")] = None,
    queue: Annotated[int | None, _option("queue")] = None,
    batch: Annotated[int | None, _option("batch")] = None,
    nninteractive: Annotated[bool | None, _option("nninteractive")] = None,
    nninteractive_axes: Annotated[str | None, _option("nninteractive_axes")] = None,
    monailabel: Annotated[bool | None, _option("monailabel")] = None,
    sessions: Annotated[int | None, _option("sessions")] = None,
    volume_mib: Annotated[int | None, _option("volume_mib")] = None,
    volumes_mib: Annotated[int | None, _option("volumes_mib")] = None,
    dicomweb: Annotated[str | None, _option("dicomweb")] = None,
    dicomweb_ca: Annotated[Path | None, _option("dicomweb_ca")] = None,
    allow_training: Annotated[bool | None, _option("allow_training")] = None,
    training_data: Annotated[Path | None, _option("training_data")] = None,
    training_minutes: Annotated[float | None, _option("training_minutes")] = None,
    admin_port: Annotated[int | None, _option("admin_port")] = None,
    admin_host: Annotated[str | None, _option("admin_host")] = None,
    log: Annotated[str | None, _option("log")] = None,
    ray: Annotated[bool | None, _option("ray")] = None,
    ray_address: Annotated[str | None, _option("ray_address")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the server that runs with these settings whether it lives, and end.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Run the inference server: patches and clicks in, masks out."""
    given = {name: value for name, value in locals().items() if name not in ("config", "probe", "debug")}
    with explained(debug, minds_signals=True):
        try:
            from sammed3d.server.probe import probe as ask  # noqa: PLC0415 - the extra [serve]
            from sammed3d.server.settings import read_settings  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        given["device"] = None if device is None else [d.strip() for d in device.split(",")]
        for name in ("model", "host_name", "origin"):
            given[name] = given[name] or None
        settings = read_settings(config, **given)
        if probe:
            ask(settings)
            return
        try:
            from sammed3d.server import on_ray  # noqa: PLC0415 - what takes a second, and more packages
            from sammed3d.server import serve as serving  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        (on_ray if settings.ray else serving).run(settings)


def serve_key(
    name: Annotated[str, typer.Argument(help="Who the key is for.")],
    keys: Annotated[Path, typer.Option(help="File of keys; made if it is not there.")],
    debug: DebugOption = False,
) -> None:
    """Make a key for a user of the server. It is shown once; the file holds its hash alone."""
    with explained(debug):
        from sammed3d.server.http.keys import add_key  # noqa: PLC0415

        print(add_key(keys, name))
