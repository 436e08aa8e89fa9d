"""`sammed3d serve`: run the inference server."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from sammed3d.errors import ModelError
from sammed3d.terminal import DebugOption, explained


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need keys and TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8443,
    model: Annotated[list[str] | None, typer.Option(help="Installed model to serve; repeat for more.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    keys: Annotated[Path | None, typer.Option(help="File of keys; see serve-key.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key, PEM.")] = None,
    insecure_http: Annotated[bool, typer.Option(help="A reverse proxy in front encrypts.")] = False,
    host_name: Annotated[list[str] | None, typer.Option(help="Further host name to answer to.")] = None,
    max_body: Annotated[int, typer.Option(help="Bytes of the largest request.")] = 64 << 20,
    cache_mib: Annotated[int, typer.Option(help="Memory for patches.")] = 1024,
    debug: DebugOption = False,
) -> None:
    """Run the inference server: patches and clicks in, masks out."""
    with explained(debug):
        try:
            import uvicorn  # noqa: PLC0415 - the extra [serve]

            from sammed3d.server import serve as serving  # noqa: PLC0415
        except ImportError as error:
            raise ModelError('The server needs more packages: pip install "sammed3d[serve]"') from error
        serving.check_exposure(host, keys, tls_cert is not None and tls_key is not None, insecure_http)
        models = serving.load_models(model or ["default"], device)
        app = serving.build(models, host, keys, host_name or [], max_body, cache_mib)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
        print(f"Serving {', '.join(m.name for m in models)} on {'https' if tls_cert else 'http'}://{host}:{port}")
        uvicorn.run(
            app,
            host=host,
            port=port,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=30,
            h11_max_incomplete_event_size=16 << 10,
        )


def serve_key(
    name: Annotated[str, typer.Argument(help="Who the key is for.")],
    keys: Annotated[Path, typer.Option(help="File of keys; made if it is not there.")],
    debug: DebugOption = False,
) -> None:
    """Make a key for a user of the server. It is shown once; the file holds its hash alone."""
    with explained(debug):
        from sammed3d.server.keys import add_key  # noqa: PLC0415

        print(add_key(keys, name))
