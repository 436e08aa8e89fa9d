"""A process that removes a folder once the process that started it is gone, however it went.

Run as a script; it needs the standard library alone. It waits for the end of its stdin, which the other one holds.
"""

import shutil
import signal
import sys
import time

TRIES = 20


def main(folder: str) -> None:
    """Wait, then remove; whoever still writes there is on the way out."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
