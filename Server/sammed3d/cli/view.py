"""`sammed3d view`: the page in a browser."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from sammed3d import samples
from sammed3d.cli.choice import CaOption, KeyOption, ServerOption, check_server_options
from sammed3d.cli.terminal import DebugOption, DeviceOption, OptionalImageArgument, SeriesOption, explained
from sammed3d.errors import VolumeWarning
from sammed3d.files.volume import Volume


def view(
    volume: OptionalImageArgument = None,
    model: Annotated[
        str, typer.Option(help="An installed model or a checkpoint file; the one chosen first.")
    ] = "default",
    device: DeviceOption = "auto",
    server: ServerOption = None,
    key: KeyOption = "",
    ca: CaOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on, of this computer alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    series: SeriesOption = None,
    debug: DebugOption = False,
) -> None:
    """Click to segment in a browser: opens a page on this computer, with the volume or picture if one is given."""
    from sammed3d.web.images import read_image, with_cautions  # noqa: PLC0415 - only where it is used
    from sammed3d.web.serve import Server, Start, check_host, serve  # noqa: PLC0415
    from sammed3d.web.several import several_in  # noqa: PLC0415

    def ready(address: str) -> None:
        print(f"The page is at {address}", flush=True)

    check_server_options(server, ca)
    with explained(debug, minds_signals=True):
        check_host(host)
        several = None if volume is None else several_in(volume)
        image: Volume | None = None
        cautions: tuple[str, ...] = ()
        if several is not None and series is not None:
            image, cautions = with_cautions(lambda: several.at(series))
        elif volume is not None and several is None:
            image, cautions = with_cautions(lambda: read_image(volume, series))
        for caution in cautions:
            warnings.warn(caution, VolumeWarning, stacklevel=1)  # at the terminal, too
        remote = None if server is None else Server(server, key, "" if ca is None else str(ca))
        start = Start(
            image,
            lambda: Volume.read(samples.CT_ABDOMEN),
            model,
            device,
            remote,
            cautions=cautions,
            several=several,
            series=series or 0,
        )
        serve(start, host, port, browser, ready)
