"""What runs in the process of one user: the page, which ends with the front, however that ends.

The front writes one line of JSON to its stdin (what to start with), and reads one from its stdout: {"address": ...}
once the page answers, or {"error": ...}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sammed3d import samples
from sammed3d.errors import SAMMed3DError
from sammed3d.files.volume import Volume

PR_SET_PDEATHSIG = 1
FIRST_TO_KILL = "800"
"""Of 1000: when the machine runs out of memory, this process goes before the front."""


def main(serve: Callable[[dict[str, Any], Callable[[str], None]], None]) -> int:
    """Run `serve`, which is told what to start with and tells the address; returns the exit status."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold images
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_KILL, encoding="ascii")
    line = sys.stdin.readline()
    if not line:  # the front went before it could be watched
        return 1
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed goes elsewhere

    def answer(**what: str) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        serve(json.loads(line), lambda address: answer(address=address))
    except SAMMed3DError as error:
        answer(error=str(error))
        return 1
    return 0


def serve_page(told: dict[str, Any], ready: Callable[[str], None]) -> None:
    """Serve the page on a port of this computer until the process is stopped."""
    from sammed3d.web.allowance import CLICKS_AWAY, CLICKS_HERE, Allowance  # noqa: PLC0415 - takes a second
    from sammed3d.web.serve import Server, Start, serve  # noqa: PLC0415

    server = None if told["server"] is None else Server(**told["server"])
    start = Start(
        None,
        lambda: Volume.read(samples.CT_ABDOMEN),
        told["model"],
        told["device"],
        server,
        may_choose_place=False,
        allowance=Allowance(told["memory"], CLICKS_HERE if server is None else CLICKS_AWAY),
    )
    serve(start, "127.0.0.1", 0, open_browser=False, ready=ready)


if __name__ == "__main__":
    sys.exit(main(serve_page))
