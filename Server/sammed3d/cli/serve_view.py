"""`sammed3d serve-view`: the page in a browser for several users."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sammed3d.cli.choice import CaOption, KeyOption, ServerOption, check_server_options
from sammed3d.cli.terminal import DebugOption, DeviceOption, explained
from sammed3d.errors import ModelError

GIB = 1 << 30


def serve_view(
    users: Annotated[int, typer.Option(min=1, help="Most users at a time; each has a process.")] = 4,
    server: ServerOption = None,
    key: KeyOption = "",
    ca: CaOption = None,
    model: Annotated[str, typer.Option(help="The model chosen first.")] = "default",
    device: DeviceOption = "auto",
    memory: Annotated[float, typer.Option(min=0.5, help="GiB that the process of a user may hold.")] = 4.0,
    idle: Annotated[float, typer.Option(min=0.1, help="Minutes after which a closed page gives its place back.")] = 15,
    untouched: Annotated[
        float, typer.Option(min=0.1, help="The same for a page that is open, in which nothing is done.")
    ] = 240,
    public_url: Annotated[
        str, typer.Option(help="Address of the proxy by which users come, such as https://segment.example.")
    ] = "",
    user_header: Annotated[
        str, typer.Option(help="Header by which that proxy says who the user is, such as X-Remote-User.")
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File of the address's token, made if it is not there, which is not printed then; without a file it "
            "changes at each start."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on, of this computer alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 0,
    debug: DebugOption = False,
) -> None:
    """Serve the page of `view` to several users, behind a proxy: each has a process; see docs/browser.md."""
    check_server_options(server, ca)
    with explained(debug, minds_signals=True):
        from sammed3d.web import slicer_scene  # noqa: PLC0415 - only where it is used

        slicer_scene.check()
        from sammed3d.web.front.front import Entry  # noqa: PLC0415 - the extra [web]
        from sammed3d.web.front.serve import serve_users, token_of  # noqa: PLC0415
        from sammed3d.web.front.users import Limits  # noqa: PLC0415

        _log_to_stderr()
        if server is None:
            logging.getLogger("sammed3d").warning(
                "without --server the process of each user loads the model, and all share the processors"
            )
        predicts = None if server is None else {"url": server, "key": key, "authority": _absolute(ca)}
        told = {"model": _path_or_name(model), "device": device, "server": predicts}
        limits = Limits(users, int(memory * GIB), 60 * idle, 60 * untouched)
        entry = Entry(token_of(token_file), public_url.rstrip("/"), user_header)
        serve_users(told, limits, entry, host, port, debug, partial(tell, token_file))


def tell(token_file: Path | None, address: str) -> None:
    """Tell where the page is. A token that is in a file stays there: what services print is kept in a journal."""
    if token_file is not None:
        address = f"{address.rpartition('=')[0]}=TOKEN, where TOKEN is what {token_file} holds"
    print(f"The page is at {address}", flush=True)


def _absolute(path: Path | None) -> str:
    if path is None:
        return ""
    if not path.is_file():
        raise ModelError(f"{path}: there is no such certificate.")
    return str(path.resolve())


def _path_or_name(model: str) -> str:
    return str(Path(model).resolve()) if Path(model).is_file() else model


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("sammed3d")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
