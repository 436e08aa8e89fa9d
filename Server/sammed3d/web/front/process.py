"""The process of one user, as the front sees it: started, watched, ended, and nothing of it left on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sammed3d.web.allowance import held
from sammed3d.web.front import keeper
from sammed3d.web.gate import QUERY, cookie_name

START_SECONDS = 300.0
END_SECONDS = 10.0
UNEXPLAINED = "The page did not start. Ask whoever runs this server; its log says more with --debug."


class UserProcess:
    """A page in a process of its own, on a port of this computer, with a token that only the front knows.

    Args:
        told: what it starts with, see `child.py`.
        folder: for its temporary files; made, and removed once the process is gone.
        debug: whether what it writes to stderr is shown.
        command: what is run, in tests.

    Attributes:
        address: "http://127.0.0.1:port" once it answers; "" before.
        headers: what the front's requests to it need.
        error: why it did not start; "" if nothing went wrong.
    """

    def __init__(
        self, told: Mapping[str, Any], folder: Path, debug: bool = False, command: tuple[str, ...] | None = None
    ) -> None:
        self._told, self._folder, self._debug = told, folder, debug
        self._command = command or (sys.executable, "-m", "sammed3d.web.front.child")
        self._process: asyncio.subprocess.Process | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.address = ""
        self.headers: dict[str, str] = {}
        self.error = ""

    async def start(self) -> None:
        """Start it, and wait until its page answers; what goes wrong there is in `error`.

        Raises:
            OSError: the system has no room for its files, or no process for it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(self._folder), "WSLINK_READY_MSG": ""}
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self._debug else subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
        assert process.stdin is not None  # noqa: S101 - for the type checker, like the next one
        assert process.stdout is not None  # noqa: S101
        answer: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            process.stdin.write(json.dumps(self._told).encode() + b"\n")
            await process.stdin.drain()
            answer = json.loads(await asyncio.wait_for(process.stdout.readline(), START_SECONDS))
        if "address" in answer:
            url = urlsplit(answer["address"])
            token = parse_qs(url.query)[QUERY][0]
            self.headers = {"Cookie": f"{cookie_name(token)}={token}"}
            self.address = f"http://{url.netloc}"
        else:
            self.error = answer.get("error", UNEXPLAINED)
            await self.stop()

    @property
    def ended(self) -> bool:
        """Whether it is not running any more, asked to or not."""
        return self._process is not None and self._process.returncode is not None

    @property
    def ending(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping is not None

    @property
    def status(self) -> int | None:
        """Its exit status; minus the number of a signal."""
        return None if self._process is None else self._process.returncode

    @property
    def memory(self) -> int:
        """Bytes that it holds for itself, without what it shares with others (files of programs); 0 once it is gone."""
        return 0 if self._process is None else held(self._process.pid)

    async def stop(self) -> None:
        """End it, by force if it does not follow, and remove what it left on the disk."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process is not None:  # what it may have started itself
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


class Folder:
    """The folder in which all users' temporary files are, gone with the front, however that ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sammed3d-view-"))
        command = [sys.executable, "-I", str(keeper.__file__), str(self.path)]
        self._keeper = subprocess.Popen(  # noqa: S603 - of our own
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait()
