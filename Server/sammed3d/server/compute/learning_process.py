"""What runs in the process of a training: `sammed3d`, which ends with the server, however that ends.

The server holds the other end of its stdin, which closes when the server is gone, on all systems.
"""

from __future__ import annotations

import _thread
import os
import runpy
import signal
import sys
import threading

GRACE = 20.0
"""Seconds in which it may end by itself, and keep what it has learnt."""


def end_with_server(grace: float = GRACE) -> None:
    """Watch stdin from now on: once it closes, this process is asked to stop, and ended if it does not."""
    threading.Thread(target=_watch, args=(grace,), daemon=True).start()


def _watch(grace: float) -> None:
    while os.read(0, 1 << 10):
        pass  # nothing is said
    if hasattr(os, "killpg"):
        os.kill(os.getpid(), signal.SIGTERM)
    else:  # there a signal would end it at once
        _thread.interrupt_main()
    threading.Event().wait(grace)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():  # with what it started
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    end_with_server()
    sys.argv[0] = "sammed3d"
    runpy.run_module("sammed3d", run_name="__main__", alter_sys=True)
