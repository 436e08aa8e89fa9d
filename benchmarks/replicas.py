"""One replica on Ray against two, on the same cores: clicks a second of four users, each on a patch of their own.

On one machine two replicas share the cores, so what is measured is what the way over Ray costs and whether two replicas
get in each other's way; on a second machine, or a second GPU, each has its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import numpy as np

from sammed3d.predictors.remote import RemotePredictor
from server import clicks, ct_patches, free_port, together

USERS, CLICKS, ROUNDS = 4, 4, 2


def rate(devices: str) -> tuple[float, float]:
    """Return clicks a second, and the 95th percentile of waiting in seconds."""
    port = free_port()
    command = [sys.executable, "-m", "sammed3d", "serve", "--ray", "--device", devices, "--port", str(port)]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray")}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    try:
        assert any("Serving" in line for line in server.stdout or ()), "the server did not start"
        url, patches = f"http://127.0.0.1:{port}", ct_patches(USERS)
        for patch in patches:
            RemotePredictor(url, patience=600).predict(patch, clicks(1))
        places = iter(np.random.default_rng(0).uniform(20, 100, (10_000, 3)).tolist())
        clicked, waits = together(url, patches, places, CLICKS)
        return clicked, float(np.percentile(waits, 95))
    finally:
        server.terminate()
        server.wait(60)


def main() -> None:
    for _ in range(ROUNDS):
        (one, late_one), (two, late_two) = rate("cpu"), rate("cpu,cpu")
        print(
            f"{USERS} users: one replica {one:.2f} clicks/s (p95 {late_one:.1f} s), "
            f"two {two:.2f} (p95 {late_two:.1f} s), {two / one:.2f} of one"
        )


if __name__ == "__main__":
    main()
