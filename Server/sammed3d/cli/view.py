"""`sammed3d view`: the page in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sammed3d import samples
from sammed3d.cli.terminal import DebugOption, DeviceOption, SeriesOption, explained
from sammed3d.files.volume import Volume


def view(
    volume: Annotated[Path | None, typer.Argument(help="NIfTI, NRRD or MHA file, or a folder of DICOM slices.")] = None,
    model: Annotated[
        str, typer.Option(help="An installed model or a checkpoint file; the one chosen first.")
    ] = "default",
    device: DeviceOption = "auto",
    server: Annotated[str | None, typer.Option(help="Address of a server that predicts.")] = None,
    key: Annotated[str, typer.Option(envvar="SAMMED3D_KEY", help="Your key for the server.")] = "",
    ca: Annotated[
        Path | None, typer.Option(help="Certificate (PEM) of the authority that signed the server's.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on, of this computer alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    series: SeriesOption = None,
    debug: DebugOption = False,
) -> None:
    """Click to segment in a browser: opens a page on this computer, with the volume if one is given."""
    from sammed3d.web.serve import Server, Start, check_host, serve  # noqa: PLC0415 - only where it is used

    def ready(address: str) -> None:
        print(f"The page is at {address}", flush=True)

    with explained(debug):
        check_host(host)
        image = None if volume is None else Volume.read(volume, series)
        remote = None if server is None else Server(server, key, "" if ca is None else str(ca))
        serve(Start(image, lambda: Volume.read(samples.CT_ABDOMEN), model, device, remote), host, port, browser, ready)
