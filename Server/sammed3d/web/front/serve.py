"""The front, run until somebody stops it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from sammed3d.errors import ModelError
from sammed3d.server.addresses import is_for_all
from sammed3d.web.front.front import Entry, Front
from sammed3d.web.front.process import Folder, UserProcess
from sammed3d.web.front.users import Limits, Users
from sammed3d.web.gate import QUERY
from sammed3d.web.serve import check_host
from sammed3d.wire.loopback import bare

LEAST_TOKEN = 24
log = logging.getLogger(__name__)


def serve_users(
    told: Mapping[str, Any],
    limits: Limits,
    entry: Entry,
    host: str,
    port: int,
    debug: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a page to each of several users until the process is stopped.

    Args:
        told: what each page starts with: "model", "device", and "server", None or its "url", "key", "authority".
        limits: what they may take.
        entry: who may enter.
        host: address to listen on, of this computer alone.
        port: 0 for any that is free.
        debug: whether what the users' processes write to stderr is shown; it may name files.
        ready: called with the address, token included, once it answers.

    Raises:
        ModelError: others could reach the address, or it cannot be had.
    """
    host = bare(host)
    check_host(host)
    asyncio.run(_run(running(told, limits, entry, host, port, debug), ready))


async def _run(front: AbstractAsyncContextManager[str], ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with front as address:
        ready(address)
        await stop.wait()


@asynccontextmanager
async def running(
    told: Mapping[str, Any],
    limits: Limits,
    entry: Entry,
    host: str,
    port: int,
    debug: bool = False,
    command: tuple[str, ...] | None = None,
) -> AsyncIterator[str]:
    """Serve a page to each of several users meanwhile; gives the address, token included. See `serve_users`.

    Tests give another `command` for the users' processes.
    """
    folder = Folder()
    users = Users(
        limits, lambda number: UserProcess({**told, "memory": limits.memory}, folder.path / str(number), debug, command)
    )
    front = Front(entry, users)
    runner = web.AppRunner(front.application(), access_log=None, shutdown_timeout=1.0)
    watch = asyncio.create_task(users.watch())
    watch.add_done_callback(_without_limits)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ModelError(f"Port {port} of {host} cannot be had. Choose another one.") from error
        own = f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}"
        yield f"{entry.public_url or own}/?{QUERY}={entry.token}"
    finally:
        watch.cancel()
        await users.close()
        await front.close()
        await runner.cleanup()
        folder.close()


def _without_limits(watch: asyncio.Task[None]) -> None:
    """End everything if the watch failed, which cannot be: nobody would be held to the limits."""
    if not watch.cancelled() and watch.exception() is not None:
        log.error("the watch over the users' processes failed", exc_info=watch.exception())
        signal.raise_signal(signal.SIGTERM)


def token_of(file: Path | None) -> str:
    """Return the token of a file, which is made if it is not there; without one, a token for this run.

    Raises:
        ModelError: the file cannot be used.
    """
    made = secrets.token_urlsafe(LEAST_TOKEN)
    if file is None:
        return made
    try:
        with suppress(FileExistsError):
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as new:
                new.write(f"{made}\n")
        token = file.read_text(encoding="ascii").strip()
        if is_for_all(file):
            log.warning("every user of this computer may read the token in %s: chmod o= it", file)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: the token cannot be read or made ({type(error).__name__}).") from error
    if not re.fullmatch(rf"[\w-]{{{LEAST_TOKEN},}}", token, re.ASCII):
        raise ModelError(
            f"{file}: a token has at least {LEAST_TOKEN} letters, digits, - or _. Remove the file, and one is made."
        )
    return token
